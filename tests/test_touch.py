"""Figures to touch: what a page holds is what stands in the table."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from test_figures import PACS, PLANE, TOY, sweep

from taskhead.report import touch_figures
from taskhead.report.panels import means_over_seeds
from taskhead.report.series import relative
from taskhead.report.touch import Touchable

MEASURES = list(touch_figures.MEASURES)
GEOMETRY = PLANE.assign(**dict.fromkeys(MEASURES, 0.5))


def in_page(figure: Touchable) -> dict:
    """Return the specification as a browser reads it."""
    text = re.search(r"<script[^>]*>(.*)</script>", figure._repr_html_(), re.DOTALL)
    assert text
    return json.loads(text[1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def frame(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def choices(spec: dict) -> set[str]:
    """Return every choice of a page's menus and sliders, as keys of what is said."""
    keys = [""]
    for param in spec["params"]:
        options = param["bind"].get("options") or range(len(param["values"]))
        keys = [f"{key}|{option}" for key in keys for option in options]
    return {key[1:] for key in keys}


def test_every_choice_has_a_sentence():
    for figure in (
        touch_figures.evidence(pd.concat([sweep(), PACS])),
        touch_figures.geometry(GEOMETRY),
        touch_figures.linear(TOY),
    ):
        spec = in_page(figure)
        assert set(spec["usermeta"]["says"]) == choices(spec)
        assert all(spec["usermeta"]["says"].values())


def test_evidence_holds_the_runs_that_are_done_and_their_means():
    table = sweep()
    table.loc[2, "outcome"] = "diverged"
    spec = in_page(touch_figures.evidence(table))
    runs = frame(spec["layer"][-1]["data"]["values"])
    expected = relative(table[table["outcome"] == "done"])
    names = ["aie", *MEASURES, "test_accuracy"]
    np.testing.assert_allclose(runs[names], expected[names], rtol=1e-3)
    means = frame(spec["datasets"]["means"])
    for measure, drawn in means.groupby("measure"):
        curve = means_over_seeds(relative(table), "aie", str(measure))
        half = (drawn["high"] - drawn["low"]) / 2
        np.testing.assert_allclose(drawn["mean"], curve["mean"], rtol=1e-3)
        np.testing.assert_allclose(half, curve["half_width"], rtol=1e-2)


def test_a_measure_that_is_missing_breaks_no_page():
    table = sweep()
    table.loc[0, "test_accuracy"] = float("nan")
    in_page(touch_figures.evidence(table))


def test_geometry_moves_the_features_of_the_table_with_the_least_probing_first():
    spec = in_page(touch_figures.geometry(GEOMETRY, first_class=5))
    before, after = spec["vconcat"][0]["layer"]
    points = frame(after["data"]["values"])
    order = GEOMETRY.groupby("tau")["aie"].first().sort_values(ascending=False)
    assert spec["params"][0]["values"] == [f"{tau / 2:g}" for tau in order.index]
    for step, tau in enumerate(order.index):
        rows = GEOMETRY[GEOMETRY["tau"] == tau]
        shown = points[points["step"] == step]
        np.testing.assert_allclose(shown[["x", "y"]], rows[["zT_x", "zT_y"]], rtol=1e-3)
        assert list(shown["class"]) == [str(5 + int(label)) for label in rows["label"]]
    start = GEOMETRY[GEOMETRY["tau"] == order.index[0]]
    np.testing.assert_allclose(frame(before["data"]["values"]), start[["z0_x", "z0_y"]], rtol=1e-3)
    dots = frame(spec["datasets"]["here"])
    np.testing.assert_allclose(dots["aie"], order, rtol=1e-3)


def test_linear_dots_are_means_of_the_widest_model():
    spec = in_page(touch_figures.linear(TOY))
    dots = frame(spec["datasets"]["here"]).set_index(["scale", "step"]).sort_index()
    means = TOY[TOY["width"] == 40].groupby(["init_scale", "tau"])[["aie", *MEASURES]].mean()
    np.testing.assert_allclose(dots[["aie", *MEASURES]], means, rtol=1e-3)
    assert [param["values"] for param in spec["params"]] == [["0", "8", "64"], ["0.3", "1"]]


def test_paper_and_consoles_show_a_line_in_place_of_the_figure():
    assert "this figure can be touched" in repr(Touchable({"mark": "point"}, {}))
