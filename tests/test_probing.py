"""Head probing: one trajectory whose heads equal those of runs stopped there, bit for bit."""

import math

import numpy as np
import pytest
import torch
from problems import probe_at_taus, weights
from torch import nn
from torch.nn.functional import cross_entropy

from taskhead.method.energy import average_initial_energy, mean_energy
from taskhead.method.heads import make_head
from taskhead.method.probing import Stop, probe_head

TAUS = [0, 1, 3, 7]
LEVELS = [0.74, 0.65, 0.55]


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(30) % 3
    return torch.randn(30, 6, generator=generator) + torch.eye(3, 6)[targets], targets


@pytest.fixture(scope="module")
def views(data) -> tuple[torch.Tensor, torch.Tensor]:
    """Return views to probe on, and fresh ones."""
    noise = torch.randn(7, 30, 6, generator=torch.Generator().manual_seed(1))
    return data[0] + 0.3 * noise[:4], data[0] + 0.3 * noise[4:]


@pytest.mark.parametrize("hidden", [(), (8,)])
@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_head_equals_that_of_a_run_stopped_there(data, hidden: tuple, eps: float):
    options = {"lr": 0.1, "eps": eps, "batch_size": 8, "weight_decay": 0.01, "seed": 5}
    heads = probe_at_taus(*data, make_head(6, 3, hidden=hidden), taus=TAUS, **options)
    for tau, head in zip(TAUS, heads, strict=True):
        (stopped,) = probe_at_taus(*data, make_head(6, 3, hidden=hidden), taus=[tau], **options)
        assert torch.equal(weights(stopped), weights(head))
    assert len({float(weights(head).sum()) for head in heads}) == len(TAUS)


@pytest.mark.parametrize(("momentum", "eps"), [(0.9, 0.1), (0.0, 0.0)])
def test_trajectory_equals_a_plain_loop(data, momentum: float, eps: float):
    features, targets = data
    ours, theirs = (make_head(6, 3, hidden=(8,), seed=1) for _ in range(2))
    optimiser = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=momentum, nesterov=momentum > 0
    )
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        order = torch.randperm(30, generator=generator)
        for start in range(0, 30, 8):
            rows = order[start : start + 8]
            optimiser.zero_grad()
            cross_entropy(theirs(features[rows]), targets[rows], label_smoothing=eps).backward()
            optimiser.step()
    options = {"lr": 0.1, "momentum": momentum, "eps": eps, "batch_size": 8, "seed": 4}
    (head,) = probe_at_taus(*data, ours, taus=[3], **options)
    torch.testing.assert_close(weights(head), weights(theirs), rtol=1e-5, atol=1e-6)


def test_an_epoch_takes_one_view_of_each_image_and_in_time_all():
    class Spy(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            seen.append(features.detach())
            return super().forward(features)

    seen: list[torch.Tensor] = []
    views = torch.arange(8.0).reshape(4, 2, 1) + torch.zeros(4, 2, 3)  # view, image
    options = {"fresh": views[:1], "lr": 0.1, "batch_size": 1}
    probe_head(views, torch.tensor([0, 1]), Spy(3, 2), [Stop(40)], **options)
    steps = torch.cat([each for each in seen if len(each) == 1])[:, 0].reshape(40, 2)
    assert (steps.sort(dim=1).values % 2 != steps.sort(dim=1).values.flip(1) % 2).all()
    assert set(steps.flatten().tolist()) == set(range(8))


@pytest.mark.parametrize("batch_size", [8, 30])
def test_energy_is_met_at_the_first_step_down_to_it(data, views, batch_size: int):
    probed, fresh = views
    options = {"fresh": fresh, "lr": 0.1, "batch_size": batch_size}
    stops = [Stop(energy=level) for level in LEVELS] + [Stop(tau) for tau in range(60)]
    found = probe_head(probed, data[1], make_head(6, 3), stops, **options)
    for level in LEVELS:
        stopped = found[Stop(energy=level)]
        logits = stopped.head(fresh.flatten(0, 1))
        labels = data[1].repeat(len(fresh))
        assert average_initial_energy(logits, labels) == pytest.approx(level, abs=2e-4)
        assert stopped.epochs == pytest.approx(stopped.steps / math.ceil(30 / batch_size))
        if batch_size == 30:
            before, after = (
                mean_energy(found[Stop(tau)].head, fresh, data[1])
                for tau in (stopped.steps - 1, stopped.steps)
            )
            assert after <= level < before
            ends = [weights(found[Stop(stopped.steps - back)].head) for back in (1, 0)]
            share = (weights(stopped.head) - ends[0]) / (ends[1] - ends[0])
            torch.testing.assert_close(share, share[:1].expand_as(share), rtol=1e-2, atol=1e-2)


def test_what_else_is_asked_for_changes_no_bit(data, views):
    options = {"fresh": views[1], "lr": 0.1, "batch_size": 8}
    stops = [*(Stop(tau) for tau in TAUS), *(Stop(energy=level) for level in LEVELS)]
    together = probe_head(views[0], data[1], make_head(6, 3), stops, **options)
    for stop in stops:
        alone = probe_head(views[0], data[1], make_head(6, 3), [stop], **options)[stop]
        assert torch.equal(weights(alone.head), weights(together[stop].head))
        assert (alone.epochs, alone.steps) == (together[stop].epochs, together[stop].steps)


@pytest.mark.parametrize(("level", "named"), [(1.2, "1.2 is above 0"), (0.01, "0.01 .* from 0")])
def test_energy_out_of_reach_has_a_reason_and_spares_the_others(data, views, level, named):
    start = mean_energy(make_head(6, 3), views[1], data[1])
    stops = [Stop(energy=level), Stop(energy=0.6), Stop(tau=2)]
    found = probe_head(views[0], data[1], make_head(6, 3), stops, fresh=views[1], lr=0.1)
    assert found[stops[0]].reason
    assert f"{start:.4f}" in found[stops[0]].reason
    assert [found[stop].reason for stop in stops[1:]] == [None, None]


def test_rate_is_halved_until_the_energy_no_longer_rises(data):
    views = data[0][None]
    options = {"fresh": views, "batch_size": 8}
    rough = probe_head(views, data[1], make_head(6, 3), [Stop(20)], lr=64.0, **options)[Stop(20)]
    calm = probe_head(views, data[1], make_head(6, 3), [Stop(20)], lr=64.0, halve=True, **options)[
        Stop(20)
    ]
    assert rough.lr == 64
    assert calm.lr < 8
    assert math.log2(64 / calm.lr).is_integer()
    again = probe_head(views, data[1], make_head(6, 3), [Stop(20)], lr=calm.lr, **options)
    assert torch.equal(weights(again[Stop(20)].head), weights(calm.head))


def test_given_head_and_random_state_stay_as_they_are(data):
    head = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.random.get_rng_state()
    start, *_ = probe_at_taus(*data, head, taus=TAUS, lr=0.1)
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, start.state_dict()[name])
    assert head.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_is_off_as_it_is_in_finetuning(data):
    head = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    without = nn.Sequential(head[0], nn.Identity(), head[2])
    (ours,), (theirs,) = (probe_at_taus(*data, each, taus=[3], lr=0.1) for each in (head, without))
    assert torch.equal(weights(ours), weights(theirs))


BAD = [
    ({"eps": 1.0}, "eps.* 1.0"),
    ({"eps": -0.1}, "eps.* -0.1"),
    ({"lr": 0}, "lr.* 0"),
    ({"lr": math.nan}, "lr.* nan"),
    ({"batch_size": 0}, "batch_size.* 0"),
]


@pytest.mark.parametrize(("change", "named"), BAD)
def test_bad_option_is_refused_before_anything_is_trained(data, change: dict, named: str):
    with pytest.raises(ValueError, match=named):
        probe_at_taus(*data, make_head(6, 3), **{"taus": [1], "lr": 0.1} | change)


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        ({}, ValueError, "None and None"),
        ({"tau": 1, "energy": 0.5}, ValueError, "1 and 0.5"),
        ({"energy": 0.0}, ValueError, "energy.* 0.0"),
        ({"energy": 1.5}, ValueError, "energy.* 1.5"),
        ({"energy": math.nan}, ValueError, "energy.* nan"),
        ({"tau": -1}, ValueError, "tau.* -1"),
        ({"tau": 1.5}, TypeError, "tau.* 1.5"),
        ({"tau": True}, TypeError, "tau.* True"),
    ],
)
def test_stop_out_of_range_is_refused(given: dict, error: type, named: str):
    with pytest.raises(error, match=named):
        Stop(**given)


def test_tau_may_come_from_numpy():
    assert Stop(np.int64(3)) == Stop(3)
    assert type(Stop(np.int64(3)).tau) is int
