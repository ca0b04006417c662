"""Splits of one's images into those to learn from and those to validate on."""

import torch
from torch import Tensor

from taskhead.method.batches import LabelledImages
from taskhead.tasks.images import room_for

HELD_OUT = 0.2  # of the images, for validation where none are given


class Splits:
    """Splits of data into training and validation images; one at a time is kept.

    Without validation images, a fifth of each class is held out, drawn anew for each split. With
    them, all splits are the same, and seeds alone differ. `whole` is how many times the training
    images of a split there are in all, and `overlap` that of `interval` for values of these splits.
    """

    def __init__(
        self, train: LabelledImages, val: LabelledImages | None, count: int, seed: int
    ) -> None:
        """Draw `count` splits.

        Raises `ValueError` if a class has fewer than two images to hold one out.
        """
        self.train, self.val, self.count = train, val, count
        self.whole = 1 / (1 - HELD_OUT) if val is None else 1.0
        self.overlap = HELD_OUT / (1 - HELD_OUT) if val is None else 0.0
        self._indices = _draw(train.labels, count, seed) if val is None else []
        self._kept: dict[int, tuple[LabelledImages, LabelledImages]] = {}

    def __len__(self) -> int:
        """Return how many splits there are."""
        return self.count

    def __getitem__(self, number: int) -> tuple[LabelledImages, LabelledImages]:
        """Return the training and the validation images of a split."""
        number = range(self.count)[number]
        if self.val is not None:
            return self.train, self.val
        if number not in self._kept:
            self._kept.clear()  # before there is another
            kept, held_out = self._indices[number]
            self._kept[number] = rows(self.train, kept), rows(self.train, held_out)
        return self._kept[number]


def rows(data: LabelledImages, index: Tensor) -> LabelledImages:
    """Return the rows at `index`; images of 8 bits on the CPU have the room of `room_for`."""
    images = data.images
    if images.dtype != torch.uint8 or images.device.type != "cpu":
        return data[index]
    room = room_for((len(index), *images.shape[1:]))
    return LabelledImages(torch.index_select(images, 0, index, out=room), data.labels[index])


def joined(one: LabelledImages, other: LabelledImages) -> LabelledImages:
    """Return two sets of images of 8 bits as one; it has the room of `room_for`."""
    room = room_for((len(one) + len(other), *one.images.shape[1:]))
    images = torch.cat([one.images.cpu(), other.images.cpu()], out=room).to(one.images.device)
    return LabelledImages(images, torch.cat([one.labels, other.labels]))


def _draw(labels: Tensor, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    parts = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    for part in parts:
        if len(part) < 2:
            label = int(labels[part[0]])
            raise ValueError(f"class {label} has 1 image; give 2 or more, or validation images")
    order = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(count):
        shuffled = [part[torch.randperm(len(part), generator=order)] for part in parts]
        cuts = [max(1, round(HELD_OUT * len(part))) for part in parts]
        pairs = list(zip(shuffled, cuts, strict=True))
        drawn.append((torch.cat([p[n:] for p, n in pairs]), torch.cat([p[:n] for p, n in pairs])))
    return drawn
