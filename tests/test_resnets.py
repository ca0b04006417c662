"""Architectures against what is published of them."""

import pytest
import torch
from torch import nn

from taskhead.models.resnets import CifarBlock, CifarResNet, resnet18_cifar_stem


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
def test_unknown_depth(depth: int):
    with pytest.raises(ValueError, match=str(depth)):
        CifarResNet(depth)


def test_shortcut_pads_with_as_many_zero_channels_before_as_after():
    block = CifarBlock(4, 8, stride=2).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    images = torch.rand(1, 4, 6, 6)
    assert torch.equal(block(images)[:, 2:6], images[:, :, ::2, ::2])
    assert not block(images)[:, [0, 1, 6, 7]].any()
