"""Replay: what each way to prepare a head would have cost, on tables whose truth is known."""

from pathlib import Path

import pandas as pd
import pytest
from test_claims import sweep

from taskhead.report import replay
from taskhead.report.series import NO_PROBING


def stored(monkeypatch: pytest.MonkeyPatch, *tables: pd.DataFrame) -> None:
    found = {"energy_sweep": pd.concat(tables)}
    monkeypatch.setattr(replay, "read_study", lambda s, _: found.get(s, pd.DataFrame()))


def test_regret_is_what_a_way_loses_to_the_best(monkeypatch: pytest.MonkeyPatch):
    stored(monkeypatch, sweep("one", noise=0), sweep("few", seeds=2))
    table = replay.regrets(Path("any"))
    assert set(table["series"]) == {1}
    # accuracy is 0.9 - (e - 0.5)^2, at energies 1, 0.5 and 0.02
    assert table["regret"].to_dict() == pytest.approx(
        {
            replay.HALFWAY: 0,
            replay.CHOSEN: 0,
            replay.TO_THE_END: 100 * 0.48**2,
            NO_PROBING: 25,
        }
    )
    assert table.loc[NO_PROBING, "mean rank"] == 4


def test_regrets_are_means_over_series(monkeypatch: pytest.MonkeyPatch):
    rising = sweep("two", noise=0, val_accuracy=lambda e: e, test_accuracy=lambda e: e / 10)
    stored(monkeypatch, sweep("one", noise=0), rising)
    table = replay.regrets(Path("any"))
    assert table.loc[NO_PROBING, "regret"] == pytest.approx((25 + 0) / 2)
    assert table.loc[replay.CHOSEN, "regret"] == pytest.approx(0)
    assert table.index[0] == replay.CHOSEN
