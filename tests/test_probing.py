"""Head probing: one trajectory whose snapshots equal runs stopped there, bit for bit."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from taskhead.energy import average_initial_energy
from taskhead.heads import head_norm, make_head
from taskhead.probing import probe_head, probe_heads

TAUS = [0, 1, 3, 7]


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(30) % 3
    return torch.randn(30, 6, generator=generator) + torch.eye(3, 6)[targets], targets


def weights(head: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(head.parameters()).detach().clone()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_snapshot_equals_a_run_stopped_there(data, depth: int, eps: float):
    head = make_head(6, 3, depth=depth, width=8)
    options = {"lr": 0.1, "eps": eps, "batch_size": 8, "weight_decay": 0.01, "seed": 5}
    snapshots = probe_head(*data, head, taus=TAUS, **options)
    for tau, snapshot in zip(TAUS, snapshots, strict=True):
        (stopped,) = probe_head(*data, head, taus=[tau], **options)
        assert stopped.tau == snapshot.tau == tau
        assert torch.equal(weights(stopped.head), weights(snapshot.head))
        assert (stopped.aie, stopped.train_loss) == (snapshot.aie, snapshot.train_loss)
    assert len({snapshot.aie for snapshot in snapshots}) == len(TAUS)


@pytest.mark.parametrize(("momentum", "eps"), [(0.9, 0.1), (0.0, 0.0)])
def test_trajectory_equals_a_plain_loop(data, momentum: float, eps: float):
    features, targets = data
    ours = make_head(6, 3, depth=2, width=8, seed=1)
    theirs = make_head(6, 3, depth=2, width=8, seed=1)
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
    (snapshot,) = probe_head(*data, ours, taus=[3], **options)
    torch.testing.assert_close(weights(snapshot.head), weights(theirs), rtol=1e-5, atol=1e-6)


EPS, SEEDS = [0.0, 0.2, 0.2], [5, 5, 6]


@pytest.mark.parametrize("depth", [1, 3])
def test_heads_side_by_side_come_out_as_alone(data, depth: int):
    heads = [make_head(6, 3, depth=depth, width=8, seed=seed) for seed in range(3)]
    options = {"taus": TAUS, "lr": 0.1, "batch_size": 8, "weight_decay": 0.01, "val": data}
    together = probe_heads(*data, heads, eps=EPS, seeds=SEEDS, **options)
    for head, eps, seed, snapshots in zip(heads, EPS, SEEDS, together, strict=True):
        alone = probe_head(*data, head, eps=eps, seed=seed, **options)
        for ours, theirs in zip(snapshots, alone, strict=True):
            assert ours.tau == theirs.tau
            torch.testing.assert_close(
                weights(ours.head), weights(theirs.head), rtol=1e-5, atol=1e-6
            )
            assert ours.aie == pytest.approx(theirs.aie, rel=1e-5)
            assert ours.val_accuracy == theirs.val_accuracy


def test_snapshot_of_heads_side_by_side_equals_a_run_stopped_there(data):
    heads = [make_head(6, 3, seed=seed) for seed in range(3)]
    options = {"lr": 0.1, "batch_size": 8, "eps": EPS, "seeds": SEEDS}
    whole = probe_heads(*data, heads, taus=TAUS, **options)
    for position, tau in enumerate(TAUS):
        stopped = probe_heads(*data, heads, taus=[tau], **options)
        for (there,), snapshots in zip(stopped, whole, strict=True):
            assert torch.equal(weights(there.head), weights(snapshots[position].head))


def test_head_that_diverges_spares_the_others(data):
    calm, wild = make_head(6, 3), make_head(6, 3, seed=1)
    with torch.no_grad():
        wild[0].weight.mul_(1e38)
    kept, lost = probe_heads(*data, [calm, wild], taus=TAUS, lr=0.1, eps=[0, 0], seeds=[0, 0])
    assert [snapshot.tau for snapshot in kept] == TAUS
    assert len(lost) < len(TAUS)
    assert kept[-1].aie == pytest.approx(probe_head(*data, calm, taus=TAUS, lr=0.1)[-1].aie)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([], "give one eps and one seed for each head, got 0 heads"),
        ([make_head(6, 3)], "got 1 heads, 2 eps and 2 seeds"),
        ([make_head(6, 3), make_head(6, 4)], r"must be alike.*\(\(6, 3\),\)"),
        ([make_head(6, 3), make_head(6, 3, depth=2)], "must be alike"),
        ([torch.nn.Linear(6, 3)] * 2, "as make_head returns them; got None"),
    ],
)
def test_heads_that_are_not_alike_are_refused(data, heads: list, message: str):
    with pytest.raises(ValueError, match=message):
        probe_heads(*data, heads, taus=TAUS, lr=0.1, eps=[0, 0], seeds=[0, 0])


def test_measures_are_those_of_the_snapshot(data):
    features, targets = data
    val = features[:10] + 0.1, targets[:10]
    for snapshot in probe_head(*data, make_head(6, 3), taus=TAUS, lr=0.1, val=val):
        with torch.no_grad():
            logits, val_logits = snapshot.head(features), snapshot.head(val[0])
        assert snapshot.aie == average_initial_energy(logits, targets)
        assert snapshot.train_loss == float(cross_entropy(logits, targets))
        assert snapshot.train_accuracy == float((logits.argmax(1) == targets).double().mean())
        assert snapshot.val_accuracy == float((val_logits.argmax(1) == val[1]).double().mean())
        assert snapshot.head_norm == head_norm(snapshot.head)


def test_validation_measures_do_not_touch_the_trajectory(data):
    head = make_head(6, 3)
    (with_val,) = probe_head(*data, head, taus=[3], lr=0.1, val=data)
    (without,) = probe_head(*data, head, taus=[3], lr=0.1)
    assert torch.equal(weights(with_val.head), weights(without.head))
    assert without.val_accuracy is None


def test_given_head_and_random_state_stay_as_they_are(data):
    head = make_head(6, 3)
    before, state = weights(head), torch.random.get_rng_state()
    start, *_ = probe_head(*data, head, taus=TAUS, lr=0.1)
    assert torch.equal(weights(head), before)
    assert torch.equal(weights(start.head), before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_energy_falls_on_separable_features():
    targets = torch.arange(12) % 3
    energies = [
        s.aie
        for s in probe_head(
            torch.eye(3)[targets], targets, make_head(3, 3), taus=[0, 10, 100, 1000], lr=0.1
        )
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < 0.05


def test_divergence_is_an_error_that_names_tau(data):
    with pytest.raises(FloatingPointError, match="diverged before tau = 5; lower lr"):
        probe_head(*data, make_head(6, 3), taus=[0, 5], lr=1e38)


def test_infinite_loss_of_finite_logits_is_divergence_too(data):
    head = make_head(6, 3, init_scale=0)
    with torch.no_grad():
        head[0].bias.copy_(torch.tensor([3e38, -3e38, -3e38]))
    with pytest.raises(FloatingPointError, match="before tau = 0"):
        probe_head(*data, head, taus=[0], lr=0.1)


BAD = [
    ({"taus": []}, ValueError, "taus is empty"),
    ({"taus": [0, 2, 2]}, ValueError, r"strictly increasing, got \[0, 2, 2\]"),
    ({"taus": [4, 1]}, ValueError, r"strictly increasing, got \[4, 1\]"),
    ({"taus": [-1, 0]}, ValueError, "tau must be at least 0, got -1"),
    ({"taus": [0, 1.5]}, TypeError, "integer number of epochs, got 1.5"),
    ({"taus": [True]}, TypeError, "got True"),
    ({"eps": 1.0}, ValueError, r"eps must be in \[0, 1\), got 1.0"),
    ({"eps": -0.1}, ValueError, r"eps must be in \[0, 1\), got -0.1"),
    ({"lr": 0}, ValueError, "lr must be positive and finite, got 0"),
    ({"lr": math.nan}, ValueError, "lr must be positive and finite, got nan"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"features": torch.zeros(29, 6)}, ValueError, "29 inputs but 30 labels"),
    ({"features": torch.full((30, 6), math.nan)}, ValueError, "30 of 30 inputs hold NaN"),
    ({"targets": torch.full((30,), 3)}, ValueError, r"0 \.\. 2 for 3 classes.*from 3 to 3"),
    ({"targets": torch.zeros(30, dtype=torch.int64)}, ValueError, "at least two classes"),
    ({"features": torch.zeros(0, 6), "targets": torch.zeros(0).long()}, ValueError, "empty"),
    ({"targets": torch.zeros(30)}, TypeError, "vector of integers"),
    ({"val": (torch.zeros(2, 6), torch.tensor([0, 3]))}, ValueError, "from 0 to 3"),
    ({"val": (torch.full((2, 6), math.nan), torch.tensor([0, 1]))}, ValueError, "hold NaN"),
    ({"val": (torch.zeros(3, 6), torch.tensor([0, 1]))}, ValueError, "3 inputs but 2 labels"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_refused_before_anything_is_trained(data, change, error, message):
    given = {"features": data[0], "targets": data[1], "taus": [0, 1], "lr": 0.1} | change
    with pytest.raises(error, match=message):
        probe_head(head=make_head(6, 3), **given)
