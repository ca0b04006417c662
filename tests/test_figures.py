"""Figures: each draws what stands in its table, labelled, and nothing else."""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from taskhead import figures, records
from taskhead.settings import DIGITS
from taskhead.studies import STUDIES

DRAWN = {
    figures.linear_adaptation: ("toy_linear", "toy", 4),
    figures.energy_floor: ("toy_linear", "toy", 1),
    figures.lazy_limit: ("lazy_limit", "toy", 3),
    figures.energy_against_tau: ("energy_sweep", "digits", 3),
    figures.adaptation_against_energy: ("energy_sweep", "digits", 4),
    figures.accuracy_against_energy: ("energy_sweep", "digits", 1),
    figures.overview: ("energy_sweep", "digits", 6),
    figures.feature_geometry: ("feature_geometry", "digits", 4),
}


@pytest.fixture
def load(smoke_results: Path):
    def table(study: str, setting: str) -> pd.DataFrame:
        path = records.table_path(smoke_results, study, setting)
        return records.load(path, STUDIES[study].columns)

    return table


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_every_panel_is_labelled_and_drawn(load, draw, tmp_path: Path):
    study, setting, panels = DRAWN[draw]
    table = load(study, setting)
    before = table.copy()
    figure = draw(table)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == panels
    for axis in figure.axes:
        assert axis.get_xlabel()
        assert axis.get_ylabel()
        assert axis.lines
    figure.savefig(tmp_path / "figure.png")
    assert not plt.get_fignums()
    pd.testing.assert_frame_equal(table, before)


def test_curve_is_the_mean_over_seeds(load):
    table = load("energy_sweep", "digits")
    means = table.groupby("tau")[["aie", "euclidean"]].mean().sort_values("aie")
    (line,) = figures.adaptation_against_energy(table).axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), means)


def test_lazy_limit_is_drawn_over_the_flow_with_its_peaks(load):
    table = load("lazy_limit", "toy")
    _, dot, norm = figures.lazy_limit(table).axes
    for axis, peak in ((dot, 0.5), (norm, 1.0)):
        assert list(axis.lines[-1].get_xdata()) == [peak, peak]
        assert len(axis.lines) == table["head_norm"].nunique() + 2


def test_geometry_has_a_panel_for_the_start_and_each_tau_with_the_least_energy_first(load):
    table = load("feature_geometry", "digits")
    first, *panels = figures.feature_geometry(table).axes
    points = [len(line.get_xdata()) for line in first.lines]
    assert sum(points) == table["sample"].nunique()
    assert [axis.get_title().split(",")[1] for axis in panels] == [
        rf" $\tau$ = {tau}" for tau in sorted(table["tau"].unique(), reverse=True)
    ]


def test_single_seed_has_no_band_and_gives_no_warning(load):
    table = load("energy_sweep", "digits")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.overview(table[table["seed"] == 0]).canvas.draw()


def test_sample_images_show_every_class():
    figure = figures.sample_images(DIGITS.load_task(0).train, first_class=5)
    assert all(axis.images for axis in figure.axes)
    assert {axis.get_title() for axis in figure.axes} == set("56789")
