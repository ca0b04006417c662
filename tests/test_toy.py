"""Runs of the linear model: heads of the norm and energy asked for, and their lazy limit."""

import pytest
import torch

from taskhead.experiments.inputs import Inputs, Unit
from taskhead.experiments.settings import load_setting
from taskhead.experiments.toy import LazyRun, LinearRun, compute_lazy, compute_linear

INPUTS = Inputs(load_setting("toy"), torch.device("cpu"))
KEY = {"setting": "toy", "preset": "smoke"}


@pytest.mark.parametrize("head_norm", [5.0, 20.0])
def test_limit_is_that_of_heads_of_the_norm_and_energy_asked_for(head_norm: float):
    runs = [
        LazyRun(**KEY, head_norm=head_norm, energy=e, seed=s) for e in (0.3, 1.5) for s in (0, 1)
    ]
    for run, (row,) in compute_lazy(INPUTS, Unit(tuple(runs))):
        energy = run.energy
        assert row["lazy_euclidean"] == pytest.approx(energy)
        assert row["lazy_dot_change"] == pytest.approx((1 - energy) * energy)
        assert row["lazy_squared_norm_change"] == pytest.approx(2 * energy - energy**2)


def test_flow_from_a_large_head_is_near_its_limit():
    run = LazyRun(**KEY, head_norm=200.0, energy=0.7, seed=0)
    ((_, (row,)),) = compute_lazy(INPUTS, Unit((run,)))
    for name in ("euclidean", "dot_change", "squared_norm_change"):
        assert row[name] == pytest.approx(row[f"lazy_{name}"], rel=1e-2)


def test_wall_time_is_shared_and_probing_spends_energy():
    runs = [LinearRun(**KEY, width=40, init_scale=1.0, tau=tau, seed=0) for tau in (0, 64)]
    (_, (first,)), (_, (last,)) = compute_linear(INPUTS, Unit(tuple(runs)))
    assert first["wall_s"] == last["wall_s"] > 0
    assert first["aie"] > last["aie"]
    assert first["final_residual"] < 1e-6
