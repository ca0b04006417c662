"""Figures: each draws what stands in its table, labelled, and nothing else."""

import itertools
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskhead.method.batches import LabelledImages
from taskhead.report import figures, linear_figures, panels

MEASURES = ["aie", *figures.MEASURES, "z0_norm", "last_layer_norm", "probe_val_accuracy"]
MEASURES += ["test_accuracy", "ood_accuracy", "aie_clean", "probed_epochs"]
MEASURES += ["relative_euclidean", "z0_squared_norm"]
LAZY = ["euclidean", "dot_change", "squared_norm_change"]


def runs(measures: list[str], **grid: list) -> pd.DataFrame:
    """Return runs on a grid whose measures are random numbers."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(itertools.product(*grid.values()), columns=list(grid))
    values = {name: rng.uniform(0.1, 1, len(table)) for name in measures}
    return table.assign(outcome="done", **values)


def sweep(setting: str = "digits", domains: list | None = None) -> pd.DataFrame:
    grid = {"domain": domains or [None], "seed": [0, 1, 2, 3, 4], "tau": [0, 16, 256]}
    return runs(MEASURES, setting=[setting], **grid).astype({"domain": "string"})


TOY = runs(MEASURES, width=[5, 40], init_scale=[0.3, 1.0], tau=[0, 8, 64], seed=range(5))
LIMIT = runs(
    [each for name in LAZY for each in (name, f"lazy_{name}", f"{name}_error", f"{name}_bound")],
    head_norm=[5, 40],
    energy=[0.25, 1.5],
    seed=[0],
)
PLANE = runs(["z0_x", "z0_y", "zT_x", "zT_y", "aie"], seed=[0], tau=[0, 16, 256], sample=range(20))
PLANE = PLANE.assign(
    label=PLANE["sample"] % 5.0,
    aie=PLANE.groupby("tau")["aie"].transform("first"),
    probed_epochs=PLANE["tau"] / 2,
)
PACS = sweep("pacs", ["photo", "sketch"])
DRIFT = runs(MEASURES, bn_mode=["eval", "train"], tau=[0, 2], seed=range(5))
VIEWS = runs(MEASURES, setting=["a", "b"], views=[1, 10], tau=[0, 2], seed=range(5))
DRAWN = {
    linear_figures.linear_adaptation: (TOY, 4),
    linear_figures.energy_floor: (TOY, 1),
    linear_figures.lazy_limit: (LIMIT, 3),
    linear_figures.bound_of_the_lazy_limit: (LIMIT, 3),
    figures.energy_against_epochs: (sweep(), 3),
    figures.adaptation_against_energy: (sweep(), 4),
    figures.accuracy_against_energy: (sweep(), 1),
    figures.accuracy_in_and_out_of_distribution: (PACS, 2),
    figures.overview: (sweep(), 6),
    figures.batchnorm_drift: (DRIFT, 3),
    figures.energy_against_views: (VIEWS, 2),
    figures.feature_geometry: (PLANE, 4),
}


def drawn(figure: Figure) -> list[Axes]:
    """Return the panels of a figure, without those that are left empty or hold its legend."""
    return [axis for axis in figure.axes if axis.axison]


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_every_panel_is_labelled_and_drawn(draw):
    table, panels = DRAWN[draw]
    before = table.copy()
    figure = draw(table)
    assert isinstance(figure, Figure)
    assert len(drawn(figure)) == panels
    for axis in drawn(figure):
        assert axis.get_xlabel()
        assert axis.get_ylabel()
        assert axis.lines
    figure.draw_without_rendering()
    assert not plt.get_fignums()
    pd.testing.assert_frame_equal(table, before)


def test_curve_is_the_mean_over_seeds():
    means = sweep().groupby("tau")[["aie", "euclidean"]].mean().sort_values("aie")
    (line,) = figures.adaptation_against_energy(sweep()).axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), means)


@pytest.mark.parametrize("outcome", ["diverged", "collapsed", "failed"])
def test_stops_at_which_a_run_is_not_done_are_not_drawn(outcome: str):
    table = sweep()
    table.loc[[2, 5], "outcome"] = outcome  # tau 256 of two seeds
    (line,) = figures.adaptation_against_energy(table).axes[0].lines
    kept = table[table["tau"] != 256].groupby("tau")[["aie", "euclidean"]].mean()
    np.testing.assert_allclose(line.get_xydata(), kept.sort_values("aie"))
    (axis,) = figures.accuracy_against_energy(table.assign(outcome=outcome)).axes
    assert np.isnan(np.concatenate([line.get_xydata() for line in axis.lines])).all()


def test_geometry_has_nothing_to_draw_if_no_run_is_done():
    with pytest.raises(ValueError, match="no run is done"):
        figures.feature_geometry(PLANE.assign(outcome="collapsed"))


@pytest.mark.parametrize("table", [sweep(), sweep().drop(columns="ood_accuracy")])
def test_accuracy_of_other_domains_is_drawn_if_there_are_any(table: pd.DataFrame):
    drawn = figures.accuracy_in_and_out_of_distribution(table)
    assert len(drawn.axes) == 1 + ("ood_accuracy" in table)
    missing = table.assign(ood_accuracy=float("nan"))
    assert len(figures.accuracy_in_and_out_of_distribution(missing).axes) == 1


def test_both_ends_of_the_grid_are_marked():
    (axis,) = figures.accuracy_against_energy(sweep()).axes
    ends = sweep().groupby("tau")[["aie", "test_accuracy"]].mean().loc[[0, 256]]
    marked = np.concatenate([line.get_xydata() for line in axis.lines[1:]])
    np.testing.assert_allclose(marked, ends)
    named = [text.get_text() for text in axis.get_legend().get_texts()]
    assert named == ["no probing", "tau = 256"]


def test_an_end_at_which_a_seed_is_not_done_is_not_marked():
    table = sweep()
    table.loc[(table["tau"] == 0) & (table["seed"] == 1), "outcome"] = "collapsed"
    (axis,) = figures.accuracy_against_energy(table).axes
    named = [text.get_text() for text in axis.get_legend().get_texts()]
    assert named == ["tau = 256"]


def test_every_series_has_a_line_and_a_name():
    *panels, key = figures.settings_side_by_side(pd.concat([sweep(), PACS])).axes
    names = ["digits", "PACS (photo)", "PACS (sketch)"]
    assert [text.get_text() for text in key.get_legend().get_texts()] == names
    for axis in panels:
        assert len(axis.lines) == 3
        assert axis.get_xlabel()
        assert axis.get_ylabel()


def test_measures_of_several_settings_are_relative_to_the_pretrained_features():
    table = sweep()
    axes, z0 = figures.settings_side_by_side(table).axes, table["z0_norm"]
    relative = {"relative_euclidean": 1, "dot": table["z0_squared_norm"], "norm": z0}
    for place, (name, unit) in zip((0, 2, 3), relative.items(), strict=True):
        expected = (table[name] / unit).groupby(table["tau"]).mean()
        np.testing.assert_allclose(sorted(axes[place].lines[0].get_ydata()), sorted(expected))


def test_lazy_limit_is_drawn_over_the_flow_with_its_peaks():
    _, dot, norm = drawn(linear_figures.lazy_limit(LIMIT))
    for axis, peak in ((dot, 0.5), (norm, 1.0)):
        assert list(axis.lines[-1].get_xdata()) == [peak, peak]
        assert len(axis.lines) == LIMIT["head_norm"].nunique() + 2


def test_errors_of_the_lazy_limit_are_drawn_below_their_bounds_where_there_are_any():
    table = LIMIT.assign(dot_change_bound=np.where(LIMIT["head_norm"] == 5, np.inf, 2.0))
    _, dot, _ = drawn(linear_figures.bound_of_the_lazy_limit(table))
    error, bound, guide = dot.lines
    most = LIMIT.groupby("head_norm")["dot_change_error"].max()
    np.testing.assert_allclose(error.get_ydata(), most)
    np.testing.assert_array_equal(bound.get_ydata(), [np.nan, 2])
    assert [(text.get_text(), text.get_position()[0]) for text in dot.texts] == [("no bound", 5)]
    (x1, y1), (x2, y2) = guide.get_xy1(), guide.get_xy2()
    assert np.log(y2 / y1) / np.log(x2 / x1) == pytest.approx(-2)


def test_geometry_has_a_panel_for_the_start_and_each_tau_with_the_least_energy_first():
    figure = figures.feature_geometry(PLANE, first_class=5)
    first, *panels = figure.axes
    points = [len(line.get_xdata()) for line in first.lines]
    assert sum(points) == PLANE["sample"].nunique()
    runs = PLANE.groupby("aie")["probed_epochs"].first().items()
    for axis, (energy, epochs) in zip(panels, runs, strict=True):
        said = f"energy {energy:.2g}\n{epochs:g} epochs probed"
        assert axis.get_title().endswith(said)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list("56789")


def test_geometry_boxes_the_range_of_the_features_before_in_every_panel():
    z0 = PLANE[PLANE["tau"] == 0][["z0_x", "z0_y"]]
    for axis in figures.feature_geometry(PLANE[PLANE["tau"] == 0]).axes:
        (box,) = axis.patches
        np.testing.assert_allclose(box.get_bbox(), [z0.min(), z0.max()])


def test_single_seed_has_no_band_and_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.accuracy_against_energy(sweep()[lambda table: table["seed"] == 0])
        figure.draw_without_rendering()


def test_sample_images_show_every_class():
    data = LabelledImages(torch.rand(50, 1, 8, 8), torch.arange(50) // 10)
    figure = figures.sample_images(data, first_class=5)
    assert all(axis.images for axis in figure.axes)
    assert {axis.get_title() for axis in figure.axes} == set("56789")


def test_clean_axis_shows_before_beside_now_and_both_energies_of_the_control():
    before, control = sweep().drop(columns="aie_clean"), sweep()
    now = sweep().assign(aie=before["aie"] / 2, euclidean=3 * before["euclidean"])
    *sides, energies = drawn(figures.on_clean_images(before, now, control))
    means = control.groupby("tau")[["aie_clean", "aie"]].mean().sort_values("aie_clean")
    np.testing.assert_allclose(energies.lines[0].get_xydata(), means)
    for axis, table in zip(sides, (before, now, before, now), strict=True):
        assert ("as they are" in axis.get_xlabel()) == (table is before)
        energy = table.groupby("tau")["aie"].mean().sort_values()
        np.testing.assert_allclose(axis.lines[0].get_xdata(), energy)
    for old, new in (sides[:2], sides[2:]):
        assert (old.get_xlim(), old.get_ylim()) == (new.get_xlim(), new.get_ylim())
        assert new.get_ylim()[1] > new.lines[0].get_ydata().max()


def test_series_look_different_when_there_are_more_of_them_than_colours():
    names = [
        f"{source}-to-{target}" for source in ("cifar10", "imagenet", "minilm") for target in "abcd"
    ]
    few, many = panels.distinct(names[:8]), panels.distinct(names)
    assert len({look["color"] for look in few}) == 8
    assert len({tuple(look.values()) for look in many}) == 12
    parts = panels.distinct([f"digits, eps = {k}" for k in range(12)])
    assert len({tuple(look.values()) for look in parts}) == 12
    assert [many[k]["color"] == many[0]["color"] for k in (1, 3, 4)] == [True, True, False]
