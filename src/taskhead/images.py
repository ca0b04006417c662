"""Read images once into uint8 tensors: ImageFolder trees and torchvision's data sets."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from taskhead.checks import check_choice
from taskhead.data import LabelledImages, data_root, one_process

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_TORCHVISION: dict[str, Callable[[str, bool], "VisionDataset"]] = {
    "cifar10": lambda root, train: _download("CIFAR10", root, train),
    "cifar100": lambda root, train: _download("CIFAR100", root, train),
    "stl10": lambda root, train: _download("STL10", root, "train" if train else "test"),
    "flowers102": lambda root, train: _download("Flowers102", root, "train" if train else "test"),
    "dtd": lambda root, train: _download("DTD", root, "train" if train else "test"),
}
DATASETS = tuple(_TORCHVISION)


def load_image_folder(
    folder: Path, *, image_size: int, per_class: int | None = None, seed: int = 0
) -> tuple[LabelledImages, list[str]]:
    """Read the tree `folder/CLASS/*` into memory.

    Each image is converted to RGB, resized so that its shorter side is `image_size` (bilinear,
    antialiased), and cropped to the centre square. It takes 3 * image_size^2 bytes.

    Parameters
    ----------
    folder
        Holds one folder per class; classes are numbered in alphabetical order.
    image_size
        Side of the square in pixels, at least 8.
    per_class
        Read at most so many images per class, drawn from `seed`; None reads all.
    seed
        Seed of the draw.

    Returns
    -------
    LabelledImages, list of str
        uint8 images (N, 3, S, S) on the CPU with their labels, and the names of the classes.

    Raises
    ------
    ValueError
        If the folder does not exist, has fewer than two classes, a class is empty, an image cannot
        be read (the file is named), or there is not enough memory.
    """
    if not folder.is_dir():
        raise ValueError(f"image folder {folder} does not exist; give a folder that holds classes")
    classes = [entry.name for entry in class_folders(folder)]
    if len(classes) < 2:
        raise ValueError(f"image folder {folder} has {len(classes)} class folders; need at least 2")
    files = {name: image_files(folder / name) for name in classes}
    for name in classes:
        if not files[name]:
            raise ValueError(
                f"class folder {folder / name} holds no image ({' '.join(EXTENSIONS)})"
            )
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes])
    paths = [path for name in classes for path in files[name]]
    chosen = draw_per_class(labels, per_class, seed)
    images = _to_tensor([paths[i] for i in chosen], _open, image_size)
    return LabelledImages(images, torch.from_numpy(labels[chosen])), classes


def load_dataset(
    name: str, *, train: bool, image_size: int, per_class: int | None = None, seed: int = 0
) -> tuple[LabelledImages, list[str]]:
    """Read one split of a data set by name.

    The tree `NAME/train` or `NAME/test` below the data folder serves if it is there; else
    torchvision downloads the original with its checksum.

    Parameters, result and errors are those of `load_image_folder`.
    """
    check_choice("data set", name, DATASETS)
    folder = data_root() / name
    if folder.is_dir():
        own, other = (
            folder / split for split in (("train", "test") if train else ("test", "train"))
        )
        check_same_classes(own, other)
        return load_image_folder(own, image_size=image_size, per_class=per_class, seed=seed)
    dataset = _TORCHVISION[name](str(data_root() / "torchvision"), train)
    labels = np.asarray(_labels(dataset))
    chosen = draw_per_class(labels, per_class, seed)
    images = _to_tensor(list(chosen), lambda i: dataset[int(i)][0], image_size)
    classes = getattr(dataset, "classes", [str(label) for label in np.unique(labels)])
    return LabelledImages(images, torch.from_numpy(labels[chosen]).long()), list(classes)


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder in alphabetical order; hidden ones are left out."""
    entries = sorted(folder.iterdir())
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def check_same_classes(folder: Path, other: Path) -> None:
    """Raise `ValueError` unless both folders exist and have class folders of the same names."""
    names = []
    for tree in (folder, other):
        if not tree.is_dir():
            raise ValueError(f"image folder {tree} does not exist")
        names.append({entry.name for entry in class_folders(tree)})
    if names[0] != names[1]:
        raise ValueError(
            f"classes differ: only in {folder}: {sorted(names[0] - names[1])}, "
            f"only in {other}: {sorted(names[1] - names[0])}"
        )


def draw_per_class(labels: np.ndarray, per_class: int | None, seed: int) -> np.ndarray:
    """Return sorted indices of at most `per_class` samples of each class, drawn from `seed`.

    Raises
    ------
    ValueError
        If per_class is below 1.
    """
    if per_class is None:
        return np.arange(len(labels))
    if per_class < 1:
        raise ValueError(f"images per class must be at least 1, got {per_class}")
    order = np.random.default_rng(seed).permutation(len(labels))
    drawn = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def check_memory(n_images: int, image_size: int) -> None:
    """Raise `ValueError` if n uint8 images of this size exceed half of the free memory."""
    needed = n_images * 3 * image_size**2
    free = psutil.virtual_memory().available
    if needed > free / 2:
        raise ValueError(
            f"{n_images} images of {image_size} pixels take {needed / 2**30:.1f} GiB, more than "
            f"half of the {free / 2**30:.1f} GiB free; lower image_size or images per class"
        )


def image_files(folder: Path) -> list[Path]:
    """Return all images below a folder, links followed, hidden files and folders left out."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in EXTENSIONS]
    return sorted(found)


def _download(name: str, root: str, part: bool | str) -> "VisionDataset":
    from torchvision import datasets

    with one_process(name):
        return getattr(datasets, name)(root, part, download=True)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"image {path} has {image.mode} pixels; convert it to 8 bits")
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"image {path} cannot be read: {error}; repair or remove it") from None


def _to_tensor(
    sources: Sequence, read: Callable[..., Image.Image], image_size: int
) -> torch.Tensor:
    from torchvision.transforms.functional import center_crop, resize

    if image_size < 8:
        raise ValueError(f"image_size must be at least 8 pixels, got {image_size}")
    check_memory(len(sources), image_size)
    images = torch.empty(len(sources), 3, image_size, image_size, dtype=torch.uint8)
    for row, source in zip(images, sources, strict=True):
        image = read(source).convert("RGB")
        if image.size != (image_size, image_size):
            image = center_crop(resize(image, [image_size]), [image_size, image_size])
        row.copy_(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
    return images


def _labels(dataset: "VisionDataset") -> Sequence[int]:
    for name in ("targets", "labels", "_labels"):
        if hasattr(dataset, name):
            return getattr(dataset, name)
    raise TypeError(f"{type(dataset).__name__} keeps its labels under no known name")
