"""Image trees in the on-disk format of the real ones, written by the tests."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from problems import load_image_folder

from taskhead.tasks.datasets import load_dataset
from taskhead.tasks.images import draw_per_class, room_for

COLOURS = {"amber": (255, 191, 0), "blue": (0, 0, 255), "cyan": (0, 255, 255)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes with 2, 3 and 4 images of one colour each, larger than they are read."""
    root = tmp_path / "tree"
    for count, (name, colour) in enumerate(COLOURS.items(), start=2):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 24), colour).save(root / name / f"{number}.png")
    return root


def test_every_image_keeps_its_content_and_label(tree):
    data, classes = load_image_folder(tree, image_size=16)
    assert classes == list(COLOURS)
    assert data.images.shape == (9, 3, 16, 16)
    assert data.images.dtype == torch.uint8
    assert torch.bincount(data.labels).tolist() == [2, 3, 4]
    for image, label in zip(data.images, data.labels, strict=True):
        assert tuple(image[:, 8, 8].tolist()) == COLOURS[classes[label]]


def test_images_of_the_right_size_are_read_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.webp", lossless=True)
    data, _ = load_image_folder(tmp_path, image_size=8)
    assert torch.equal(data.images[0], torch.from_numpy(pixels).permute(2, 0, 1))


def test_wide_images_are_cropped_to_their_centre(tmp_path):
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
    data, _ = load_image_folder(tmp_path, image_size=8)
    assert (data.images == 255).all()


def test_limit_per_class_is_stratified_and_seeded(tree):
    data, _ = load_image_folder(tree, image_size=8, per_class=2)
    assert torch.bincount(data.labels).tolist() == [2, 2, 2]
    labels = np.repeat([0, 1], 50)
    first, same, other = (draw_per_class(labels, 5, seed).tolist() for seed in (0, 0, 1))
    assert first == same != other
    assert first == sorted(set(first))


def test_cut_off_image_is_named(tree):
    file = tree / "blue" / "1.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"blue.1\.png"):
        load_image_folder(tree, image_size=8)


def test_text_in_place_of_an_image_is_named(tree):
    (tree / "blue" / "notes.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"notes\.jpg"):
        load_image_folder(tree, image_size=8)


def test_empty_class_is_named(tree):
    (tree / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        load_image_folder(tree, image_size=8)


def test_missing_folder_and_single_class(tree, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load_image_folder(tmp_path / "nowhere", image_size=8)
    with pytest.raises(ValueError, match="blue"):
        load_image_folder(tree / "blue", image_size=8)


@pytest.mark.parametrize(("size", "per_class"), [(4, None), (8, 0)])
def test_sizes_out_of_range(tree, size, per_class):
    with pytest.raises(ValueError, match="at least"):
        load_image_folder(tree, image_size=size, per_class=per_class)


def test_images_beyond_memory_are_mapped_from_disk_and_leave_nothing_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    room = room_for((3, 3, 8, 8), on_disk=True)
    room[1] = 7
    assert room.dtype == torch.uint8
    assert room.sum() == 7 * 3 * 8 * 8
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path / "images") in maps
    assert not list((tmp_path / "images").iterdir())
    del room
    assert str(tmp_path / "images") not in Path("/proc/self/maps").read_text()


def test_disk_without_room_for_images_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=rf"{tmp_path}.*needed"):
        room_for((10**9, 3, 224, 224))


def test_data_set_is_read_from_its_folder(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    for split in ("train", "test"):
        shutil.copytree(tree, tmp_path / "cifar10" / split)
    data, classes = load_dataset("cifar10", train=False, image_size=8)
    assert (len(data), classes) == (9, list(COLOURS))
    (tmp_path / "cifar10" / "train" / "extra").mkdir()
    with pytest.raises(ValueError, match=r"classes differ.*extra"):
        load_dataset("cifar10", train=False, image_size=8)


def test_classes_that_are_asked_for_are_read_alone(tree, stl10, tmp_path, monkeypatch):
    stl10.mkdir(parents=True)
    data, classes = load_dataset("stl10", train=True, image_size=32, classes=["dog"])
    assert (classes, data.labels.tolist()) == (["dog"], [0, 0])
    assert data.images[:, 0, 0, 0].tolist() == [0, 2]
    for split in ("train", "test"):
        shutil.copytree(tree, tmp_path / "cifar10" / split)
    chosen = list(COLOURS)[::-2]
    data, classes = load_dataset("cifar10", train=False, image_size=8, classes=chosen)
    assert (classes, data.labels.unique().tolist()) == (chosen, [0, 1])
    with pytest.raises(ValueError, match="unknown class of cifar10 'emu'; valid: "):
        load_dataset("cifar10", train=False, image_size=8, classes=["emu"])


class Downloaded:
    """Stand in for a data set of torchvision, which is there once it was downloaded."""

    classes = ("cat", "dog")

    def __init__(self, root: Path, split: str, download: bool):
        self.labels = [1, 0, 1, 0] if split == "train" else [1, 0]
        if download:
            (root / "STL10").mkdir(parents=True)
        elif not (root / "STL10").exists():
            raise RuntimeError("not found")

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32), (index, 0, 0)), self.labels[index]


@pytest.fixture
def stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that torchvision fills."""
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.STL10", Downloaded)
    return tmp_path / "torchvision" / "STL10"


def test_data_set_is_downloaded_once_and_read_through_torchvision(stl10, monkeypatch):
    free = shutil.disk_usage(stl10.parents[1])._replace(free=10**11)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    for _ in range(2):
        data, classes = load_dataset("stl10", train=True, image_size=32)
        assert classes == ["cat", "dog"]
        assert data.labels.tolist() == [1, 0, 1, 0]
        assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert load_dataset("stl10", train=False, image_size=32)[0].labels.tolist() == [1, 0]


def test_complete_data_set_needs_no_room(stl10, monkeypatch):
    stl10.mkdir(parents=True)
    free = shutil.disk_usage(stl10)._replace(free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    (stl10.parents[1] / "stl10.lock").mkdir()  # as if read-only: no lock can be written
    assert len(load_dataset("stl10", train=True, image_size=32)[0]) == 4


def test_disk_without_room_for_a_data_set_is_seen_before_the_download(stl10, monkeypatch):
    free = shutil.disk_usage(stl10.parents[1])._replace(free=10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(ValueError, match=rf"{stl10.parents[1]}.*{10**9:,}"):
        load_dataset("stl10", train=True, image_size=32)
    assert not stl10.exists()


def test_unknown_data_set_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'mnist'; valid: .*cifar10"):
        load_dataset("mnist", train=True, image_size=32)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bomb(path: Path) -> None:
    Image.new("1", (14000, 14000)).save(path)


def long_text(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "a" * 3_000_000, zip=True)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def odd_exif(path: Path) -> None:
    """Write a photograph that is to be turned, and whose width is said to be a text."""
    entries = struct.pack(">HHIHH", 274, 3, 1, 3, 0) + struct.pack(">HHI4s", 256, 2, 4, b"abc")
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entries + bytes(4)
    Image.new("RGB", (8, 8)).save(path, format="JPEG", exif=exif)


@pytest.mark.parametrize(
    "make", [pipe, bomb, long_text, odd_exif, dangling, link_to_itself, Path.mkdir]
)
def test_what_cannot_be_read_is_named_and_never_waited_for(tree: Path, make):
    make(tree / "blue" / "odd.png")
    with pytest.raises(ValueError, match=r"odd\.png") as caught:
        load_image_folder(tree, image_size=8)
    assert "\n" not in str(caught.value)
