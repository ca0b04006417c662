"""Read trees of images into uint8 tensors: `folder/CLASS/*`, links included, loops refused."""

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
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
    seen: dict[str, Path] = {}
    files = {folder / name: image_files(folder / name, seen) for name in classes}
    for own, paths in files.items():
        if not paths:
            raise ValueError(f"class folder {own} holds no image ({' '.join(EXTENSIONS)})")
    _check_links_of_images(files, seen)
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in files.values()])
    paths = list(chain(*files.values()))
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


def image_files(folder: Path, seen: dict[str, Path] | None = None) -> list[Path]:
    """Return all images below a folder, links followed, hidden files and folders left out.

    `seen` holds the folders searched before by their real paths; those searched now are added.

    Raises
    ------
    ValueError
        If a folder cannot be read, or a link leads to a folder that holds it or is searched too.
    """
    seen = {} if seen is None else seen
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        _check_links_of_folder(Path(parent), seen)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in (*folders, *files) if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in EXTENSIONS]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise ValueError(f"folder {error.filename} cannot be read: {error.strerror}") from None


def _check_links_of_folder(folder: Path, seen: dict[str, Path]) -> None:
    real = os.path.realpath(folder)
    other = seen.setdefault(real, folder)
    loop = folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(real)
    if loop or other != folder:
        links = [p for path in (folder, other) for p in (path, *path.parents) if p.is_symlink()]
        link = max(links, key=lambda each: len(each.parts))
        raise ValueError(
            f"link {link} leads to {os.path.realpath(link)}, whose images count already; "
            "remove the link"
        )


def _check_links_of_images(files: dict[Path, list[Path]], seen: dict[str, Path]) -> None:
    """Raise `ValueError` if an image of a class folder is a link to one in another of them."""
    real = cache(os.path.realpath)
    for own, paths in files.items():
        for link in (path for path in paths if path.is_symlink()):
            for target in (link.parent / os.readlink(link), Path(os.path.realpath(link))):
                holder = seen.get(real(target.parent))
                if holder and not holder.is_relative_to(own):
                    raise ValueError(
                        f"link {link} leads to {holder / target.name}, an image of another class; "
                        "remove the link"
                    )


def _open(path: Path) -> Image.Image:
    try:
        if not path.is_file():  # a pipe would never end, a dangling link never begin
            raise ValueError("it is no file")
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has {image.mode} pixels; convert it to 8 bits")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # a damaged file raises whatever its decoder stumbles over
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
