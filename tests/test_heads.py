"""Task heads: shapes, depth, scale of the initialisation, and a seed that is theirs alone."""

import math

import pytest
import torch
from torch import nn

from taskhead.method.heads import last_layer, last_layer_norm, make_head


@pytest.mark.parametrize("hidden", [(), (5,), (5, 7)])
def test_head_of_each_depth_maps_features_to_logits(hidden: tuple[int, ...]):
    head = make_head(6, 4, hidden=hidden)
    assert head(torch.zeros(3, 6)).shape == (3, 4)
    kinds = [type(layer) for layer in head]
    assert kinds == [*[nn.Linear, nn.ReLU] * len(hidden), nn.Linear]
    assert [layer.out_features for layer in head[::2]] == [*hidden, 4]
    assert last_layer(head) is head[-1]


def test_seed_decides_the_head_and_nothing_else_does():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, same, other = (
        make_head(6, 4, hidden=(5,), seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_initialisation_fills_the_interval_of_pytorch():
    weight = last_layer(make_head(100, 50)).weight.detach()
    assert 0.099 < float(weight.abs().max()) <= 0.1
    assert float(weight.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.05)


def test_normal_initialisation_is_that_of_transformers():
    head = make_head(400, 50, init="normal")
    assert float(head[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not head[0].bias.any()
    with pytest.raises(ValueError, match="'xavier'; valid: uniform, normal"):
        make_head(4, 2, init="xavier")


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_scale_acts_on_the_last_layer_alone(hidden: tuple[int, ...]):
    plain, scaled = (make_head(6, 4, hidden=hidden, init_scale=scale) for scale in (1, 2.5))
    torch.testing.assert_close(last_layer(scaled).weight, 2.5 * last_layer(plain).weight)
    torch.testing.assert_close(last_layer(scaled).bias, 2.5 * last_layer(plain).bias)
    for ours, theirs in zip(plain[:-1].parameters(), scaled[:-1].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_scale_zero_gives_uniform_predictions():
    head = make_head(6, 4, hidden=(5, 5), init_scale=0)
    assert torch.equal(head(torch.ones(2, 6)).softmax(dim=1), torch.full((2, 4), 0.25))
    assert last_layer_norm(head) == 0


def test_last_layer_norm_is_the_frobenius_norm_of_the_last_weight():
    head = make_head(2, 2, hidden=(512,))
    with torch.no_grad():
        head[-1].weight.copy_(torch.full_like(head[-1].weight, 2.0))
    assert last_layer_norm(head) == pytest.approx(2 * math.sqrt(2 * 512))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_features": 0}, "n_features >= 1"),
        ({"n_classes": 1}, "n_classes >= 2"),
        ({"hidden": (3, 0)}, "hidden.* 0"),
        ({"init_scale": -1}, "init_scale"),
        ({"init_scale": math.nan}, "init_scale"),
    ],
)
def test_sizes_out_of_range_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_head(**{"n_features": 3, "n_classes": 2} | change)


def test_last_layer_needs_a_linear_layer():
    with pytest.raises(TypeError, match="no linear layer"):
        last_layer(nn.Sequential(nn.ReLU()))
