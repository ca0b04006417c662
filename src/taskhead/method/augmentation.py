"""Augmentation of image batches as tensor operations, on the device the images are on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from taskhead.method.checks import check_choice

Augment = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True)
class CropAndFlip:
    """Pad by an eighth of the side with zeros, crop at random, flip half of the images.

    Each image of a batch draws its own crop and flip. The generator lives on the CPU, so a seed
    gives the same draws on every device.
    """

    fraction: float = 1 / 8

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Return augmented images of the same shape (N, C, S, S) and type."""
        (n, channels, height, width), device = images.shape, images.device
        margin = round(height * self.fraction)
        draws = [torch.randint(0, 2 * margin + 1, (n, 1), generator=generator) for _ in range(2)]
        draws += [torch.rand(n, 1, generator=generator) < 0.5]
        down, right, flip = (each.to(device, non_blocking=True) for each in draws)
        columns = torch.arange(width, device=device).expand(n, width)
        columns = torch.where(flip, columns.flip(1), columns) + right
        rows = torch.arange(height, device=device) + down
        padded = pad(images, (margin,) * 4)
        index = torch.arange(n, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[None, :, None, None]
        return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]


AUGMENTATIONS: dict[str, Augment] = {"crop-flip": CropAndFlip()}


def as_augmentation(augment: str | Augment | None) -> Augment | None:
    """Return an augmentation by its name; a callable of images and a generator, or None, as it is.

    Raises `ValueError` if the name is unknown.
    """
    if isinstance(augment, str):
        check_choice("augment", augment, AUGMENTATIONS)
        return AUGMENTATIONS[augment]
    return augment
