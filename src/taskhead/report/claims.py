"""The paper's claims about features and accuracy, judged on sweeps by the rules."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from taskhead.experiments.results import read_study
from taskhead.experiments.table import recorded_folder
from taskhead.report import rules
from taskhead.report.rules import Evidence
from taskhead.report.series import NO_PROBING, by_series, curves, done, relative, stops

CLAIMS = {
    "euclidean": "features move further",
    "cosine": "features turn more",
    "dot": "dot product rises, then falls",
    "norm": "norm rises, then falls",
    "test_accuracy": "mild probing is best",
}
UNITS = {
    "euclidean": "‖z₀‖",
    "cosine": "of the cosine",
    "dot": "‖z₀‖²",
    "norm": "‖z₀‖",
    "test_accuracy": rules.POINTS,
}
_SIGNS = {"euclidean": 1, "cosine": -1}  # of trends; the others are humps
WHOLE, PROBED = "whole grid", "probed heads"
MOST_DROPPED = 2  # levels at which a run is not done

# How far a recorded run may be from the same run on another CPU: relative, but for accuracies.
TOLERANCE = {"aie": 0.01, **dict.fromkeys(list(CLAIMS)[:4], 0.1), "test_accuracy": 0.05}


def judge(table: pd.DataFrame, *, accuracy: str = "test_accuracy") -> pd.DataFrame:
    """Judge every series of `energy_sweep` tables on the claims about features and accuracy.

    One row per series, measure and reading (the whole grid, or probed heads alone) holds the
    `Evidence`, the verdict, and what is in the way of one (`note`). Measures are relative to the
    norm of z_0. p-values are adjusted by Holm's method over the series that are judged on a claim.
    Not judged are series of fewer than ten seeds or with more than two levels dropped, and the
    second reading. `accuracy` is the column that the last claim is judged on; series without it
    are left out there.
    """
    rows = [
        {"series": name, "seeds": runs["seed"].nunique(), **row}
        for name, runs in by_series(relative(table)).items()
        for row in _evidence(runs, accuracy)
    ]
    judged = pd.DataFrame(rows)
    return decide(judged, counts=judged["reading"] == WHOLE, within="measure")


def judge_beside_recorded(table: pd.DataFrame) -> pd.DataFrame:
    """Judge sweeps of settings that are recorded beside the recorded sweeps of all others.

    p-values are adjusted over all settings, so a page on one of them says what the scorecard says.
    Sweeps of settings without a recorded one are judged alone. Rows are those of `judge`.
    """
    recorded = read_study("energy_sweep", recorded_folder())
    if not set(table["setting"]) <= set(recorded["setting"]):
        return judge(table)
    others = recorded[~recorded["setting"].isin(table["setting"])]
    judged = judge(pd.concat([table, others], ignore_index=True))
    return judged[judged["series"].isin(by_series(table))]


def decide(evidence: pd.DataFrame, *, counts: pd.Series, within: str) -> pd.DataFrame:
    """Adjust the p-values of rows of evidence, and add the verdict of each row that `counts`.

    The adjustment is over the rows of equal values in the column `within`. A row of fewer than ten
    seeds, or without p-values, is not decided, and is left out of the adjustment.
    """
    few = evidence["seeds"] < rules.SEEDS
    said = evidence["seeds"].map(lambda n: f"{n} seed{'s' * (n > 1)}, {rules.SEEDS} are needed")
    decided = evidence.assign(note=evidence["note"].mask(few, said))
    ready = counts & ~few & evidence["p_for"].notna()
    for p in ("p_for", "p_against"):
        groups = decided[p].where(ready).groupby(decided[within])
        decided[f"{p} adjusted"] = groups.transform(rules.holm)
    pairs = zip(decided["p_for adjusted"], decided["p_against adjusted"], counts, strict=True)
    decided["verdict"] = [rules.verdict(p, against) if c else "" for p, against, c in pairs]
    decided["note"] = decided["note"].where(decided["verdict"] == rules.UNDECIDED, "")
    return decided


def worst_difference(rows: pd.DataFrame, others: pd.DataFrame) -> float:
    """Return the largest difference of two tables of the same runs, as a share of `TOLERANCE`."""
    shares = []
    for name, allowed in TOLERANCE.items():
        error = (rows[name].to_numpy(float) - others[name].to_numpy(float)) / allowed
        scale = 1.0 if name == "test_accuracy" else others[name].to_numpy(float)
        shares.append(np.abs(error / scale))
    return float(np.max(shares))


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on the whole grid, one row per series, with their effects."""
    whole = judge_beside_recorded(table).query(f"reading == '{WHOLE}'")
    whole = whole.assign(cell=_cells(whole), claim=whole["measure"].map(CLAIMS))
    shown = whole.pivot(index="series", columns="claim", values="cell")
    shown = shown.loc[list(dict.fromkeys(whole["series"])), list(dict.fromkeys(whole["claim"]))]
    return shown.assign(seeds=whole.groupby("series")["seeds"].first())


def _cells(judged: pd.DataFrame) -> list[str]:
    """Return each verdict with its effect, its interval and their unit."""
    cells = []
    for row in judged.to_dict("records"):
        unit = UNITS[row["measure"]]
        scale = 100 if unit == rules.POINTS else 1
        effect = rules.in_words(scale * row["effect"], scale * row["half_width"], unit)
        known = "" if math.isnan(row["effect"]) else f" ({effect})"
        cells.append(f"{row['verdict']}{known}")
    return cells


def _evidence(runs: pd.DataFrame, accuracy: str) -> list[dict[str, Any]]:
    """Return rows of evidence of one series, by measure and reading."""
    dropped = sorted(set(stops(runs)) - set(curves(runs, "aie")[0].columns))
    rows = []
    for measure in CLAIMS:
        column = accuracy if measure == "test_accuracy" else measure
        if column not in runs or done(runs)[column].isna().any():
            continue
        energy, curve = curves(runs, "aie", column)
        found = {WHOLE: _of_claim(measure, energy, curve)}
        if measure in _SIGNS:
            kept = curve.columns.drop(NO_PROBING, errors="ignore")
            found[PROBED] = _of_claim(measure, energy[kept], curve[kept])
        rows += [
            {"measure": measure, "reading": reading, **_unless_too_many(dropped, asdict(each))}
            for reading, each in found.items()
        ]
    return rows


def _of_claim(measure: str, energy: pd.DataFrame, curve: pd.DataFrame) -> Evidence:
    if measure in _SIGNS:
        return rules.trend(energy, curve, sign=_SIGNS[measure])
    levels = [c for c in curve if str(c).startswith("energy")] or list(curve)
    if measure != "test_accuracy":
        return rules.hump(curve[levels])
    outer = [c for c in curve if c not in levels] or levels[:: max(1, len(levels) - 1)]
    return rules.best_in_between(curve[levels], curve[outer])


def _unless_too_many(dropped: list[str], row: dict[str, Any]) -> dict[str, Any]:
    """Take the p-values from evidence with more than two levels dropped; name those dropped."""
    if not dropped:
        return row
    note = "; ".join(filter(None, [row["note"], f"dropped: {', '.join(dropped)}"]))
    gone = {"p_for": np.nan, "p_against": np.nan} if len(dropped) > MOST_DROPPED else {}
    return row | gone | {"note": note}
