"""Folders of images: the label of their content, links that are followed and links that are not."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import CLASS_COLOURS, write_tree
from problems import load_image_folder

from taskhead.method.batches import LabelledImages
from taskhead.tasks.datasets import dataset_task
from taskhead.tasks.folders import folder_label, folder_task
from taskhead.tasks.task import Draw

DRAW = Draw(seed=0, image_size=16, train_per_class=2, val_per_class=2)


def read(folder: Path) -> LabelledImages:
    return load_image_folder(folder, image_size=16)[0]


def named(*paths: Path) -> str:
    """Return a pattern for a message that names these paths in this order."""
    return ".*".join(rf"{path}(?![\w./])" for path in paths)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "plain", per_class=7)


@pytest.fixture
def with_test(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        write_tree(tmp_path / "split" / part, per_class=4)
    return tmp_path / "split"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "dog" / "0.png").unlink(),
        lambda folder: (folder / "dog").rename(folder / "fox"),
        lambda folder: (folder / "dog" / "0.png").rename(folder / "dog" / "new.png"),
        lambda folder: (folder / "dog" / "0.png").write_bytes(b"another"),
        lambda folder: (folder / "dog" / "0.png").write_bytes(
            bytes(reversed((folder / "dog" / "0.png").read_bytes()))
        ),
        lambda folder: (folder / "dog" / "0.png").write_bytes(
            (folder / "dog" / "0.png").read_bytes()[:-1] + b"\0"
        ),
    ],
    ids=["removed", "class renamed", "renamed", "replaced", "of the same size", "the last byte"],
)
def test_label_of_a_folder_changes_with_its_content(plain: Path, change):
    before = folder_label(plain)
    assert folder_label(plain) == before
    change(plain)
    assert folder_label(plain) != before


def test_label_of_a_folder_follows_links_and_leaves_out_what_is_no_image(
    plain: Path, tmp_path: Path
):
    linked = tmp_path / "linked" / "plain"
    linked.mkdir(parents=True)
    for name in CLASS_COLOURS:
        (linked / name).symlink_to(plain / name)
    assert folder_label(linked) == folder_label(plain)
    (plain / ".DS_Store").write_text("")
    (plain / "dog" / "._0.png").write_text("")
    assert folder_label(linked) == folder_label(plain)
    assert folder_task(plain, DRAW).n_classes == 3


def test_folder_without_images_has_no_label(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no images"):
        folder_label(tmp_path)


def test_label_of_a_folder_holds_no_path(plain: Path, tmp_path: Path, monkeypatch):
    moved = shutil.copytree(plain, tmp_path / "elsewhere" / "plain")
    monkeypatch.chdir(plain)
    label = folder_label(Path())
    assert label == folder_label(plain) == folder_label(moved)
    assert label.startswith("plain-")
    assert "/" not in label


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("dog/loop", ""),
        ("dog/loop", "dog"),
        ("dog/loop", ".."),
        ("dog/deep/loop", "dog/deep"),
        ("dog/alias", "dog/deep"),
        ("dog/zoo", "dog/deep"),
        ("dog/more", "cat"),
        ("dog/more", "elk"),
        ("dog/more", "elk/deep"),
        ("elk/more", "dog"),
        ("fox", "dog"),
        ("fox", "elk/deep"),
        ("ape", "dog"),
        ("ape", ""),
    ],
)
def test_link_by_which_a_folder_counts_twice_is_refused_by_name(
    plain: Path, link: str, target: str
):
    for name in ("dog", "elk"):
        shutil.copytree(plain / name, plain / name / "deep")
    (plain / link).symlink_to(plain / target)
    message = named(plain / link, (plain / target).resolve())
    with pytest.raises(ValueError, match=message):
        folder_task(plain, DRAW)
    with pytest.raises(ValueError, match=message):
        folder_label(plain)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/dog/link.png", "train/cat/0.png"),
        ("train/dog/link.png", "train/elk/0.png"),
        ("train/dog/link.png", "test/elk/0.png"),
        ("test/elk/link.png", "train/dog/0.png"),
        ("train/dog/link", "test/cat"),
        ("test/dog/link", "train/cat"),
    ],
)
def test_link_to_an_image_of_another_class_is_refused_by_name(
    with_test: Path, link: str, target: str
):
    (with_test / link).symlink_to(with_test / target)
    with pytest.raises(ValueError, match=named(with_test / link, with_test / target)):
        folder_task(with_test, DRAW)


def test_link_from_one_domain_to_another_class_of_another_is_refused(tmp_path: Path):
    for domain in ("photo", "sketch", "wood"):
        write_tree(tmp_path / domain, per_class=4)
    link, target = tmp_path / "wood/cat/link.png", tmp_path / "photo/dog/0.png"
    link.symlink_to(target)
    with pytest.raises(ValueError, match=named(link, target)):
        folder_task(tmp_path, Draw(**vars(DRAW) | {"domain": "sketch"}))


def test_link_to_an_image_that_is_a_link_itself_is_refused_alike(plain: Path, tmp_path: Path):
    image, link = plain / "cat" / "0.png", plain / "dog" / "link.png"
    image.symlink_to(image.rename(tmp_path / "stored.png"))
    link.symlink_to(image)
    with pytest.raises(ValueError, match=named(link, image)):
        folder_task(plain, DRAW)


def test_links_to_one_image_elsewhere_are_followed_in_every_class(plain: Path, tmp_path: Path):
    shutil.copy(plain / "dog" / "0.png", tmp_path / "both.png")
    for name in ("cat", "dog"):
        (plain / name / "both.png").symlink_to(tmp_path / "both.png")
    assert torch.bincount(read(plain).labels).tolist() == [8, 8, 7]


def test_folder_outside_that_leads_back_into_the_tree_is_refused_by_name(
    plain: Path, tmp_path: Path
):
    outside = write_tree(tmp_path / "outside", per_class=1) / "cat"
    (outside / "back").symlink_to(plain)
    (plain / "fox").symlink_to(outside)
    for use in (read, folder_label):
        with pytest.raises(ValueError, match=named(plain / "fox" / "back", plain)):
            use(plain)


def test_links_in_a_data_set_are_followed_and_refused_alike(
    with_test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10").symlink_to(with_test)
    assert dataset_task("cifar10", DRAW).n_classes == 3
    (with_test / "train/dog/link.png").symlink_to(with_test / "test/cat/0.png")
    with pytest.raises(ValueError, match=r"train/dog/link\.png"):
        dataset_task("cifar10", DRAW)


@pytest.mark.parametrize("whole", [True, False], ids=["class folders", "images"])
def test_links_to_what_lies_elsewhere_are_followed(plain: Path, tmp_path: Path, whole: bool):
    linked = tmp_path / "linked"
    for name in CLASS_COLOURS:
        if whole:
            linked.mkdir(exist_ok=True)
            (linked / name).symlink_to(plain / name)
        else:
            (linked / name).mkdir(parents=True)
            for image in (plain / name).iterdir():
                (linked / name / image.name).symlink_to(image)
    for folder in (linked, plain / "dog"):
        (folder / "dangling").symlink_to("nowhere")
        (folder / "itself").symlink_to("itself")
    assert torch.equal(read(linked).images, read(plain).images)
    assert folder_task(linked, DRAW).n_classes == 3


def test_tree_may_be_given_by_a_link_or_from_where_one_stands(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "link").symlink_to(plain)
    (plain / "dog" / "again.png").symlink_to("0.png")
    whole = read(plain).images
    monkeypatch.chdir(plain)
    for folder in (tmp_path / "link", Path(), Path("../link")):
        assert torch.equal(read(folder).images, whole)
    assert folder_label(tmp_path / "link") == folder_label(plain)
