"""Data sets by name: handwritten digits, and those that torchvision downloads."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from taskhead.method.batches import LabelledImages
from taskhead.method.checks import check_choice
from taskhead.tasks.images import check_same_classes, draw_per_class, load_image_folder, to_tensor
from taskhead.tasks.storage import check_writable, data_root, one_process
from taskhead.tasks.task import Draw, Task, split

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

_TORCHVISION: dict[str, Callable[[str, bool], "VisionDataset"]] = {
    "cifar10": lambda root, train: _download("CIFAR10", root, train),
    "cifar100": lambda root, train: _download("CIFAR100", root, train),
    "stl10": lambda root, train: _download("STL10", root, "train" if train else "test"),
    "flowers102": lambda root, train: _download("Flowers102", root, "train" if train else "test"),
    "dtd": lambda root, train: _download("DTD", root, "train" if train else "test"),
}
DATASETS = tuple(_TORCHVISION)


def digits_task(draw: Draw, *, classes: range) -> Task:
    """Return the task of telling the given handwritten digits apart, 8 x 8 pixels.

    Raises
    ------
    ValueError
        If another image size is asked for or a class has too few images.
    """
    if draw.image_size != 8:
        raise ValueError(f"image_size of the handwritten digits must be 8, got {draw.image_size}")
    return split(load_digits(classes), draw, n_classes=len(classes))


def dataset_task(name: str, draw: Draw) -> Task:
    """Return a task from a data set of `DATASETS`: its training split is drawn from.

    Raises
    ------
    ValueError
        If the data cannot be read or a class has too few images.
    """
    size, per_class = draw.image_size, draw.train_per_class + draw.val_per_class
    pool, names = load_dataset(
        name, train=True, image_size=size, per_class=per_class, seed=draw.seed
    )
    test, _ = load_dataset(name, train=False, image_size=size, per_class=draw.test_per_class)
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
    images = to_tensor(list(chosen), lambda i: dataset[int(i)][0], image_size)
    classes = getattr(dataset, "classes", [str(label) for label in np.unique(labels)])
    return LabelledImages(images, torch.from_numpy(labels[chosen])), list(classes)


def _download(name: str, root: str, part: bool | str) -> "VisionDataset":
    from torchvision import datasets

    make = getattr(datasets, name)
    with one_process(name):
        try:
            return make(root, part)  # which a read-only folder may hold
        except RuntimeError:  # it is not there, or not whole
            check_writable(data_root())
            return make(root, part, download=True)


def _labels(dataset: "VisionDataset") -> Sequence[int]:
    for name in ("targets", "labels", "_labels"):
        if hasattr(dataset, name):
            return getattr(dataset, name)
    raise TypeError(f"{type(dataset).__name__} keeps its labels under no known name")
