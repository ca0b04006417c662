"""Data sets by name: handwritten digits, and those that torchvision downloads."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from taskhead.method.batches import LabelledImages
from taskhead.method.checks import check_choice
from taskhead.method.seeds import stream
from taskhead.tasks.dividing import draw_files
from taskhead.tasks.images import draw_per_class, read_images, to_tensor
from taskhead.tasks.layout import read_layout
from taskhead.tasks.levels import HERE
from taskhead.tasks.storage import check_writable, data_root, one_process
from taskhead.tasks.task import Draw, Task, same_order, split

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

_TORCHVISION = {  # class, names of its splits and of its labels, bytes of archive and images
    "cifar10": ("CIFAR10", (True, False), "targets", 360_000_000),
    "cifar100": ("CIFAR100", (True, False), "targets", 360_000_000),
    "stl10": ("STL10", ("train", "test"), "labels", 5_800_000_000),
    "flowers102": ("Flowers102", ("train", "test"), "_labels", 700_000_000),
    "dtd": ("DTD", ("train", "test"), "_labels", 1_300_000_000),
}
DATASETS = tuple(_TORCHVISION)


def digits_task(draw: Draw, *, classes: range) -> Task:
    """Return the task of telling the given handwritten digits apart, 8 x 8 pixels.

    Raises `ValueError` if another image size is asked for or a class has too few images.
    """
    if draw.image_size != 8:
        raise ValueError(f"image_size of the handwritten digits must be 8, got {draw.image_size}")
    return split(load_digits(classes), draw, n_classes=len(classes))


def dataset_task(name: str, draw: Draw, *, classes: Sequence[str] = ()) -> Task:
    """Return a task from a data set of `DATASETS`: its training split is drawn from.

    `classes` names those to tell apart, in this order; all if none are given.

    Raises `ValueError` if the data cannot be read, it has no such class, or one has too few images.
    """
    how = {"image_size": draw.image_size, "interpolation": draw.interpolation, "classes": classes}
    per_class, seed = draw.train_per_class + draw.val_per_class, stream(draw.seed, "images")
    pool, names = load_dataset(name, train=True, per_class=per_class, seed=seed, **how)
    test, _ = load_dataset(name, train=False, per_class=draw.test_per_class, **how)
    return split(pool, draw, n_classes=len(names), names=names, test=test)


def load_digits(classes: range) -> LabelledImages:
    """Return scikit-learn's handwritten digits of the given classes, relabelled from 0.

    8 x 8 images, one channel, grey levels 0 .. 16 mapped to [0, 1]; about 180 images per class.
    They come with scikit-learn, so nothing is downloaded.
    Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target, dtype=torch.int64)
    chosen = (labels >= classes.start) & (labels < classes.stop)
    return LabelledImages(images[chosen], labels[chosen] - classes.start)


def write_digits(folder: Path, classes: range, *, train_per_class: int) -> Path:
    """Write digits as `folder/SPLIT/CLASS/NUMBER.png`, and return the folder.

    Of each class `train_per_class` stand under "train", the same in every call, all others under
    "test".
    """
    digits = load_digits(classes)
    digits = digits[torch.tensor(same_order(len(digits)))]  # they come writer by writer
    for label, name in enumerate(map(str, classes)):
        for number, pixels in enumerate(digits.images[digits.labels == label, 0]):
            place = folder / ("train" if number < train_per_class else "test") / name
            place.mkdir(parents=True, exist_ok=True)
            grey = (255 * pixels).round().to(torch.uint8).numpy()
            Image.fromarray(grey).save(place / f"{number:03d}.png")
    return folder


def load_dataset(
    name: str,
    *,
    train: bool,
    image_size: int,
    per_class: int | None = None,
    seed: int = 0,
    interpolation: str = "bilinear",
    classes: Sequence[str] = (),
) -> tuple[LabelledImages, list[str]]:
    """Read one split of a data set by name.

    The tree `NAME/train` or `NAME/test` below the data folder serves if it is there; else
    torchvision downloads the original with its checksum. Only the named `classes` are read, all if
    none are given.

    Parameters, images and errors are those of `read_images`, and the names of the classes are
    returned too; no room for a download is a `ValueError`.
    """
    check_choice("data set", name, DATASETS)
    folder = data_root() / name
    if folder.is_dir():
        splits, part = read_layout(folder, HERE).splits, "train" if train else "test"
        if part not in splits:
            raise ValueError(f"data set {folder} has no folder {part} of class folders")
        kept = _chosen(name, list(splits[part]), classes)
        files = draw_files({each: splits[part][each] for each in kept}, per_class, seed)
        return read_images(files, image_size=image_size, interpolation=interpolation), kept
    dataset, labels = _read_or_download(name, train)
    names = list(getattr(dataset, "classes", [str(label) for label in np.unique(labels)]))
    kept = _chosen(name, names, classes)
    wanted = np.array([kept.index(each) if each in kept else -1 for each in names])[labels]
    chosen = draw_per_class(wanted, per_class, seed)
    chosen = chosen[wanted[chosen] >= 0]
    images = to_tensor(list(chosen), lambda i: dataset[int(i)][0], image_size, interpolation)
    return LabelledImages(images, torch.from_numpy(wanted[chosen])), kept


def _chosen(name: str, there: list[str], classes: Sequence[str]) -> list[str]:
    """Return the classes that were asked for, all of a data set if none were."""
    for each in classes:
        check_choice(f"class of {name}", each, there)
    return list(classes) or there


def is_at_hand(name: str) -> bool:
    """Say whether the training images of a data set can be read without a download."""
    if (data_root() / name).is_dir():
        return True
    try:
        _reader(name, train=True)(download=False)
    except (RuntimeError, OSError):
        return False
    return True


def _read_or_download(name: str, train: bool) -> tuple["VisionDataset", np.ndarray]:
    _, _, labels, needed_bytes = _TORCHVISION[name]
    read = _reader(name, train=train)
    with one_process(name):
        try:
            dataset = read(download=False)
        except RuntimeError:  # it is not there
            check_writable(data_root(), needed_bytes)
            dataset = read(download=True)
    return dataset, np.asarray(getattr(dataset, labels))


def _reader(name: str, *, train: bool) -> Callable[..., "VisionDataset"]:
    from torchvision import datasets

    kind, splits, _, _ = _TORCHVISION[name]
    return partial(getattr(datasets, kind), data_root() / "torchvision", splits[not train])
