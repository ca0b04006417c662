"""Bounds on the distance: they hold, are joined by keys, and the order is that of known ranks."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from taskhead.experiments.plan import make_plan
from taskhead.experiments.run import ProbingRun, Run
from taskhead.experiments.table import as_dataframe
from taskhead.report import bounds
from taskhead.report.dynamics_figures import distance_against_bounds

ENERGIES = [0.2, 0.5, 0.8]


@pytest.fixture
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a sweep whose distance is 3 AIE, and a gradient that falls with the energy."""
    options = {"setting": "digits", "preset": "smoke", "options": {"energy": ENERGIES}}
    plans = [make_plan(name, **options) for name in ("energy_sweep", "initial_gradients")]
    row = {"outcome": "done", "reason": None}
    sweep, gradients = (
        as_dataframe({run: [row | measures(run)] for run in plan.runs}, kind)
        for plan, kind, measures in zip(
            plans,
            (Run, ProbingRun),
            (
                lambda run: (
                    {"aie": run.energy, "euclidean": 3 * run.energy}
                    | {"last_layer_norm": 1 / run.energy}
                ),
                lambda run: {"aie": run.energy, bounds.GRADIENT: 1 - run.energy + run.seed},
            ),
            strict=True,
        )
    )
    return sweep, gradients


def test_gradients_join_the_sweep_by_the_keys_of_probing(tables):
    sweep, gradients = tables
    shuffled = gradients.sample(frac=1, random_state=0)
    joined = bounds.with_quantities(sweep, shuffled)
    assert len(joined) == len(sweep) == 6
    expected = 1 - joined["energy"] + joined["seed"]
    assert joined[bounds.GRADIENT].tolist() == pytest.approx(expected.tolist())
    assert joined["norm_times_aie"].tolist() == pytest.approx([1] * 6)
    own = bounds.with_quantities(sweep.assign(**{bounds.GRADIENT: 0.0}), gradients)
    assert own[bounds.GRADIENT].tolist() == joined[bounds.GRADIENT].tolist()
    sweep.loc[0, "outcome"] = "diverged"
    assert len(bounds.with_quantities(sweep, gradients)) == 5


def test_keys_of_probing_are_keys_of_the_sweep():
    assert {each.name for each in fields(ProbingRun)} <= {each.name for each in fields(Run)}


def test_constant_is_the_least_that_bounds_all_runs(tables):
    joined = bounds.with_quantities(*tables)
    c = bounds.constants(joined)
    assert c["aie"] == pytest.approx(3)
    for name in bounds.QUANTITIES:
        slack = c[name] * joined[name] - joined["euclidean"]
        assert slack.min() == pytest.approx(0, abs=1e-12)


def test_order_is_the_rank_correlation_over_the_stops_of_a_seed(tables):
    joined = bounds.with_quantities(*tables)
    found = bounds.bounds(joined).loc["digits"]
    assert found.loc["AIE", "order"] == "1.00 ± 0.00"
    assert found.loc["gradient at the features", "order"] == "-1.00 ± 0.00"
    assert found.loc["gradient at the features", "order of AIE minus this one"] == "2.00 ± 0.00"
    assert found.loc["AIE", "bound ÷ distance (median)"] == "1.0"
    said = bounds.said_of_the_order(
        joined.assign(norm_times_aie=joined["seed"] + joined["aie"] % 0.7)
    )
    assert "**digits:** AIE orders runs best, clearly (rank correlation 1.00)" in said


def test_equal_orders_are_a_tie_and_a_poor_best_is_not_praised(tables):
    joined = bounds.with_quantities(*tables)
    two = bounds.said_of_the_order(joined.assign(norm_times_aie=2 * joined["aie"]))
    assert (
        two == "- **digits:** AIE and head norm times AIE order runs alike (rank correlation 1.00)."
    )
    wrong = joined["aie"].map({0.2: 3.0, 0.5: 1.0, 0.8: 2.0})
    equal = {name: joined["aie"] for name in bounds.QUANTITIES}
    said = bounds.said_of_the_order(joined.assign(euclidean=wrong, **equal))
    assert said.endswith(
        "all three order runs alike; none orders them well (rank correlation -0.50)."
    )


def test_every_run_is_drawn_below_the_bound(tables):
    figure = distance_against_bounds(bounds.with_quantities(*tables))
    *panels, _ = figure.axes  # the last is the colour bar
    assert len(panels) == 2
    for axis in panels:
        x, y = axis.lines[0].get_data()
        for point in axis.collections[0].get_offsets():
            assert point[1] <= np.interp(point[0], x, y) * (1 + 1e-9)
    figure.draw_without_rendering()
