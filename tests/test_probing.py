"""Head probing: one trajectory whose heads equal those of runs stopped there, bit for bit."""

import math

import numpy as np
import pytest
import torch
from problems import probe_head, weights
from torch import nn
from torch.nn.functional import cross_entropy

from taskhead.method.heads import make_head
from taskhead.method.probing import probe_heads

TAUS = [0, 1, 3, 7]
EPS = [0.0, 0.2, 0.2]


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(30) % 3
    return torch.randn(30, 6, generator=generator) + torch.eye(3, 6)[targets], targets


@pytest.mark.parametrize("hidden", [(), (8,)])
@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_head_equals_that_of_a_run_stopped_there(data, hidden: tuple, eps: float):
    options = {"lr": 0.1, "eps": eps, "batch_size": 8, "weight_decay": 0.01, "seed": 5}
    heads = probe_head(*data, make_head(6, 3, hidden=hidden), taus=TAUS, **options)
    for tau, head in zip(TAUS, heads, strict=True):
        (stopped,) = probe_head(*data, make_head(6, 3, hidden=hidden), taus=[tau], **options)
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
    (head,) = probe_head(*data, ours, taus=[3], **options)
    torch.testing.assert_close(weights(head), weights(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (8, 8)])
def test_heads_side_by_side_come_out_as_alone(data, hidden: tuple):
    heads = [make_head(6, 3, hidden=hidden, seed=seed) for seed in range(3)]
    options = {"taus": TAUS, "lr": 0.1, "batch_size": 8, "weight_decay": 0.01, "seed": 5}
    together = [standing for _, standing in probe_heads(*data, heads, eps=EPS, **options)]
    for position, (head, eps) in enumerate(zip(heads, EPS, strict=True)):
        alone = probe_head(*data, head, eps=eps, **options)
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(
                weights(ours[position]), weights(theirs), rtol=1e-5, atol=1e-6
            )


def test_heads_side_by_side_equal_those_of_a_run_stopped_there(data):
    heads = [make_head(6, 3, seed=seed) for seed in range(3)]
    options = {"lr": 0.1, "batch_size": 8, "eps": EPS}
    for tau, standing in probe_heads(*data, heads, taus=TAUS, **options):
        ((_, stopped),) = probe_heads(*data, heads, taus=[tau], **options)
        for ours, theirs in zip(standing, stopped, strict=True):
            assert torch.equal(weights(ours), weights(theirs))


def test_head_that_diverges_spares_the_others(data):
    calm, wild = make_head(6, 3), make_head(6, 3, seed=1)
    with torch.no_grad():
        wild[0].weight.fill_(math.inf)
    *_, (_, (kept, lost)) = probe_heads(*data, [calm, wild], taus=TAUS, lr=0.1, eps=[0, 0])
    *_, alone = probe_head(*data, calm, taus=TAUS, lr=0.1)
    torch.testing.assert_close(weights(kept), weights(alone), rtol=1e-5, atol=1e-6)
    assert not lost(data[0]).isfinite().all()


def test_given_head_and_random_state_stay_as_they_are(data):
    head = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.random.get_rng_state()
    start, *_ = probe_head(*data, head, taus=TAUS, lr=0.1)
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, start.state_dict()[name])
    assert head.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_is_seeded_and_off_in_what_comes_out(data):
    head = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    first, again, other = (
        probe_head(*data, head, taus=[3], lr=0.1, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(first(data[0]), first(data[0]))
    with_more_taus = probe_head(*data, head, taus=[1, 2, 3], lr=0.1, seed=1)
    assert torch.equal(weights(with_more_taus[-1]), weights(first))


def test_last_batch_of_one_reaches_batchnorm_with_others(data):
    head = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    (probed,) = probe_head(data[0][:9], data[1][:9], head, taus=[2], lr=0.1, batch_size=8)
    assert int(probed[0].num_batches_tracked) == 2


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8, "numpy"])
def test_labels_of_any_integer_type_are_taken(data, kind):
    features, targets = data
    given = targets.numpy() if kind == "numpy" else targets.to(kind)
    (ours,), (theirs,) = (
        probe_head(features, labels, make_head(6, 3), taus=[2], lr=0.1)
        for labels in (given, targets)
    )
    assert torch.equal(weights(ours), weights(theirs))


@pytest.mark.parametrize(
    "cast",
    [torch.Tensor.double, torch.Tensor.numpy, lambda f: f[:, :, None, None]],
    ids=["float64", "numpy", "not flattened"],
)
def test_features_of_any_floating_type_are_taken(data, cast):
    features, targets = data
    (ours,), (theirs,) = (
        probe_head(given, targets, make_head(6, 3), taus=[2], lr=0.1)
        for given in (cast(features), features)
    )
    assert torch.equal(weights(ours), weights(theirs))


def test_half_precision_and_bool_labels_are_taken(data):
    features, targets = data
    (head,) = probe_head(features.half(), targets == 0, make_head(6, 2), taus=[1], lr=0.1)
    assert weights(head).isfinite().all()


@pytest.mark.parametrize("taus", [np.array([0, 2]), [np.int64(0), np.int32(2)], (0, 2)])
def test_taus_may_come_from_numpy(data, taus):
    assert len(probe_head(*data, make_head(6, 3), taus=taus, lr=0.1)) == 2


BAD = [
    ({"taus": []}, ValueError, "taus"),
    ({"taus": [0, 2, 2]}, ValueError, r"\[0, 2, 2\]"),
    ({"taus": [4, 1]}, ValueError, r"\[4, 1\]"),
    ({"taus": [-1, 0]}, ValueError, "-1"),
    ({"taus": [0, 1.5]}, TypeError, "tau"),
    ({"taus": [True]}, TypeError, "True"),
    ({"eps": 1.0}, ValueError, "eps.* 1.0"),
    ({"eps": -0.1}, ValueError, "eps.* -0.1"),
    ({"lr": 0}, ValueError, "lr.* 0"),
    ({"lr": math.nan}, ValueError, "lr.* nan"),
    ({"batch_size": 0}, ValueError, "batch_size.* 0"),
    ({"features": torch.zeros(29, 6)}, ValueError, "29 .* 30"),
    ({"features": torch.full((30, 6), math.nan)}, ValueError, "30 of 30"),
    ({"features": torch.zeros(30, 6, 2)}, ValueError, r"\(30, 6, 2\)"),
    ({"features": torch.zeros(30, 6).long()}, TypeError, "int64"),
    ({"features": [[0.0] * 6] * 30}, TypeError, "list"),
    ({"targets": torch.full((30,), 3)}, ValueError, "from 3 to 3"),
    ({"targets": torch.zeros(30, dtype=torch.int64)}, ValueError, "30 labels are 0"),
    ({"features": torch.zeros(0, 6), "targets": torch.zeros(0).long()}, ValueError, "empty"),
    ({"targets": torch.zeros(30)}, TypeError, "float32"),
]


@pytest.mark.parametrize(("change", "error", "named"), BAD)
def test_bad_input_is_refused_before_anything_is_trained(data, change, error, named):
    given = {"features": data[0], "targets": data[1], "taus": [0, 1], "lr": 0.1} | change
    with pytest.raises(error, match=named) as caught:
        probe_head(head=make_head(6, 3), **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("heads", "named"),
    [
        ([], "0 heads"),
        ([make_head(6, 3)], "1 heads and 2 eps"),
        ([make_head(6, 3), make_head(6, 4)], r"\(\(6, 3\),\)"),
        ([make_head(6, 3), make_head(6, 3, hidden=(8,))], r"\(\(6, 3\),\)"),
        ([nn.Linear(6, 3)] * 2, "None"),
    ],
)
def test_heads_that_are_not_alike_are_refused(data, heads: list, named: str):
    with pytest.raises(ValueError, match=named):
        list(probe_heads(*data, heads, taus=TAUS, lr=0.1, eps=[0, 0]))
