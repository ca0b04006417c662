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
from taskhead.tasks import Draw

DRAWN = {
    figures.linear_adaptation: ("toy_linear", "toy", 4),
    figures.energy_floor: ("toy_linear", "toy", 1),
    figures.lazy_limit: ("lazy_limit", "toy", 3),
    figures.energy_against_tau: ("energy_sweep", "digits", 3),
    figures.adaptation_against_energy: ("energy_sweep", "digits", 4),
    figures.accuracy_against_energy: ("energy_sweep", "digits", 1),
    figures.accuracy_against_tau: ("energy_sweep", "cifar10-to-cifar100", 1),
    figures.accuracy_in_and_out_of_distribution: ("energy_sweep", "imagenet-to-pacs", 2),
    figures.overview: ("energy_sweep", "digits", 6),
    figures.batchnorm_drift: ("batchnorm_drift", "cifar10-to-cifar100", 3),
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


def test_every_series_has_a_line_and_a_name(load):
    tables = [load("energy_sweep", name) for name in ("digits", "imagenet-to-pacs")]
    *panels, key = figures.settings_side_by_side(pd.concat(tables)).axes
    names = ["digits", "imagenet-to-pacs (photo)", "imagenet-to-pacs (sketch)"]
    assert [text.get_text() for text in key.get_legend().get_texts()] == names
    for axis in panels:
        assert len(axis.lines) == 3
        assert axis.get_xlabel()
        assert axis.get_ylabel()


def test_measures_of_several_settings_are_relative_to_the_pretrained_features(load):
    table = load("energy_sweep", "digits")
    panel = figures.settings_side_by_side(table).axes[2]
    expected = (table["dot"] / table["z0_norm"] ** 2).groupby(table["tau"]).mean()
    np.testing.assert_allclose(sorted(panel.lines[0].get_ydata()), sorted(expected))


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
    draw = Draw(seed=0, image_size=8, train_per_class=10, val_per_class=40)
    figure = figures.sample_images(DIGITS.load_task(draw).train, first_class=5)
    assert all(axis.images for axis in figure.axes)
    assert {axis.get_title() for axis in figure.axes} == set("56789")
