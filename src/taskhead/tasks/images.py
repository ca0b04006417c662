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


def find_images(*trees: Path) -> list[dict[str, list[Path]]]:
    """Return the image files of each class of trees `CLASS/*`, classes in alphabetical order.

    Raises `ValueError` if a tree does not exist, its classes are fewer than two or not those of the
    first tree, one is empty or cannot be read, or a link leads to a folder that holds it or is
    found otherwise, too, or to an image of another class.
    """
    found: list[dict[str, list[Path]]] = []
    seen: dict[str, tuple[str, Path | None]] = {}
    for tree in trees:
        if not tree.is_dir():
            raise ValueError(f"image folder {tree} does not exist; give a folder of class folders")
        classes = {folder.name: folder for folder in class_folders(tree)}
        if len(classes) < 2:
            raise ValueError(f"image folder {tree} has {len(classes)} class folders; need 2")
        if found and classes.keys() != found[0].keys():
            raise ValueError(
                f"classes differ: only in {trees[0]}: {sorted(found[0].keys() - classes)}, "
                f"only in {tree}: {sorted(classes.keys() - found[0])}"
            )
        found.append({name: list(_walk(path, name, seen)) for name, path in classes.items()})
    for tree, files in zip(trees, found, strict=True):
        for name, paths in files.items():
            if not paths:
                raise ValueError(
                    f"class folder {tree / name} holds no image ({' '.join(EXTENSIONS)})"
                )
            for link in filter(Path.is_symlink, paths):
                for target in (link.parent / os.readlink(link), Path(os.path.realpath(link))):
                    holder = os.path.realpath(target.parent)
                    if seen.get(holder, (name, None))[0] != name:
                        raise _doubled(link, Path(holder, target.name))
    return found


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder in alphabetical order; hidden ones are left out."""
    entries = sorted(folder.iterdir())
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def image_files(folder: Path) -> list[Path]:
    """Return all images below a folder, links followed, hidden files and folders left out.

    Raises `ValueError` if a folder cannot be read, or a link leads to one that holds it or is found
    otherwise, too.
    """
    return list(_walk(folder, "", {}))


def _walk(
    folder: Path, owner: str, seen: dict[str, tuple[str, Path | None]], link: Path | None = None
) -> Iterator[Path]:
    """Yield the images below a folder of the class `owner`, reached through `link` if any.

    `seen` holds the class and the link of each folder found so far, by its real path.
    """
    real = os.path.realpath(folder)
    if folder.is_symlink():
        link = folder
        if Path(os.path.realpath(folder.parent)).is_relative_to(real):
            raise _doubled(link)
    if real in seen:
        raise _doubled(link or seen[real][1] or folder)
    seen[real] = owner, link
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"image folder {folder} cannot be read: {error.strerror}") from None
    for path in (Path(entry) for entry in entries if not entry.name.startswith(".")):
        if path.suffix.lower() in EXTENSIONS:
            yield path
        elif path.is_dir():
            yield from _walk(path, owner, seen, link)


def _doubled(link: Path, image: Path | None = None) -> ValueError:
    target = image or os.path.realpath(link)
    why = "an image of another class" if image else "whose images count already"
    return ValueError(f"link {link} leads to {target}, {why}; remove the link")


def read_images(
    files: dict[str, list[Path]],
    *,
    image_size: int | None,
    per_class: int | None = None,
    seed: int = 0,
    interpolation: str = "bilinear",
) -> LabelledImages:
    """Read the images of every class, numbered in this order, as uint8 (N, 3, S, S) on the CPU.

    Each image is converted to RGB, resized so that its shorter side is `image_size`, S in pixels
    and at least 8 (by `interpolation`, antialiased), and cropped to the centre square. At most
    `per_class` images of each class are read, drawn from `seed`; None reads all.

    Raises `ValueError` if an image cannot be read (the file is named), or there is not enough
    memory.
    """
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    paths = [path for paths in files.values() for path in paths]
    chosen = draw_per_class(labels, per_class, seed)
    images = to_tensor([paths[i] for i in chosen], _open, image_size, interpolation)
    return LabelledImages(images, torch.from_numpy(labels[chosen]))


def draw_per_class(labels: np.ndarray, per_class: int | None, seed: int) -> np.ndarray:
    """Return sorted indices of at most `per_class` samples of each class, drawn from `seed`.

    Raises `ValueError` if per_class is below 1.
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


def _open(path: Path) -> Image.Image:
    try:
        if not path.is_file():  # a pipe would never end
            raise ValueError("it is no file")
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has {image.mode} pixels; convert it to 8 bits")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(f"image {path} cannot be read: {error}; repair or remove it") from None


def to_tensor(
    sources: Sequence,
    read: Callable[..., Image.Image],
    image_size: int | None,
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """Read images from their sources as uint8 (N, 3, S, S), resized and cropped to a square."""
    from torchvision.transforms.functional import InterpolationMode, center_crop, resize

    if image_size is None or image_size < 8:
        raise ValueError(f"image_size must be at least 8 pixels, got {image_size}")
    check_memory(len(sources), image_size)
    mode = InterpolationMode(interpolation)
    images = torch.empty(len(sources), 3, image_size, image_size, dtype=torch.uint8)
    for row, source in zip(images, sources, strict=True):
        image = read(source).convert("RGB")
        if image.size != (image_size, image_size):
            image = center_crop(resize(image, [image_size], mode), [image_size, image_size])
        row.copy_(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
    return images
