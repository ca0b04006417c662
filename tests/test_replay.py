"""Replay: what each way to prepare a head would have cost, on tables whose truth is known."""

from pathlib import Path

import pandas as pd
import pytest
from test_claims import LEVELS, sweep

from taskhead.report import principle_figures, replay
from taskhead.report.series import NO_PROBING


def stored(monkeypatch: pytest.MonkeyPatch, *tables: pd.DataFrame) -> None:
    found = {"energy_sweep": pd.concat(tables)}
    monkeypatch.setattr(replay, "read_study", lambda s, _: found.get(s, pd.DataFrame()))


def test_regret_is_what_a_way_loses_to_the_best(monkeypatch: pytest.MonkeyPatch):
    stored(monkeypatch, sweep("one", noise=0), sweep("few", seeds=2))
    table = replay.regrets(replay.accuracies(Path("any")))
    assert set(table["series"]) == {1}
    # accuracy is 0.9 - (e - 0.5)^2, at energies 1, 0.5 and 0.02
    assert table["regret"].to_dict() == pytest.approx(
        {
            replay.HALFWAY: 0,
            replay.CHOSEN: 0,
            replay.OWN_CHOICE: 0,
            replay.TO_THE_END: 100 * 0.48**2,
            NO_PROBING: 25,
        }
    )
    assert table.loc[NO_PROBING, "mean rank"] == 5
    assert table.loc[NO_PROBING, "gain over halfway"] == pytest.approx(-25)
    assert table.loc[replay.HALFWAY, "gain over halfway"] == 0


def test_halfway_starts_at_a_uniform_guess_where_no_probing_lies_above(
    monkeypatch: pytest.MonkeyPatch,
):
    two_classes = sweep("one", noise=0, test_accuracy=lambda e: e).assign(n_classes=2)
    stored(monkeypatch, two_classes)
    (found,) = replay.accuracies(Path("any")).values()
    middle = (0.5**0.5 + 0.02) / 2
    assert found[replay.HALFWAY].mean() == pytest.approx(min(LEVELS, key=lambda e: abs(e - middle)))


def test_regrets_are_means_over_series(monkeypatch: pytest.MonkeyPatch):
    rising = sweep("two", noise=0, val_accuracy=lambda e: e, test_accuracy=lambda e: e / 10)
    stored(monkeypatch, sweep("one", noise=0), rising)
    table = replay.regrets(replay.accuracies(Path("any")))
    assert table.loc[NO_PROBING, "regret"] == pytest.approx((25 + 0) / 2)
    assert table.loc[replay.CHOSEN, "regret"] == pytest.approx(0)
    assert table.index[0] == replay.CHOSEN
    said = replay.in_words(replay.accuracies(Path("any")))
    assert "There are 2 series." in said
    assert said.endswith("at 95 percent: none.")


def test_ways_that_differ_from_halfway_in_every_series_are_named():
    tables = {}
    for number in range(4):
        best = 0.9 + number / 1000
        ways = {
            replay.HALFWAY: best,
            NO_PROBING: best - 0.1,
            replay.TO_THE_END: best - number / 100,
        }
        tables[str(number)] = pd.DataFrame({way: [value] for way, value in ways.items()})
    tables["3"]["rare"] = 1.0
    said = replay.in_words(tables)
    assert said.endswith(f"at 95 percent: {NO_PROBING} (-10.0 ± 0.0 points).")
    assert "rare" not in said


def test_choice_within_a_seed_sees_the_validation_accuracies_of_that_seed_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    table = sweep("one", noise=0, test_accuracy=lambda e: e)
    table["val_accuracy"] = 0.5
    prefers = (table["seed"] == 0) & (table["energy"] == 0.3)
    table.loc[prefers, "val_accuracy"] = 0.6
    tied = (table["seed"] == 1) & table["energy"].isin([0.2, 0.4])
    table.loc[tied, "val_accuracy"] = 0.6
    stored(monkeypatch, table)
    (found,) = replay.accuracies(Path("any")).values()
    assert found[replay.OWN_CHOICE][:2].tolist() == pytest.approx([0.3, 0.3])


def test_each_series_is_a_marker_at_its_regret():
    points = pd.DataFrame(
        {
            "one": {"a": 2.0, "b": 0.0},
            "two": {"a": 4.0, "b": None},
            "three": {"a": 3.0, "b": 1.0},
        }
    )
    (axis,) = principle_figures.regrets(points).axes
    drawn = {line.get_label(): list(line.get_xdata()) for line in axis.lines}
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert drawn["one"] == [2.0, 0.0]
    assert drawn["two"][0] == 4.0
    (mean,) = axis.containers
    assert mean.lines[0].get_xdata().tolist() == [3.0]
