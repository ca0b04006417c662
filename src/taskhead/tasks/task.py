"""Classification tasks: which images one takes, and seeded splits without overlap."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from taskhead.method.batches import LabelledImages
from taskhead.method.checks import check_labels
from taskhead.method.seeds import stream


@dataclass(frozen=True)
class Draw:
    """Which images a task takes.

    `seed` draws `train_per_class` and `val_per_class` images of every class. The test images are
    the same for every seed. `test_per_class` limits them, and those of other domains; None takes
    all of a test split, and a third of each class where there is none. `domain` is the target
    domain, None where there are none. `interpolation` is how images are resized: "bilinear",
    "bicubic" or another mode of torchvision.
    """

    seed: int
    image_size: int | None
    train_per_class: int
    val_per_class: int
    test_per_class: int | None = None
    domain: str | None = None
    interpolation: str = "bilinear"

    @property
    def limits(self) -> dict[str, int | None]:
        """Return how many images of each class are taken for train, val and test."""
        return {
            "train": self.train_per_class,
            "val": self.val_per_class,
            "test": self.test_per_class,
        }


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
        train, val, test = (part.to(device) for part in (self.train, self.val, self.test))
        ood = {name: images.to(device) for name, images in self.ood.items()}
        return Task(train, val, test, self.n_classes, ood)


def split(
    data: LabelledImages,
    draw: Draw,
    *,
    n_classes: int,
    test: LabelledImages | None = None,
    names: Sequence[str] = (),
) -> Task:
    """Split data into train, val and test, the same number of images for each class.

    Train and val take the first `train_per_class` and the next `val_per_class` images of each
    class in an order drawn from the seed. Where the data has no `test` split of its own, the test
    images are set aside before, by `set_aside`. `names` of the classes serve in messages.

    Raises `ValueError` if a class has too few images, a number is out of range, or a label lies
    outside 0 .. n_classes - 1.
    """
    n_train, n_val, n_test = draw.train_per_class, draw.val_per_class, draw.test_per_class
    if n_train < 1 or n_val < 1 or (n_test is not None and n_test < 1):
        raise ValueError(
            "train_per_class, val_per_class and test_per_class must be at least 1, "
            f"got {n_train}, {n_val} and {n_test}"
        )
    check_labels(data.labels, n_classes)
    labels = data.labels.cpu()
    aside, pools = [], []
    for label in range(n_classes):
        members = (labels == label).nonzero()[:, 0]
        name = names[label] if names else str(label)
        check_enough(name, len(members), draw, own_test=test is not None)
        first, rest = members[:0], members
        if test is None:
            first, rest = (members[list(part)] for part in set_aside(len(members), draw))
        aside.append(first)
        pools.append(rest)
    parts = [*draw_parts(len(labels), pools, [(n_train, n_val)] * n_classes, draw.seed), aside]
    train, val, own_test = (data[torch.cat(part)] for part in parts)
    return Task(train, val, own_test if test is None else test, n_classes)


def draw_parts(
    n: int, pools: Sequence[Tensor], counts: Sequence[tuple[int, int]], seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return which of n samples serve for training and for validation, by class.

    They are the first and the next of each pool, int64 indices, as many as its `counts` say, in an
    order drawn from the seed.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(stream(seed, "split")))
    drawn = [order[torch.isin(order, pool)] for pool in pools]
    train = [each[:first] for each, (first, _) in zip(drawn, counts, strict=True)]
    val = [each[first:][:then] for each, (first, then) in zip(drawn, counts, strict=True)]
    return train, val


def check_enough(name: str, n: int, draw: Draw, *, own_test: bool) -> None:
    """Raise `ValueError` unless n images of a class are enough for what is drawn of it."""
    asked = draw.train_per_class + draw.val_per_class
    if n < asked + (not own_test):
        raise ValueError(
            f"class {name} has {n} samples; train_per_class={draw.train_per_class} and "
            f"val_per_class={draw.val_per_class} need {asked}"
            + ("" if own_test else " and leave none for the test split")
        )


def set_aside(n: int, draw: Draw) -> tuple[list[int], list[int]]:
    """Set test images of a class of n images aside, the same for every seed, and return the rest.

    They are `test_per_class`, by default a third of the class, but no more than training and
    validation leave.
    """
    order = same_order(n)
    wanted = draw.test_per_class or n // 3
    count = max(min(wanted, n - draw.train_per_class - draw.val_per_class), 0)
    return order[:count], order[count:]


def same_order(n: int) -> list[int]:
    """Return 0 .. n - 1 in a random order that is the same in every call."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
