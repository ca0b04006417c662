"""Labelled data as tensors on one device, and the batches that the method cuts them into."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from taskhead.method.checks import as_labels, as_tensor


@dataclass(frozen=True)
class LabelledImages:
    """Images (N, ...), any batch that a backbone takes, and int64 labels (N,), on one device.

    Raises `TypeError` or `ValueError` if the images are no tensor, the labels no vector of
    integers, or their numbers differ.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Cast the labels and check the counts."""
        object.__setattr__(self, "images", as_tensor("images", self.images))
        object.__setattr__(self, "labels", as_labels(self.labels).to(self.images.device))
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


def as_labelled(data: Any) -> LabelledImages:
    """Return data in any of the forms that users have as `LabelledImages`.

    That is `LabelledImages`, a pair of tensors or arrays (images, labels), any map-style `Dataset`
    of pairs (image tensor, integer label), or a `DataLoader` of batches of these. The last two are
    read into memory once, so what they draw at random stays as it was then.

    Raises `TypeError` or `ValueError` if it is none of these, is empty, or the labels do not fit.
    """
    if isinstance(data, LabelledImages):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return LabelledImages(*data)
    loader = isinstance(data, DataLoader)
    if not (loader or (hasattr(data, "__getitem__") and hasattr(data, "__len__"))):
        raise TypeError(
            "data must be LabelledImages, a pair of tensors (images, labels), a map-style Dataset "
            f"or a DataLoader, got {type(data).__name__}"
        )
    if not len(data):
        raise ValueError("the data is empty: there are no images")
    try:
        if loader:
            batches = [[as_tensor("a batch of the loader", part) for part in pair] for pair in data]
            images, labels = map(torch.cat, zip(*batches, strict=True))
            return LabelledImages(images, labels)
        images, labels = zip(*(data[i] for i in range(len(data))), strict=True)
        images = torch.stack([as_tensor("an image of the data set", image) for image in images])
        return LabelledImages(images, torch.as_tensor(labels))
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"the data set of type {type(data).__name__} does not hold pairs of an image and a "
            f"label, images all of one shape: {' '.join(str(error).split())}"
        ) from None


def blocks(images: Tensor) -> tuple[Tensor, ...]:
    """Cut images (N, C, H, W), or any other batch, into blocks that are the same on every device.

    A block has about 2^18 pixels, whose activations stay close to the caches of a CPU, and is at
    most 1024 images.
    """
    return images.split(_block_size(images))


def forward_batches(images: Tensor) -> tuple[Tensor, ...]:
    """Cut images for a forward pass without gradients.

    On the CPU a batch is one of their `blocks`; on other devices it holds as many whole blocks as
    fit into 2^25 pixels and 1024 images.
    """
    size = _block_size(images)
    if images.device.type != "cpu":
        size *= max(min(2**25 // math.prod(images.shape[2:]), 1024) // size, 1)
    return images.split(size)


def _block_size(images: Tensor) -> int:
    return min(max(2**18 // math.prod(images.shape[2:]), 1), 1024)


def shuffled_batches(
    n: int,
    batch_size: int,
    generator: torch.Generator,
    device: torch.device | str,
    *,
    merge_single: bool = False,
) -> tuple[Tensor, ...]:
    """Return the indices 0 .. n - 1 in random order, cut into batches; the last may be smaller.

    With `merge_single` a last batch of one joins the one before it, as BatchNorm in train mode has
    no statistics of a single image. The generator lives on the CPU, so a seed gives the same order
    on every device.
    """
    batches = torch.randperm(n, generator=generator).to(device).split(batch_size)
    if merge_single and len(batches) > 1 and len(batches[-1]) == 1:
        return (*batches[:-2], torch.cat(batches[-2:]))
    return batches
