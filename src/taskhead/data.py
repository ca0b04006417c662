"""Images and labels as tensors resident on one device, and seeded splits without overlap."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock
from platformdirs import user_cache_path
from torch import Tensor

from taskhead.checks import check_labels


@dataclass(frozen=True)
class LabelledImages:
    """Images, float32 or uint8 of shape (N, C, H, W), and int64 labels (N,), on one device.

    Raises
    ------
    ValueError
        If there are not as many labels as images.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Check the counts."""
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"{len(self.images)} images but {len(self.labels)} labels; give one label an image"
            )

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> "LabelledImages":
        """Return the rows at `index`, an int64 or bool tensor."""
        index = index.to(self.labels.device)
        return LabelledImages(self.images[index], self.labels[index])

    def to(self, device: torch.device | str) -> "LabelledImages":
        """Return the same data on `device`."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Task:
    """A classification task: three splits without overlap and the number of classes K.

    `ood` holds test sets of other domains by name, with the same classes.
    """

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    n_classes: int
    ood: dict[str, LabelledImages] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Task":
        """Return the same task on `device`."""
        return Task(
            self.train.to(device),
            self.val.to(device),
            self.test.to(device),
            self.n_classes,
            {name: images.to(device) for name, images in self.ood.items()},
        )


def data_root() -> Path:
    """Return the folder of data and checkpoints: $TASKHEAD_DATA, or one in the user's cache."""
    given = os.environ.get("TASKHEAD_DATA")
    return Path(given) if given else user_cache_path("taskhead")


@contextmanager
def one_process(name: str) -> Iterator[None]:
    """Let other processes wait while this one puts what is called `name` in the data folder.

    A folder that cannot be written to is taken to be complete.

    Raises
    ------
    ValueError
        If the folder cannot be made.
    """
    folder = data_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data folder {folder} cannot be made ({error.strerror}); set TASKHEAD_DATA to another"
        ) from None
    with FileLock(folder / f"{name}.lock") if os.access(folder, os.W_OK) else nullcontext():
        yield


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


def split(
    data: LabelledImages,
    *,
    n_classes: int,
    train_per_class: int,
    val_per_class: int,
    seed: int,
    test_per_class: int = 0,
    test: LabelledImages | None = None,
    names: Sequence[str] = (),
) -> Task:
    """Split data at random into train, val and test, the same number of images for each class.

    Train and val take the first `train_per_class` and the next `val_per_class` images of each
    class in an order drawn from `seed`. Where the data has no `test` split of its own, test takes
    what remains, at most `test_per_class` images of each class unless that is 0. `names` of the
    classes serve in messages.

    Raises
    ------
    ValueError
        If a class has too few images, or a label lies outside 0 .. n_classes - 1.
    """
    if train_per_class < 1 or val_per_class < 1 or test_per_class < 0:
        raise ValueError(
            f"train_per_class and val_per_class must be at least 1 and test_per_class at least 0, "
            f"got {train_per_class}, {val_per_class} and {test_per_class}"
        )
    check_labels(data.labels, n_classes)
    labels = data.labels.cpu()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    parts: tuple[list[Tensor], ...] = ([], [], [])
    asked = train_per_class + val_per_class
    for label in range(n_classes):
        members = order[labels[order] == label]
        if len(members) < asked + (test is None):
            raise ValueError(
                f"class {names[label] if names else label} has {len(members)} images; "
                f"train_per_class={train_per_class} and val_per_class={val_per_class} need {asked}"
                + (" and leave none for the test split" if test is None else "")
            )
        ends = (train_per_class, asked, asked + test_per_class if test_per_class else None)
        for part, start, end in zip(parts, (0, *ends), ends, strict=False):
            part.append(members[start:end])
    train, val, rest = (data[torch.cat(part)] for part in parts)
    return Task(train, val, rest if test is None else test, n_classes)


def forward_batches(images: Tensor) -> tuple[Tensor, ...]:
    """Cut images (N, C, H, W) into batches for a forward pass without gradients.

    On the CPU a batch has about 2^18 pixels, whose activations stay close to the caches; on other
    devices 2^25. It is at most 1024 images.
    """
    pixels = 2**18 if images.device.type == "cpu" else 2**25
    return images.split(min(max(pixels // images[0, 0].numel(), 1), 1024))


def shuffled_batches(
    n: int, batch_size: int, generator: torch.Generator, device: torch.device | str
) -> tuple[Tensor, ...]:
    """Return the indices 0 .. n - 1 in random order, cut into batches; the last may be smaller.

    The generator lives on the CPU, so a seed gives the same order on every device.
    """
    return torch.randperm(n, generator=generator).to(device).split(batch_size)
