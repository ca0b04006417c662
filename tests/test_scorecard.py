"""The scorecard: one verdict for each claim and series, in natural units, and what is pooled."""

from pathlib import Path

import pandas as pd
import pytest
from test_claims import sweep

from taskhead.cli import main
from taskhead.experiments import results
from taskhead.report import scorecard
from taskhead.report.claims import CLAIMS
from taskhead.report.rules import CONTRADICTED, SUPPORTED, UNDECIDED


def card_of(monkeypatch: pytest.MonkeyPatch, *tables: pd.DataFrame) -> pd.DataFrame:
    monkeypatch.setattr(scorecard, "read_study", lambda study, folder: pd.concat(tables))
    return scorecard.scorecard(Path("any"))


def test_every_claim_has_a_row_for_each_series_in_natural_units(monkeypatch: pytest.MonkeyPatch):
    card = card_of(monkeypatch, sweep("one", noise=0), sweep("two", euclidean=lambda e: -e))
    claims = list(dict.fromkeys(card["claim"]))
    assert claims[: len(CLAIMS)] == list(CLAIMS.values())
    assert len(card) == 2 * len(claims)
    rows = card.set_index(["claim", "series"])
    assert rows.loc[("features move further", "two"), "verdict"] == CONTRADICTED
    best = rows.loc[("mild probing is best", "one")]
    assert best["effect"] == pytest.approx(9)  # of 0.09 in accuracy
    assert best["unit"] == "points"


def test_effects_are_pooled_over_series_that_are_judged(monkeypatch: pytest.MonkeyPatch):
    tables = [sweep(f"{slope}", euclidean=lambda e, slope=slope: slope * e) for slope in (2, 3, 4)]
    tables.append(sweep("few", seeds=3))
    pooled = scorecard.pooled(card_of(monkeypatch, *tables)).loc["features move further"]
    assert pooled["settings"] == 3
    assert pooled[SUPPORTED] == 3
    assert pooled["effect"] == pytest.approx(3 * 0.98, abs=0.01)
    assert pooled["half_width"] == pytest.approx(4.303 / 3**0.5 * 0.98, rel=0.01)


def test_series_of_one_setting_count_once():
    rows = {"seeds": 10, "verdict": UNDECIDED, "unit": "points", "claim": "any"}
    effects = {"one: x 5": 1.0, "one: x 10": 3.0, "two, hidden = 64": 3.0, "two (far)": 5.0}
    card = pd.DataFrame({"series": effects.keys(), "effect": effects.values(), **rows})
    pooled = scorecard.pooled(card).loc["any"]
    assert (pooled["effect"], pooled["settings"], pooled[UNDECIDED]) == (3.0, 2, 4)


def test_verdicts_can_be_told_without_colour(monkeypatch: pytest.MonkeyPatch):
    tables = [sweep("one"), sweep("two", euclidean=lambda e: -e), sweep("few", seeds=3)]
    cells = scorecard.in_short(card_of(monkeypatch, *tables))["features move further"]
    assert cells.to_dict() == {
        "one": f"● {SUPPORTED}",
        "two": f"✕ {CONTRADICTED}",
        "few": f"○ {UNDECIDED}",
    }


def test_badges_say_where_a_claim_is_decided():
    rows = [("a", SUPPORTED), ("b", UNDECIDED), ("c", SUPPORTED)]
    card = pd.DataFrame(rows, columns=["series", "verdict"]).assign(claim="it pays")
    assert scorecard.badges(card, "it pays", "it costs").splitlines() == [
        "- **It pays:** ● supported (a, c); ○ not decided (b).",
        "- **It costs:** not recorded.",
    ]


def test_a_row_without_anything_to_measure_shows_no_numbers():
    numbers = {"effect": [0.5, 0], "half_width": [0.2, 0], "smallest": [0.4, 0]}
    rows = {"series": ["a", "b"], "note": ["", "validation prefers no probing"]} | numbers
    card = pd.DataFrame(rows).assign(claim="it pays", seeds=10, unit="points", verdict=UNDECIDED)
    first, second, *_ = scorecard.in_words(card, "it pays").splitlines()
    assert first == "- **a:** not decided; 0.5 ± 0.2 points (n = 10; smallest 0.4 points)."
    assert second == "- **b:** not decided (n = 10; validation prefers no probing)."


def test_summary_counts_the_verdicts_on_a_claim():
    verdicts = [SUPPORTED, UNDECIDED, SUPPORTED]
    card = pd.DataFrame({"verdict": verdicts}).assign(claim="it pays")
    assert scorecard.found(card, "it pays", "it costs").splitlines() == [
        "- **Found:** “it pays” is supported in 2, contradicted in 0 and not decided in 1 recorded "
        "series.",
        "- **Found:** “it costs” is supported in 0, contradicted in 0 and not decided in 0 "
        "recorded series.",
    ]


def test_command_prints_the_claims_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture):
    results.compute_study("energy_sweep", setting="digits", preset="smoke", results=tmp_path)
    assert main(["claims", "--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "claims.md").read_text(encoding="utf-8") in printed
    written = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert set(written["series"]) == {"digits"}
    assert set(written["verdict"]) == {UNDECIDED}


def test_folder_without_sweeps_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["claims", "--results", str(tmp_path)]) == 1
    assert f"no table of energy_sweep in {tmp_path}" in capsys.readouterr().err
