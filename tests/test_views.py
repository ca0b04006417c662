"""Views: features of the training images as finetuning sees them."""

import pytest
import torch
from problems import changed
from torch import Generator, Tensor, nn

from taskhead.method.augmentation import CropAndFlip
from taskhead.method.features import extract_features
from taskhead.method.views import extract_views

IMAGES = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_without_augmentation_the_one_view_is_the_images_as_they_are():
    views = extract_views(network(), IMAGES, None, count=5)
    assert views.shape == (1, 10, 4)
    assert torch.equal(views[0], extract_features(network(), IMAGES))


def test_views_are_those_of_augmented_images_in_the_order_of_the_images():
    views = extract_views(nn.Flatten(), IMAGES, CropAndFlip(fraction=0), count=6, seed=1)
    flipped = IMAGES.flip(3).flatten(1)
    as_it_is = (views == IMAGES.flatten(1)).all(dim=2)
    assert (as_it_is | (views == flipped).all(dim=2)).all()
    assert 0.2 < as_it_is.double().mean() < 0.8


def test_seed_decides_the_views_and_the_random_state_stays():
    state = torch.random.get_rng_state()
    first, again, other = (
        extract_views(network(), IMAGES, CropAndFlip(), count=2, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_makes_views_differ_and_the_random_state_stays():
    state = torch.random.get_rng_state()
    views = extract_views(network(), IMAGES, None, count=2, dropout=True)
    again = extract_views(network(), IMAGES, None, count=2, dropout=True)
    assert torch.equal(views, again)
    assert not torch.equal(views[0], views[1])
    assert torch.equal(torch.random.get_rng_state(), state)
    many = extract_views(network(), IMAGES, None, count=2000, dropout=True).mean(dim=0)
    torch.testing.assert_close(many, extract_features(network(), IMAGES), rtol=0.1, atol=0.02)


def test_train_mode_normalises_by_batches_in_orders_of_their_own_and_keeps_the_statistics():
    backbone = network()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    views = extract_views(backbone, IMAGES, None, count=3, bn_mode="train", batch_size=4)
    assert not changed(backbone, before)
    assert len(views) == 3
    assert not torch.equal(views[0], views[1])
    whole = extract_views(backbone, IMAGES, None, count=1, bn_mode="train", batch_size=10)[0]
    by_hand = network().train()
    by_hand[3].eval()
    torch.testing.assert_close(whole, by_hand(IMAGES).detach())


def test_augmentation_is_given_batches_and_a_generator():
    class Shift:
        def __call__(self, images: Tensor, generator: Generator) -> Tensor:
            return images + torch.rand((), generator=generator)

    views = extract_views(nn.Flatten(), IMAGES, Shift(), count=2)
    assert not torch.equal(views[0], views[1])


@pytest.mark.parametrize("size", [32, 96])
def test_every_device_draws_the_augmentation_of_the_same_blocks(size: int):
    def drawn_on(device: str) -> list[int]:
        sizes = []

        def augment(images: Tensor, generator: Generator) -> Tensor:
            sizes.append(len(images))
            return images

        backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        images = torch.empty(1100, 1, size, size, device=device)
        extract_views(backbone, images, augment, count=2)
        return sizes

    assert drawn_on("meta") == drawn_on("cpu")
