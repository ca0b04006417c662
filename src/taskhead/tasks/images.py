"""Read images as they look in a viewer, into uint8 tensors in memory or on disk."""

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import torch
from PIL import Image, ImageOps

from taskhead.method.batches import LabelledImages
from taskhead.tasks.storage import check_writable, data_root

S = TypeVar("S")
R = TypeVar("R")
_LONG = 4  # times its shorter side, beyond which an image is cropped before it is resized


def open_image(path: Path) -> Image.Image:
    """Return an image as RGB of 8 bits, as a viewer shows it.

    It is turned as its EXIF data say, transparent parts lie over white, 16 bits are scaled to 8,
    and of several frames the first is taken.

    Raises `ValueError` if it cannot be read; the message names the file.
    """
    try:
        return _decode(path)
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(f"image {path} cannot be read: {error}; repair or remove it") from None


def why_unreadable(path: Path) -> str | None:
    """Return why an image cannot be read, None if it can."""
    try:
        _decode(path, fast=True)
    except Exception as error:  # Pillow raises many kinds
        return str(error) or type(error).__name__
    return None


def _decode(path: Path, *, fast: bool = False) -> Image.Image:
    if not path.is_file():  # a pipe would never end
        raise ValueError("it is no file")
    with Image.open(path) as image:
        if fast:
            image.draft(None, (1, 1))  # a JPEG is decoded to an eighth of its size
        deep = image.mode == "I" and image.format in ("PNG", "PPM")
        return _as_rgb(ImageOps.exif_transpose(image), deep=deep)


def _as_rgb(image: Image.Image, *, deep: bool) -> Image.Image:
    """Return an image as RGB; `deep` says that its integers have 16 bits and not 32."""
    if deep or image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"it has {image.mode} pixels of 32 bits, whose range is not known")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def read_images(
    files: Mapping[str, Sequence[Path]],
    *,
    image_size: int | None,
    interpolation: str = "bilinear",
    on_disk: bool | None = None,
) -> LabelledImages:
    """Read the images of every class, numbered in this order, as uint8 (N, 3, S, S) on the CPU.

    Each is opened as by `open_image` and made square as by `to_tensor`, whose other parameters
    these are.

    Raises `ValueError` if an image cannot be read (the file is named), or there is no room.
    """
    paths = [path for paths in files.values() for path in paths]
    images = to_tensor(paths, open_image, image_size, interpolation, on_disk=on_disk)
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    return LabelledImages(images, torch.from_numpy(labels))


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


def to_tensor(
    sources: Sequence[S],
    read: Callable[[S], Image.Image],
    image_size: int | None,
    interpolation: str = "bilinear",
    *,
    on_disk: bool | None = None,
) -> torch.Tensor:
    """Read images from their sources as uint8 (N, 3, S, S).

    Each is resized so that its shorter side is `image_size`, S in pixels and at least 8 (by
    `interpolation`, antialiased), and cropped to the centre square. What `on_disk` means, and None,
    is said by `room_for`.
    """
    if image_size is None or image_size < 8:
        raise ValueError(f"image_size must be at least 8 pixels, got {image_size}")
    images = room_for((len(sources), 3, image_size, image_size), on_disk=on_disk)

    def fill(index: int) -> None:
        image = _square(read(sources[index]).convert("RGB"), image_size, interpolation)
        images[index] = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)

    side_by_side(fill, range(len(sources)))
    return images


def side_by_side(function: Callable[[S], R], items: Iterable[S]) -> list[R]:
    """Return the results of a function for all items, computed in as many threads as PyTorch has.

    Pillow decodes and resizes outside of Python's lock.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return list(threads.map(function, items))


def room_for(shape: tuple[int, ...], *, on_disk: bool | None = None) -> torch.Tensor:
    """Return an uint8 tensor of this shape to be filled, in memory or mapped from disk.

    None takes the disk where it would need more than half of the free memory. The file lies below
    the data folder without a name, and goes with the tensor or the process; what is read of it is
    memory that the system takes back when it needs it.

    Raises `ValueError` if there is no room on the disk.
    """
    needed = math.prod(shape)
    if on_disk is None:
        on_disk = needed > psutil.virtual_memory().available / 2
    if not on_disk or not needed:
        return torch.empty(shape, dtype=torch.uint8)
    folder = data_root() / "images"
    check_writable(folder, needed)
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, np.uint8, "w+", shape=shape))


def _square(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    from torchvision.transforms.functional import InterpolationMode, center_crop, resize

    if image.size == (size, size):
        return image
    most = _LONG * min(image.size)
    if max(image.size) > most:  # resized, it could be larger than memory
        image = center_crop(image, [min(image.height, most), min(image.width, most)])
    return center_crop(resize(image, [size], InterpolationMode(interpolation)), [size, size])
