"""What is found in a folder of images, which images serve for what, and how that is said."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch
from conftest import write_tree
from hypothesis import given
from hypothesis import strategies as st
from problems import load_image_folder
from torch import nn

from taskhead.method.augmentation import CropAndFlip
from taskhead.method.batches import LabelledImages
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.heads import make_head
from taskhead.method.views import extract_views
from taskhead.models.torchvision import Normalise
from taskhead.tasks.dividing import shares
from taskhead.tasks.folders import load_task
from taskhead.tasks.found import Found, find_images
from taskhead.tasks.words import describe

SPLITS = ("train", "val", "test")


def counts(found: Found) -> dict[str, list[int]]:
    return {split: [len(own) for own in found.splits[split].values()] for split in SPLITS}


def files(found: Found, split: str) -> set[Path]:
    return set(chain(*found.splits[split].values()))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "plain", per_class=10)


@pytest.fixture
def uneven(plain: Path) -> Path:
    for number in range(4, 10):
        (plain / "elk" / f"{number}.png").unlink()
    return plain


def test_all_images_serve_once_in_stratified_shares(uneven: Path):
    found = find_images(uneven)
    assert counts(found) == {"train": [6, 6, 2], "val": [2, 2, 1], "test": [2, 2, 1]}
    every = [path for split in SPLITS for path in chain(*found.splits[split].values())]
    assert sorted(every) == sorted(uneven.glob("*/*.png"))
    assert found.n_images == 24


def test_test_images_are_the_same_for_every_seed(plain: Path):
    first, other = (find_images(plain, seed=seed) for seed in (0, 1))
    assert files(first, "test") == files(other, "test")
    assert files(first, "val") != files(other, "val")


@pytest.mark.parametrize(("own", "missing"), [("val", "test"), ("test", "val")])
def test_split_that_is_missing_is_split_off_training(tmp_path: Path, own: str, missing: str):
    write_tree(tmp_path / "train", per_class=10)
    write_tree(tmp_path / own, per_class=3, seed=1)
    found = find_images(tmp_path)
    assert counts(found) == {"train": [8] * 3, own: [3] * 3, missing: [2] * 3}
    assert files(found, own) == set((tmp_path / own).glob("*/*.png"))
    first, *_ = describe(found)
    assert f"24 for training (train), 9 for {word(own)} ({own})" in " ".join(sorted_parts(first))
    assert f"6 for {word(missing)} (split off train)" in first


def word(split: str) -> str:
    return {"val": "validation", "test": "testing"}[split]


def sorted_parts(line: str) -> list[str]:
    parts = line.partition(": ")[2].split(", ")
    return [parts[0] + ",", *sorted(parts[1:], key=lambda part: "split off" in part)]


@given(
    n=st.integers(1, 300),
    limits=st.fixed_dictionaries({split: st.none() | st.integers(1, 50) for split in SPLITS}),
    missing=st.sampled_from([(), ("val",), ("test",), ("val", "test")]),
)
def test_shares_leave_one_image_at_least_in_each_split_and_keep_the_limits(n, limits, missing):
    if n <= len(missing):
        with pytest.raises(ValueError, match=f"class x .* {n}, .*needs {len(missing) + 1}"):
            shares("x", n, limits, missing)
        return
    share = shares("x", n, limits, missing)
    assert sum(share.values()) <= n
    for split in ("train", *missing):
        assert 1 <= share[split] <= (limits[split] or n)
    assert all(share[split] == 0 for split in ("val", "test") if split not in missing)
    if not limits["train"]:
        assert sum(share.values()) == n


def test_limits_are_kept(plain: Path):
    limited = find_images(plain, limits={"train": 3, "val": 1, "test": 2})
    assert counts(limited) == {"train": [3] * 3, "val": [1] * 3, "test": [2] * 3}
    assert next(describe(limited)).startswith("18 of 30 images of 3 classes")
    with pytest.raises(ValueError, match="val_per_class must be at least 1, got 0"):
        find_images(plain, limits={"val": 0})


def test_copies_stay_in_one_split(plain: Path):
    for number in range(10):
        for copy in range(number % 3):
            shutil.copy(plain / "dog" / f"{number}.png", plain / "dog" / f"{number}-{copy}.png")
    for seed in range(5):
        found = find_images(plain, seed=seed)
        inside = [{path.read_bytes() for path in files(found, split)} for split in SPLITS]
        assert len(set.union(*inside)) == sum(map(len, inside)) == 30
        assert sum(counts(found)[split][1] for split in SPLITS) == 19


def test_copies_in_another_split_or_class_are_counted(tmp_path: Path):
    write_tree(tmp_path / "train", per_class=6)
    write_tree(tmp_path / "test", per_class=4, seed=1)
    none = find_images(tmp_path)
    assert (none.copies, none.ambiguous) == ({}, 0)
    assert not any(line.startswith("warning") for line in describe(none))
    for number in range(3):
        shutil.copy(tmp_path / f"train/cat/{number}.png", tmp_path / f"test/cat/{number}.png")
    shutil.copy(tmp_path / "train/dog/0.png", tmp_path / "train/elk/0.png")
    found = find_images(tmp_path)
    assert (found.copies, found.ambiguous) == ({("train", "test"): 3}, 1)
    warnings = [line for line in describe(found) if line.startswith("warning")]
    assert len(warnings) == 2
    assert "3 of the images for testing are copies" in warnings[0]


def test_unreadable_images_are_named_and_skipped_only_where_asked(plain: Path):
    for name, number in (("cat", 0), ("elk", 3)):
        (plain / name / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2 of 30 images.*skip_unreadable.*cat/0\.png") as caught:
        find_images(plain)
    assert "\n" not in str(caught.value)
    found = find_images(plain, skip_unreadable=True)
    assert [path.name for path in found.unreadable] == ["0.png", "3.png"]
    assert found.n_images == 28
    assert sum(map(sum, counts(found).values())) == 28
    assert any("left out" in line and "cat/0.png" in line for line in describe(found))


def test_class_of_which_no_image_can_be_read_is_named(plain: Path):
    for path in (plain / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no image of the class dog in train can be read"):
        find_images(plain, skip_unreadable=True)


def test_missing_image_of_a_file_of_labels_is_named(plain: Path):
    rows = [f"{name}/{n}.png,{name}" for name in ("cat", "dog") for n in range(5, 12)]
    (plain / "labels.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(ValueError, match=r"4 of 14 .*cat/10\.png"):
        find_images(plain, labels=plain / "labels.csv")
    found = find_images(plain, labels=plain / "labels.csv", skip_unreadable=True)
    assert found.classes == ["cat", "dog"]
    assert counts(found) == {"train": [3, 3], "val": [1, 1], "test": [1, 1]}


def test_other_domains_are_found_and_said(tmp_path: Path):
    for seed, name in enumerate(("photo", "sketch")):
        write_tree(tmp_path / name, per_class=5, seed=seed)
    found = find_images(tmp_path, domain="photo", limits={"test": 1})
    assert counts(found)["train"] == [3, 3, 3]
    assert {name: sum(map(len, own.values())) for name, own in found.ood.items()} == {"sketch": 3}
    assert "other domains, to test on: sketch (3)" in describe(found)


def classes_called(folder: Path, names: list[str]) -> Path:
    """Write a tree of classes of these names, three images each and four of the last."""
    (folder / "tree").mkdir()
    for number, name in enumerate(names):
        images = write_tree(folder / str(number), per_class=3 + (name == names[-1]), seed=number)
        (images / "cat").rename(folder / "tree" / name)
    return folder / "tree"


def test_lines_stay_lines_whatever_the_names(tmp_path: Path):
    folder = classes_called(tmp_path, ["a\nb", "c\u2028d", "e\x85f", "g\udce9h"])
    for line in describe(find_images(folder)):
        assert line.isprintable()
        line.encode()


def test_many_classes_are_said_by_their_ends(tmp_path: Path):
    folder = classes_called(tmp_path, [f"class {number}" for number in range(30)])
    (line,) = [line for line in describe(find_images(folder)) if "classes (" in line]
    assert line.endswith("class 29 2 + 1 + 1")
    assert line.count(" + 1 + 1") == 6


@pytest.mark.parametrize("memory", [None, 0, 10**9])
def test_task_holds_what_was_found_in_memory_and_on_disk(
    plain: Path, memory: int | None, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "data"))
    found = find_images(plain)
    task = load_task(found.splits, found.ood, image_size=16, memory=memory)
    assert (tmp_path / "data" / "images").exists() == (memory == 0)
    whole, _ = load_image_folder(plain, image_size=16)
    assert contents(task.train, task.val, task.test) == contents(whole)


def contents(*parts: LabelledImages) -> Counter:
    return Counter(
        (image.numpy().tobytes(), int(label))
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    )


def test_images_on_disk_are_seen_as_those_in_memory(plain: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "data"))
    found = find_images(plain)
    tasks = [load_task(found.splits, {}, image_size=16, memory=m) for m in (0, 10**9)]
    backbone = nn.Sequential(
        Normalise([0.5] * 3, [0.5] * 3), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    head = make_head(4, 3)
    results = []
    for task in tasks:
        trained = finetune(backbone, head, task.train, task.val, epochs=2, lr=0.1)
        images = task.train.images
        results.append(
            [
                extract_features(backbone, images),
                extract_views(backbone, images, CropAndFlip(), count=2),
                *trained.last.parameters(),
            ]
        )
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
