"""Crops and flips move pixels and never change them."""

import torch

from taskhead.method.augmentation import CropAndFlip


def batch(n: int = 64, size: int = 16) -> torch.Tensor:
    return torch.randint(1, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_image_is_a_shifted_and_perhaps_flipped_original():
    images = batch()
    shifts, flips = set(), set()
    for image, result in zip(images, CropAndFlip()(images, seeded(0)), strict=True):
        found = [
            (down, right, flip)
            for flip in (False, True)
            for down in range(5)
            for right in range(5)
            if torch.equal(_shifted(image, down, right, flip), result)
        ]
        assert len(found) == 1
        shifts.add(found[0][:2])
        flips.add(found[0][2])
    assert flips == {False, True}
    assert len(shifts) > 15  # of 25


def test_type_and_shape_stay_and_the_input_too():
    images = batch()
    before = images.clone()
    result = CropAndFlip()(images, seeded(0))
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    assert torch.equal(images, before)


def test_seed_decides():
    images = batch()
    first, same, other = (CropAndFlip()(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def _shifted(image: torch.Tensor, down: int, right: int, flip: bool) -> torch.Tensor:
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    crop = padded[:, down : down + 16, right : right + 16]
    return crop.flip(2) if flip else crop
