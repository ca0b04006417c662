"""Series: which runs form one curve, at which stops, with which intervals."""

import math

import numpy as np
import pandas as pd
import pytest
from test_claims import sweep

from taskhead.report.series import by_series, curves, ends, interval, over_settings, stops


def test_interval_is_students():
    mean, half = interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-6)
    assert interval([2.0])[0] == 2.0
    assert math.isnan(interval([2.0])[1])


def test_intervals_of_many_points_hold_at_once():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        curve = rng.normal(size=(10, 8))
        covered += all(abs(mean) <= half for mean, half in (interval(c, points=8) for c in curve.T))
    assert 0.92 < covered / 400 < 0.99


def test_few_test_images_widen_the_interval_of_an_accuracy():
    values = [0.5, 0.52, 0.48]
    narrow, wide = interval(values)[1], interval(values, images=100)[1]
    t = narrow / (np.std(values, ddof=1) / math.sqrt(3))
    assert wide == pytest.approx(t * math.sqrt(np.var(values, ddof=1) / 3 + 0.25 / 100))


def test_series_are_settings_and_domains_in_the_order_of_the_table():
    tables = [sweep("pacs", "sketch"), sweep("digits"), sweep("pacs", "photo")]
    series = by_series(pd.concat(tables))
    assert list(series) == ["pacs (sketch)", "digits", "pacs (photo)"]
    pd.testing.assert_frame_equal(series["pacs (sketch)"], tables[0])


def test_runs_that_differ_in_more_than_seed_and_stop_are_series_of_their_own():
    parts = [
        sweep("digits").assign(eps=eps, hidden=hidden) for eps, hidden in ((0.0, ""), (0.1, "16 8"))
    ]
    series = by_series(pd.concat([*parts, sweep("pacs", "photo").assign(eps=0.2, hidden="")]))
    names = [
        "digits, eps = 0.0, hidden layers: none",
        "digits, eps = 0.1, hidden layers: 16 + 8",
        "pacs (photo)",
    ]
    assert list(series) == names
    assert [len(rows) for rows in series.values()] == [110] * 3


def test_stops_are_named_by_energy_or_tau():
    assert stops(sweep(seeds=1))[:3].tolist() == ["no probing", "tau = 400", "energy 0.1"]
    assert stops(pd.DataFrame({"tau": [0, 3]})).tolist() == ["no probing", "tau = 3"]


def test_curves_run_from_the_least_energy_up_and_hold_whole_stops_alone():
    table = sweep()
    table.loc[(table["seed"] == 1) & (table["energy"] == 0.4), "outcome"] = "diverged"
    energy, distance = curves(table, "aie", "euclidean")
    assert "energy 0.4" not in energy
    assert energy.columns[[0, -1]].tolist() == ["tau = 400", "no probing"]
    assert energy.mean().is_monotonic_increasing
    assert distance.shape == (10, 10)


def test_ends_are_no_probing_and_the_longest_probing_whatever_its_energy():
    table = sweep()
    assert ends(table) == ["no probing", "tau = 400"]
    overfitted = table.assign(aie=table["aie"].mask(table["tau"] == 400, 0.15))
    assert ends(overfitted) == ["no probing", "tau = 400"]
    assert ends(table[table["tau"].isna()]) == ["energy 0.1"]
    assert ends(table[table["tau"] == 0]) == ["no probing"]


def test_interval_over_settings_needs_three_of_them():
    assert over_settings(pd.Series([1.0, 2.0, 3.0])) == interval([1.0, 2.0, 3.0])
    mean, half = over_settings(pd.Series([1.0, 3.0]))
    assert mean == 2
    assert math.isnan(half)


def test_interval_of_splits_that_overlap_is_wider():
    values = [0.1, 0.2, 0.3, 0.4]
    _, alone = interval(values)
    _, overlapping = interval(values, overlap=0.25)
    assert overlapping == pytest.approx(alone * (1 + 4 * 0.25) ** 0.5)
