"""The first step of finetuning: gradient descent on all images, in finetuning's mode."""

import pytest
import torch
from problems import weights
from torch import nn

from taskhead.method.batches import LabelledImages
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.first_step import first_step
from taskhead.method.heads import make_head

IMAGES = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
DATA = LabelledImages(IMAGES, torch.arange(12) % 3)


def backbone() -> nn.Module:
    return nn.Sequential(nn.Flatten(), *make_head(108, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_it_is_the_first_step_of_finetuning_in_one_batch(bn_mode):
    options = {"lr": 0.1, "bn_mode": bn_mode, "batch_size": 12, "seed": 1}
    stepped = first_step(backbone(), make_head(5, 3), DATA, **options)
    plain = {"epochs": 1, "momentum": 0, "weight_decay": 0}
    tuned = finetune(backbone(), make_head(5, 3), DATA, DATA, **plain, **options)
    torch.testing.assert_close(weights(stepped), weights(tuned.last.backbone))


def test_batches_bound_memory_and_change_nothing():
    one, many = (
        first_step(backbone(), make_head(5, 3), DATA, lr=0.1, batch_size=size) for size in (12, 5)
    )
    torch.testing.assert_close(weights(one), weights(many))


def test_given_networks_stay_as_they_are():
    network, head = backbone().train(), make_head(5, 3)
    before = weights(network), weights(head)
    moved = first_step(network, head, DATA, lr=0.1)
    assert torch.equal(weights(network), before[0])
    assert torch.equal(weights(head), before[1])
    assert not torch.equal(extract_features(moved, IMAGES), extract_features(network, IMAGES))
