"""Tasks: splits that share no image, domains to test on, and trees that do not fit named."""

import shutil
from itertools import chain, combinations
from pathlib import Path

import pytest
import torch
from conftest import CLASS_COLOURS, write_tree
from problems import load_image_folder
from torch import Tensor

from taskhead.method.batches import LabelledImages
from taskhead.tasks.datasets import dataset_task, digits_task
from taskhead.tasks.folders import folder_label, folder_task
from taskhead.tasks.task import Draw, Task

DOMAINS = ("photo", "sketch", "wood")
DRAW = Draw(seed=0, image_size=16, train_per_class=2, val_per_class=2)


def draw(seed: int = 0, **changes) -> Draw:
    return Draw(**vars(DRAW) | {"seed": seed} | changes)


def read(folder: Path) -> LabelledImages:
    return load_image_folder(folder, image_size=16)[0]


def pixels(data: LabelledImages) -> list[bytes]:
    return [image.numpy().tobytes() for image in data.images]


def parts(task: Task) -> list[LabelledImages]:
    return [task.train, task.val, task.test]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "plain", per_class=7)


@pytest.fixture
def with_test(tmp_path: Path) -> Path:
    folder = tmp_path / "split"
    write_tree(folder / "train", per_class=6)
    write_tree(folder / "test", per_class=4, seed=1)
    return folder


@pytest.fixture
def with_domains(tmp_path: Path) -> Path:
    folder = tmp_path / "domains"
    for seed, name in enumerate(DOMAINS):
        write_tree(folder / name, per_class=6, seed=seed)
    return folder


@pytest.fixture(params=["plain", "with_test", "with_domains", "data set", "digits"])
def load(request: pytest.FixtureRequest, mini_data: Path):
    """Return a function from a `Draw` to a task, for every kind of source."""
    if request.param == "data set":
        return lambda given: dataset_task("cifar10", given)
    if request.param == "digits":
        return lambda given: digits_task(
            Draw(**vars(given) | {"image_size": 8, "train_per_class": 20}), classes=range(3)
        )
    folder = request.getfixturevalue(request.param)
    domain = "sketch" if request.param == "with_domains" else None
    return lambda given: folder_task(folder, Draw(**vars(given) | {"domain": domain}))


@pytest.mark.parametrize("seed", range(5))
def test_no_image_is_in_two_splits(load, seed: int):
    for one, other in combinations(parts(load(draw(seed))), 2):
        assert not set(pixels(one)) & set(pixels(other))


def test_every_class_has_as_many_images_as_asked_for(load):
    task = load(draw(test_per_class=1))
    for part, per_class in zip(parts(task)[1:], (2, 1), strict=True):
        assert torch.bincount(part.labels).tolist() == [per_class] * task.n_classes
    assert torch.bincount(task.train.labels).unique().numel() == 1


def test_seed_decides_the_draw(load):
    first, same, other = (load(draw(seed)) for seed in (0, 0, 1))
    for one, two in zip(parts(first), parts(same), strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
    assert sorted(pixels(first.train)) != sorted(pixels(other.train))


def test_seed_decides_nothing_but_the_draw(load):
    state = torch.random.get_rng_state()
    first, other = (load(draw(seed)) for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.n_classes == other.n_classes
    for one, two in zip(parts(first), parts(other), strict=True):
        assert torch.equal(one.labels.sort().values, two.labels.sort().values)
    for name in first.ood:
        assert torch.equal(first.ood[name].images, other.ood[name].images)


def test_label_is_the_class_whose_colour_the_image_has(with_test: Path):
    colours = torch.tensor(list(CLASS_COLOURS.values()), dtype=torch.float32)
    for part in parts(folder_task(with_test, DRAW)):
        means: Tensor = part.images.float().mean(dim=(2, 3))
        assert torch.equal(torch.cdist(means, colours).argmin(dim=1), part.labels)


@pytest.mark.parametrize("limit", [None, 3])
def test_own_test_split_is_the_same_for_all_seeds(with_test: Path, limit: int):
    tests = [folder_task(with_test, draw(seed, test_per_class=limit)).test for seed in range(3)]
    assert all(torch.equal(test.images, tests[0].images) for test in tests)
    assert torch.bincount(tests[0].labels).tolist() == [limit or 4] * 3


def test_own_test_split_is_never_drawn_from(with_test: Path):
    own = set(pixels(read(with_test / "test")))
    for seed in range(5):
        task = folder_task(with_test, draw(seed, train_per_class=4))
        assert not own & {*pixels(task.train), *pixels(task.val)}
        assert set(pixels(task.test)) == own


def test_without_a_test_folder_the_same_test_images_are_set_aside_for_every_seed(plain: Path):
    whole = read(plain)
    first, other = (folder_task(plain, draw(seed)) for seed in (0, 1))
    assert {*chain(*map(pixels, parts(first)))} <= set(pixels(whole))
    assert pixels(first.test) == pixels(other.test)
    assert pixels(first.train) != pixels(other.train)
    for task in (first, other):
        assert not {*pixels(task.test)} & {*pixels(task.train), *pixels(task.val)}


def test_folder_train_alone_is_split_too(plain: Path, tmp_path: Path):
    shutil.copytree(plain, tmp_path / "wrapped" / "train")
    wrapped, bare = (folder_task(folder, DRAW) for folder in (tmp_path / "wrapped", plain))
    assert torch.equal(wrapped.test.images, bare.test.images)


def test_other_domains_are_tested_on_in_full(with_domains: Path):
    task = folder_task(with_domains, draw(domain="sketch"))
    assert list(task.ood) == ["photo", "wood"]
    for name, data in task.ood.items():
        domain = read(with_domains / name)
        assert torch.equal(data.images, domain.images)
        assert torch.equal(data.labels, domain.labels)


def test_limit_of_test_images_holds_for_other_domains(with_domains: Path):
    task = folder_task(with_domains, draw(domain="photo", test_per_class=1))
    for data in task.ood.values():
        assert torch.bincount(data.labels).tolist() == [1, 1, 1]


def test_domains_with_splits_of_their_own_are_tested_on_their_test_images(
    with_test: Path, tmp_path: Path
):
    for name in ("photo", "sketch"):
        shutil.copytree(with_test, tmp_path / "both" / name)
    task = folder_task(tmp_path / "both", draw(domain="photo"))
    test = read(with_test / "test")
    assert torch.equal(task.test.images, test.images)
    assert torch.equal(task.ood["sketch"].images, test.images)


def test_folders_inside_a_class_are_no_domains(plain: Path):
    before = read(plain)
    for name in CLASS_COLOURS:
        (plain / name / f"more {name}").mkdir()
        (plain / name / "0.png").rename(plain / name / f"more {name}" / "0.png")
    assert len(read(plain)) == len(before)


def test_hidden_folders_are_no_classes(plain: Path):
    (plain / ".ipynb_checkpoints").mkdir()
    assert load_image_folder(plain, image_size=16)[1] == sorted(CLASS_COLOURS)
    assert folder_task(plain, DRAW).n_classes == len(CLASS_COLOURS)


def test_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="nowhere"):
        folder_task(tmp_path / "nowhere", DRAW)
    with pytest.raises(ValueError, match="nowhere"):
        folder_label(tmp_path / "nowhere")


@pytest.mark.parametrize(("domain", "given"), [(None, "photo, sketch, wood"), ("clay", "'clay'")])
def test_domain_that_is_not_there_lists_those_that_are(with_domains: Path, domain: str, given):
    with pytest.raises(ValueError, match=given):
        folder_task(with_domains, draw(domain=domain))


def test_a_class_may_be_called_test(plain: Path):
    (plain / "cat").rename(plain / "test")
    (plain / "dog").rename(plain / "train")
    assert folder_task(plain, DRAW).n_classes == 3


def test_domain_of_a_tree_without_domains_is_refused(plain: Path):
    with pytest.raises(ValueError, match="has no domains, got domain 'photo'"):
        folder_task(plain, draw(domain="photo"))


@pytest.mark.parametrize("renamed", ["photo/cat", "sketch/cat"])
def test_class_that_another_domain_lacks_is_named(with_domains: Path, renamed: str):
    (with_domains / renamed).rename(with_domains / renamed.replace("cat", "lynx"))
    with pytest.raises(ValueError, match=r"classes differ: .*cat.*lynx|.*lynx.*cat"):
        folder_task(with_domains, draw(domain="photo"))


def test_class_that_another_split_lacks_is_named(with_test: Path):
    shutil.rmtree(with_test / "test" / "dog")
    with pytest.raises(ValueError, match=r"classes differ: only in .*train: \['dog'\]"):
        folder_task(with_test, DRAW)


@pytest.mark.parametrize(
    ("source", "dogs", "left"), [("plain", "dog", 2), ("with_test", "train/dog", 1)]
)
def test_class_that_cannot_serve_in_each_split_is_named(request, source: str, dogs: str, left: int):
    folder: Path = request.getfixturevalue(source)
    for image in sorted((folder / dogs).iterdir())[left:]:
        image.unlink()
    with pytest.raises(ValueError, match=f"class dog has too few .* {left}, .*needs {left + 1}"):
        folder_task(folder, DRAW)


@pytest.mark.parametrize("left", [3, 4])
def test_class_that_limits_ask_too_much_of_is_shared_out(plain: Path, left: int):
    for image in sorted((plain / "dog").iterdir())[left:]:
        image.unlink()
    task = folder_task(plain, DRAW)
    counts = [torch.bincount(part.labels).tolist() for part in parts(task)]
    assert counts == [[2, left - 2, 2], [2, 1, 2], [2, 1, 2]]


def test_class_with_too_few_images_in_a_data_set_is_named(mini_data: Path):
    with pytest.raises(ValueError, match=r"class \w+ has 8 samples; train_per_class=9 and val_"):
        dataset_task("cifar100", draw(train_per_class=9))


@pytest.mark.parametrize("file", ["photo/dog/3.png", "wood/elk/0.png"])
def test_truncated_image_is_named(with_domains: Path, file: str):
    whole = (with_domains / file).read_bytes()
    (with_domains / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{file} cannot be read.*repair or remove it"):
        folder_task(with_domains, draw(domain="photo"))


def test_digits_have_one_size():
    with pytest.raises(ValueError, match="handwritten digits must be 8, got 16"):
        digits_task(DRAW, classes=range(5))
