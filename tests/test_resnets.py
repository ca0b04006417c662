"""Architectures against what is published of them."""

import copy

import pytest
import torch
from torch import nn

from taskhead.resnets import CifarResNet, reinitialise_last_blocks, resnet18_cifar_stem


def n_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_sizes_are_those_of_he_et_al(depth, millions):
    # Table 6 of He et al. 2016 counts the classifier of 64 x 10 weights and 10 biases.
    assert round((n_parameters(CifarResNet(depth)) + 650) / 1e6, 2) == millions


def test_features_have_the_documented_shape():
    images = torch.rand(2, 3, 32, 32)
    assert CifarResNet(20)(images).shape == (2, 64)
    assert resnet18_cifar_stem(width=8)(images).shape == (2, 64)


def test_resnet18_has_the_parameters_of_the_original_but_for_the_stem():
    # ResNet-18 of torchvision: 11,689,512 with a 7 x 7 stem and a classifier for 1,000 classes.
    expected = 11_689_512 - 513_000 - 64 * 3 * (49 - 9)
    assert n_parameters(resnet18_cifar_stem()) == expected


@pytest.mark.parametrize("depth", [18, 21])
def test_unknown_depth(depth):
    with pytest.raises(ValueError, match="depth must be one of"):
        CifarResNet(depth)


@pytest.mark.parametrize(
    ("blocks", "changed"), [(1, ["2"]), (2, ["1", "2"]), (None, ["0", "1", "2"])]
)
def test_only_the_last_blocks_are_drawn_anew(blocks, changed):
    network = nn.Sequential(nn.Identity(), CifarResNet(20))
    before = copy.deepcopy(network.state_dict())
    reinitialise_last_blocks(network, blocks, seed=1)
    after = network.state_dict()
    assert {name: value.shape for name, value in before.items()} == {
        name: value.shape for name, value in after.items()
    }
    different = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[2] for name in different} == set(changed)
    assert all(name.startswith("1.layer3.") for name in different)


def test_draw_is_seeded_and_leaves_the_random_state_alone():
    state = torch.random.get_rng_state()
    first, same, other = (copy.deepcopy(CifarResNet(20)) for _ in range(3))
    torch.random.set_rng_state(state)
    for network, seed in ((first, 1), (same, 1), (other, 2)):
        reinitialise_last_blocks(network, 1, seed=seed)
    weights = [network.layer3[2].conv1.weight for network in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_impossible_reinitialisations():
    with pytest.raises(ValueError, match=r"blocks must be 1 \.\. 3"):
        reinitialise_last_blocks(CifarResNet(20), 4)
    with pytest.raises(ValueError, match="no stages"):
        reinitialise_last_blocks(nn.Linear(2, 2), 1)
