"""Folding BatchNorm: the same function and gradients, and the network untouched afterwards."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from taskhead.backbones import small_convnet
from taskhead.folding import folded_batchnorm
from taskhead.resnets import CifarResNet


class Forked(nn.Module):
    """A convolution whose output feeds BatchNorm and the sum after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.conv(images)
        return self.norm(features) + features


def warm(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Give every BatchNorm statistics, scale and shift of its own."""
    network.train()(images)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return network.eval()


def noise(channels: int, size: int) -> torch.Tensor:
    return torch.randn(8, channels, size, size, generator=torch.Generator().manual_seed(0))


NETWORKS = {
    "small_convnet": (small_convnet, 1, 8),
    "resnet20": (lambda: CifarResNet(20), 3, 32),
    "resnet18": (lambda: models.resnet18(num_classes=5), 3, 32),
    "biased": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4)), 3, 8),
    "forked": (Forked, 3, 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_output_and_gradients_are_those_of_the_plain_network(name: str):
    build, channels, size = NETWORKS[name]
    torch.manual_seed(0)
    images = noise(channels, size)
    network = warm(build(), images).double()
    plain = copy.deepcopy(network)
    expected = plain(images.double())
    expected.square().sum().backward()
    with folded_batchnorm(network, images.double()):
        folded = network(images.double())
    folded.square().sum().backward()
    torch.testing.assert_close(folded, expected)
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("name", "pairs"), [("resnet20", 19), ("resnet18", 20), ("forked", 0)])
def test_every_pair_is_folded_unless_the_convolution_feeds_another_layer(name: str, pairs: int):
    build, channels, size = NETWORKS[name]
    torch.manual_seed(0)
    network = warm(build(), noise(channels, size))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    with folded_batchnorm(network, noise(channels, size)):
        assert sum("forward" in vars(layer) for layer in norms) == pairs


def test_network_without_output_is_not_folded():
    network = nn.Sequential(warm(Forked(), noise(3, 8)), nn.Conv2d(4, 2, 1))
    for parameter in network[1].parameters():
        nn.init.zeros_(parameter)
    with folded_batchnorm(network, noise(3, 8)):
        assert "forward" not in vars(network[0].norm)


def test_network_is_as_before_afterwards_whatever_happens():
    network = warm(small_convnet(), noise(1, 8))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="stop"), folded_batchnorm(network, noise(1, 8)):
        raise RuntimeError("stop")
    assert not any("forward" in vars(layer) for layer in network.modules())
    assert not any(layer._forward_hooks for layer in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_folded_parameters_train_and_statistics_stay():
    network = warm(small_convnet(), noise(1, 8))
    statistics = [buffer.clone() for buffer in network.buffers()]
    before = [parameter.clone() for parameter in network.parameters()]
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    with folded_batchnorm(network, noise(1, 8)):
        network(noise(1, 8)).square().sum().backward()
        optimiser.step()
    assert all(map(torch.equal, network.buffers(), statistics))
    assert not any(map(torch.equal, network.parameters(), before))
