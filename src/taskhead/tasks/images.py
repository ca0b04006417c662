"""Read trees of images into uint8 tensors: `folder/CLASS/*`, links included, loops refused."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image, ImageOps

from taskhead.method.batches import LabelledImages

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


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
        If the folder does not exist, has fewer than two classes, a class is empty or reached by a
        link from another one, an image cannot be read (the file is named), or there is not enough
        memory.
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
    _check_classes_apart(files)
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes])
    paths = [path for name in classes for path in files[name]]
    chosen = draw_per_class(labels, per_class, seed)
    images = to_tensor([paths[i] for i in chosen], _open, image_size)
    return LabelledImages(images, torch.from_numpy(labels[chosen])), classes


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
    """Return all images below a folder, links followed, hidden files and folders left out.

    Raises
    ------
    ValueError
        If a link leads to a folder that is searched already, as one that holds it.
    """
    return sorted(_walk(folder, {folder.resolve(): folder}))


def _walk(folder: Path, seen: dict[Path, Path]) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if path.suffix.lower() in EXTENSIONS and not entry.is_dir():
            yield path
        elif entry.is_dir():
            real = path.resolve()
            if real in seen or (path.is_symlink() and folder.resolve().is_relative_to(real)):
                raise ValueError(
                    f"link {path} leads to {seen.get(real, real)}, which is searched already; "
                    "remove the link"
                )
            seen[real] = path
            yield from _walk(path, seen)


def _check_classes_apart(files: dict[str, list[Path]]) -> None:
    """Raise `ValueError` if links let one image file count in two classes."""
    owners: dict[Path, tuple[str, Path]] = {}
    for name, paths in files.items():
        for path in paths:
            owner, other = owners.setdefault(path.resolve(), (name, path))
            if owner != name:
                link, target = (path, other) if path.resolve() != path else (other, path)
                raise ValueError(
                    f"{link} and {target} are one file through a link, in classes {owner} and "
                    f"{name}; remove the link"
                )


def _open(path: Path) -> Image.Image:
    try:
        if not path.is_file():  # a pipe would never end, a dangling link never begin
            raise ValueError("it is no file")
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has {image.mode} pixels; convert it to 8 bits")
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"image {path} cannot be read: {error}; repair or remove it") from None


def to_tensor(sources: Sequence, read: Callable[..., Image.Image], image_size: int) -> torch.Tensor:
    """Read images from their sources as uint8 (N, 3, S, S), resized and cropped to a square."""
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
