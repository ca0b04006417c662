"""What tables of the dynamics show: known slopes, factors and ends are found, and told as found."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from taskhead.report import dynamics
from taskhead.report.dynamics_figures import prediction_error, through_finetuning

STOPS = {(math.nan, 0.2): 0.2, (math.nan, 0.6): 0.6, (0, math.nan): 0.9}  # (tau, energy): AIE
GAIN = {0.2: 6.0, 0.6: 5.0, 0.9: 1.0}


def grid(**others: list) -> pd.DataFrame:
    rows = [
        {"setting": "digits", "tau": tau, "energy": energy, "aie": aie, "outcome": "done"}
        | dict(zip(others, values, strict=True))
        for (tau, energy), aie in STOPS.items()
        for values in itertools.product(*others.values())
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def steps() -> pd.DataFrame:
    """Return steps whose error is 7 lr^2 up to 0.01 and steeper beyond."""
    table = grid(seed=[0, 1, 2], ft_lr=[1e-4, 1e-3, 1e-2, 1e-1])
    noise = np.random.default_rng(0).normal(0, 0.01, 3)[table["seed"]]
    lr, gain = table["ft_lr"], table["aie"].map(GAIN)
    table = table.assign(step_energy=table["aie"], step_gain=gain * np.exp(noise))
    table = table.assign(step_coherence=0.5, step_kernel=2.0)
    factors = [f"step_{name}" for name in dynamics.FACTORS]
    table["step_predicted"] = table["step_true"] = lr * table[factors].prod(axis=1)
    return table.assign(step_missed=7 * lr**2 * np.where(lr > 0.05, 10, 1) / 20)


@pytest.fixture
def followed() -> pd.DataFrame:
    table = grid(seed=[0, 1], epoch=[0.0, 1.0, 2.0, 4.0])
    left = table["aie"] * 0.6 ** table["epoch"]
    return table.assign(
        energy_left=left,
        kernel_change=table["aie"] * table["epoch"] / 2,
        kernel_cosine=1 - table["epoch"] / 10,
        head_cosine=0.9,
        step_missed=0.1 * left,
        step_true=left,
        relative_euclidean=table["aie"] - left,
    )


def test_slope_of_a_square_is_two_and_where_it_is_steeper_that_is_told(steps: pd.DataFrame):
    found = dynamics.slopes(steps)
    assert found["slope"].tolist() == pytest.approx([2, 2, 3])
    assert found["share at 2"].tolist() == [1, 1, 0]
    assert found["least"].tolist() == pytest.approx([2, 2, 3])
    jump = (steps["ft_lr"] == 1e-4) & (steps["seed"] == 0) & (steps["tau"] == 0)
    told = dynamics.slopes(steps.assign(step_missed=steps["step_missed"] / np.where(jump, 10, 1)))
    assert told[["least", "largest"]].iloc[0].tolist() == pytest.approx([2, 3])
    assert found.index[0] == ("digits", "0.0001 to 0.001")


def test_factors_multiply_to_the_length_and_stand_by_energy(steps: pd.DataFrame):
    found = dynamics.factors(steps)
    assert found["energy"].tolist() == pytest.approx([0.2, 0.6, 0.9])
    product = found[list(dynamics.FACTORS)].prod(axis=1)
    assert product.tolist() == pytest.approx(found["length"].tolist())


def test_ratios_against_the_longest_step_multiply_and_are_told_by_side(steps: pd.DataFrame):
    stop, ratios = dynamics.against_no_probing(steps)["digits"]
    assert stop == "energy 0.6"
    assert ratios["energy"].mean == pytest.approx(1.5)
    assert ratios["gain"].mean == pytest.approx(0.2)
    product = math.prod(ratios[name].mean for name in dynamics.FACTORS)
    assert product == pytest.approx(ratios["length"].mean)
    assert ratios["gain"].low <= ratios["gain"].mean <= ratios["gain"].high
    told = dynamics.first_step_without_probing(steps).loc["digits", "no probing ÷ energy 0.6"]
    assert told["ratio"].to_dict() == {
        "energy": 1.5,
        "gain": 0.2,
        "coherence": 1,
        "kernel": 1,
        "length": 0.3,
    }
    assert told.loc["length", "95 percent interval"] == "0.30 to 0.30"
    sides = ["larger", "smaller", *["no clear difference"] * 2, "smaller"]
    assert told["no probing is"].tolist() == sides


def test_single_seed_has_ratios_without_an_interval(steps: pd.DataFrame):
    told = dynamics.first_step_without_probing(steps[steps["seed"] == 0])
    assert told["ratio"].tolist()[-1] == 0.3
    assert set(told["95 percent interval"]) == {""}
    assert set(told["no probing is"]) == {"no clear difference"}


def test_largest_rate_within_a_tenth_is_named_with_what_is_missed_beyond(steps: pd.DataFrame):
    share = steps["step_missed"] / steps["step_true"]
    worst = share.groupby(steps["ft_lr"]).max()
    assert (worst < 0.1).tolist() == [True, True, True, False]
    said = dynamics.said_of_the_error(steps)
    assert "up to the rate 0.01." in said
    assert f"At 0.1, up to {100 * worst[0.1]:.0f} percent of the step is missed" in said
    assert "begins at the rate 0.005" in said
    assert "at no rate" in dynamics.said_of_the_error(steps.assign(step_missed=1.0))


def test_ends_of_runs_say_when_energy_is_spent_and_the_kernel_is_lost(followed: pd.DataFrame):
    found = dynamics.through_epochs(followed).loc["digits"]
    assert found["energy"].tolist() == [0.2, 0.6, 0.9]
    assert found["half spent"].tolist() == [2] * 3
    assert found["kernel kept"].tolist() == [4, 1, 1]
    assert found["energy left"].tolist() == pytest.approx([0.2 * 0.6**4, 0.6**5, 0.9 * 0.6**4])
    assert found["step error, first"].tolist() == pytest.approx([0.1] * 3)


def test_distance_is_compared_with_the_furthest_probed_head(followed: pd.DataFrame):
    sweep = followed[followed["epoch"] == 4].assign(domain=None)
    told = dynamics.distance_without_probing(sweep)
    assert told.loc["digits"].tolist() == ["energy 0.6", 1.5, "1.50 to 1.50"]
    assert dynamics.distance_without_probing(sweep[sweep["tau"].isna()]).empty


def test_prediction_error_is_drawn_by_setting_beside_a_line_of_slope_two(steps: pd.DataFrame):
    other = steps.assign(setting="imagenet-to-cifar10").replace({"energy": {0.6: 0.7}})
    figure = prediction_error(pd.concat([steps, other]))
    assert len(figure.axes) == 4
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["no probing", "energy 0.6 / energy 0.7", "energy 0.2", "slope 2"]
    few = other[other["tau"] == 0]  # a single stop has the middle colour
    (legend,) = prediction_error(pd.concat([steps, few])).legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["no probing", "energy 0.6 / no probing", "energy 0.2", "slope 2"]
    error = figure.axes[0]
    *drawn, guide = error.lines
    lines = [line for line in drawn if not str(line.get_label()).startswith("_")]
    assert [line.get_label() for line in lines] == ["no probing", "energy 0.6", "energy 0.2"]
    (x1, y1), (x2, y2) = guide.get_xy1(), guide.get_xy2()
    assert (y2 - y1) / np.log10(x2 / x1) == pytest.approx(2)
    np.testing.assert_allclose(lines[0].get_xdata(), [1e-4, 1e-3, 1e-2, 1e-1])
    np.testing.assert_allclose(np.diff(lines[0].get_ydata()), [2, 2, 3])
    figure.draw_without_rendering()


def test_finetuning_is_drawn_epoch_by_epoch(followed: pd.DataFrame):
    figure = through_finetuning(followed)
    assert len(figure.axes) == 6
    means = followed[followed["tau"] == 0].groupby("epoch")["energy_left"].mean()
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata()[:, 1], means)
    assert len({axis.get_title() for axis in figure.axes}) == 6
    assert {axis.get_xlabel() for axis in figure.axes} == {"epoch of finetuning\ndigits"}
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["0", "4", "1"]  # of 0, 1, 2 and 4
    figure.draw_without_rendering()
