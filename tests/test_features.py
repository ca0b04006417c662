"""Features: eval mode that is given back, fingerprints, and blocks that are drawn anew."""

import copy

import pytest
import torch
from problems import changed
from torch import nn

from taskhead.method.features import (
    extract_features,
    fingerprint,
    last_blocks,
    reinitialise_last_blocks,
)
from taskhead.models.pretraining import small_convnet
from taskhead.models.resnets import CifarResNet

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_eval_mode_and_every_mode_is_restored():
    backbone = small_convnet().train()
    backbone[1].eval()
    modes = [module.training for module in backbone.modules()]
    before = copy.deepcopy(backbone.state_dict())
    features = extract_features(backbone, IMAGES)
    assert not features.requires_grad
    assert [module.training for module in backbone.modules()] == modes
    assert not changed(backbone, before)
    torch.testing.assert_close(features, backbone.eval()(IMAGES).detach())


def test_features_of_many_images_equal_those_of_few():
    many = IMAGES.repeat(900, 1, 1, 1)
    features = extract_features(small_convnet(), many)
    assert features.shape == (4500, 64)
    torch.testing.assert_close(features[-5:], extract_features(small_convnet(), IMAGES))


def test_fingerprint_tells_weights_and_statistics_apart():
    plain, other, moved = small_convnet(), small_convnet(seed=1), small_convnet()
    moved[1].running_mean += 1
    assert fingerprint(plain) == fingerprint(small_convnet())
    assert len({fingerprint(network) for network in (plain, other, moved)}) == 3


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_only_the_last_blocks_change_and_the_seed_decides_how(blocks: int):
    pretrained = CifarResNet(20)
    backbone, again, other = (copy.deepcopy(pretrained) for _ in range(3))
    state = torch.random.get_rng_state()
    for network, seed in ((backbone, 1), (again, 1), (other, 2)):
        reinitialise_last_blocks(nn.Sequential(network), blocks, seed=seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    names = changed(backbone, pretrained.state_dict())
    assert {name.split(".")[1] for name in names} == {str(2 - i) for i in range(blocks)}
    assert all(name.startswith("layer3.") for name in names)
    assert not changed(again, backbone.state_dict())
    assert changed(other, backbone.state_dict())


def test_stages_are_counted_by_their_numbers():
    stages = {f"layer{n}": nn.Sequential(nn.Linear(2, 2)) for n in (1, 2, 9, 10)}
    backbone = nn.ModuleDict({"layers": nn.ModuleDict(stages)})
    assert last_blocks(backbone, 1)[0] is stages["layer10"][0]


@pytest.mark.parametrize(
    ("backbone", "blocks", "named"),
    [(CifarResNet(20), 4, "1 .. 3.* 4"), (CifarResNet(20), 0, "0"), (small_convnet(), 1, "layer1")],
)
def test_blocks_that_are_not_there_are_refused(backbone: nn.Module, blocks: int, named: str):
    with pytest.raises(ValueError, match=named):
        reinitialise_last_blocks(backbone, blocks)
