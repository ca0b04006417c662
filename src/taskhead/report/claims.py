"""Verdicts on the paper's claims, by the rules of the page Rules, which were written before."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from taskhead.report.series import NO_PROBING, by_series, curves, done, interval, stops

CLAIMS = {
    "euclidean": "grows",
    "cosine": "falls",
    "dot": "rises, then falls",
    "norm": "rises, then falls",
    "test_accuracy": "best in between",
}
WHOLE, PROBED = "whole grid", "probed heads"
HOLDS, ASSOCIATED, NOT_SHOWN, UNDECIDED = "holds", "associated", "not shown", "not decided"
LEVEL = 0.025  # of the one-sided tests
SEEDS = 10  # needed for a verdict
MOST_DROPPED = 2  # levels at which a run is not done
LARGEST_FALL = 0.2  # of the range of a curve that still counts as growing
RESAMPLES = 2000

# How far a recorded run may be from the same run on another CPU: relative, but for accuracies.
TOLERANCE = {"aie": 0.01, **dict.fromkeys(list(CLAIMS)[:4], 0.1), "test_accuracy": 0.05}


def judge(table: pd.DataFrame, *, accuracy: str = "test_accuracy") -> pd.DataFrame:
    """Judge every series of `energy_sweep` tables on the claims about features and accuracy.

    One row per series, measure and reading (the whole grid, or probed heads alone) holds the claim,
    its effect with the half width of its 95 percent interval, p, p adjusted by Holm's method over
    the series that are judged, the verdict and the stops that were dropped (`note`). The effect is
    a slope per unit of energy, or how far the middle third of the levels stands above the higher
    outer one. Not judged are series of fewer than ten seeds or with more than two levels dropped,
    and the second reading. `accuracy` is the column that the last claim is judged on; series
    without it are left out there.
    """
    rows = [
        {"series": name, **row}
        for name, runs in by_series(table).items()
        for row in _judge_series(runs, accuracy)
    ]
    judged = pd.DataFrame(rows)
    judged["p adjusted"] = math.nan
    enough = (judged["seeds"] >= SEEDS) & (judged["dropped"] <= MOST_DROPPED)
    for _, alike in judged[enough & (judged["reading"] == WHOLE)].groupby("measure"):
        judged.loc[alike.index, "p adjusted"] = _holm(alike["p"])
    judged["verdict"] = [_verdict(row) for row in judged.to_dict("records")]
    return judged


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts of `judge` on the whole grid, one row per series, with their effects."""
    whole = judge(table).query(f"reading == '{WHOLE}'")
    whole = whole.assign(
        cell=[
            row["verdict"]
            if math.isnan(row["effect"])
            else f"{row['verdict']} ({row['effect']:.3g} ± {row['half width']:.2g})"
            for row in whole.to_dict("records")
        ],
        column=whole["measure"] + " " + whole["claim"],
    )
    shown = whole.pivot(index="series", columns="column", values="cell")
    seeds = {name: runs["seed"].nunique() for name, runs in by_series(table).items()}
    columns = list(dict.fromkeys(whole["column"]))
    return shown.loc[list(dict.fromkeys(whole["series"])), columns].assign(seeds=pd.Series(seeds))


def _judge_series(runs: pd.DataFrame, accuracy: str) -> list[dict[str, Any]]:
    seeds, rows = runs["seed"].nunique(), []
    dropped = sorted(set(stops(runs)) - set(curves(runs, "aie")[0].columns))
    for measure, claim in CLAIMS.items():
        column = accuracy if measure == "test_accuracy" else measure
        if column not in runs or done(runs)[column].isna().any():
            continue
        energy, curve = curves(runs, "aie", column)
        for reading in (WHOLE, PROBED):
            kept = [c for c in curve if reading == WHOLE or c != NO_PROBING]
            row = {"measure": measure, "claim": claim, "reading": reading, "seeds": seeds}
            row |= {"dropped": len(dropped), "note": ", ".join(dropped)}
            if claim in ("grows", "falls"):
                row |= _slope(energy[kept], curve[kept], 1 if claim == "grows" else -1)
            elif reading == WHOLE:  # levels are probed heads in both readings
                row |= _middle(curve)
            else:
                continue
            rows.append(row)
    return rows


def _slope(energy: pd.DataFrame, curve: pd.DataFrame, sign: int) -> dict[str, Any]:
    """Test the slopes of all seeds, and bound the largest fall of the mean curve."""
    if curve.shape[1] < 3 or len(curve) < 2:
        return {"effect": math.nan, "half width": math.nan, "p": math.nan}
    pairs = zip(energy.to_numpy(), curve.to_numpy(), strict=True)
    slopes = [np.polyfit(x, y, 1)[0] for x, y in pairs]
    effect, half = interval(slopes)
    p = _p_above_zero(np.multiply(sign, slopes))
    drawn = np.random.default_rng(0).integers(0, len(curve), (RESAMPLES, len(curve)))
    means = sign * curve.to_numpy()[drawn].mean(axis=1)
    falls = (np.maximum.accumulate(means, axis=1) - means).max(axis=1) / np.ptp(means, axis=1)
    fall = float(np.quantile(falls, 0.975))
    return {"effect": effect, "half width": half, "p": p, "fall": fall}


def _middle(curve: pd.DataFrame) -> dict[str, Any]:
    """Test whether the middle third of the levels stands above both outer thirds."""
    levels = [c for c in curve if str(c).startswith("energy")] or list(curve)
    outer = round(len(levels) / 3)
    if outer < 1 or len(curve) < 2:
        return {"effect": math.nan, "half width": math.nan, "p": math.nan}
    parts = levels[:outer], levels[outer:-outer], levels[-outer:]
    lower, middle, upper = (curve[part].mean(axis=1) for part in parts)
    differences = middle - lower, middle - upper
    effect, half = min(map(interval, differences))
    tests = [_p_above_zero(difference.to_numpy()) for difference in differences]
    peak = curve[levels].mean().idxmax()
    at_end = "" if peak in parts[1] else f"the peak lies near the end, at {peak}"
    return {"effect": effect, "half width": half, "p": max(tests), "peak": at_end}


def _p_above_zero(values: np.ndarray) -> float:
    """Return p of a one-sided t-test that the mean of values is above zero."""
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    if error <= 1e-12 * abs(mean):
        return 0.0 if mean > 0 else 1.0
    return float(stats.t.sf(mean / error, len(values) - 1))


def _verdict(row: dict[Any, Any]) -> str:
    if row["reading"] != WHOLE:
        return ""
    if row["seeds"] < SEEDS or row["dropped"] > MOST_DROPPED or math.isnan(row["p"]):
        return UNDECIDED
    if row["p adjusted"] <= LEVEL:
        fall = row.get("fall", math.nan)
        return HOLDS if math.isnan(fall) or fall < LARGEST_FALL else ASSOCIATED
    return UNDECIDED if isinstance(row.get("peak"), str) and row["peak"] else NOT_SHOWN


def _holm(p: pd.Series) -> pd.Series:
    """Return p-values adjusted by Holm's method; NaN stays out of the count."""
    ranked = p.dropna().sort_values()
    factors = np.arange(len(ranked), 0, -1)
    return (ranked * factors).cummax().clip(upper=1).reindex(p.index)
