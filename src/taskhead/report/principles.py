"""The principles that follow from the paper, judged on the studies that vary one thing each."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from taskhead.experiments.results import read_study
from taskhead.report import rules
from taskhead.report.effects import seed_powers
from taskhead.report.rules import POINTS, Evidence
from taskhead.report.series import (
    by_series,
    curves,
    done,
    ends,
    relative,
    stops,
)

SMALL_SCALE = 0.1  # of an initial head, in place of 1
PERCENT = "percent"  # a unit whose effects are shares of 1, as points are
Found = Iterator[tuple[str, int, Evidence]]  # series, seeds, evidence


def evidence(results: Path, sweeps: pd.DataFrame) -> pd.DataFrame:
    """Return a row of `Evidence` for each principle and series.

    They come from rows of `energy_sweep`, at least one, and from the tables of other studies below
    a folder.
    """
    return pd.DataFrame(
        {"claim": name, "series": series, "seeds": seeds, "unit": unit, **asdict(found)}
        for name, (unit, judge) in PRINCIPLES.items()
        for series, seeds, found in judge(results, sweeps)
    )


def validation_stops(results: Path, sweeps: pd.DataFrame) -> Found:
    """Compare the stop of the best validation accuracy with no probing and the longest probing."""
    for name, runs in by_series(sweeps).items():
        val, test = curves(runs, "val_accuracy", "test_accuracy")
        simple = [end for end in ends(runs) if end in val]
        if not simple:
            continue
        chosen = val.mean().idxmax()
        sides = [rules.difference(test[chosen] - test[end]) for end in simple]
        p_for, p_against = max(s.p_for for s in sides), min(s.p_against for s in sides)
        least = min(sides, key=lambda side: side.effect)
        note = f"validation prefers {chosen}"
        against = min(1.0, len(simple) * p_against)
        yield name, len(test), replace(least, p_for=p_for, p_against=against, note=note)


def smoothing_moves(results: Path, sweeps: pd.DataFrame) -> Found:
    """Test whether the distance grows with the smoothing, after probing to the end."""
    for name, runs in _by_smoothing(results, sweeps):
        moved = _by_eps(runs, "relative_euclidean")
        eps = pd.DataFrame(np.tile(moved.columns, (len(moved), 1)), columns=moved.columns)
        yield name, len(moved), rules.trend(eps, moved)


def smoothing_pays(results: Path, sweeps: pd.DataFrame) -> Found:
    """Compare the smoothing that validation prefers with none."""
    for name, runs in _by_smoothing(results, sweeps):
        val, test = (_by_eps(runs, name) for name in ("val_accuracy", "test_accuracy"))
        if 0.0 not in val or val.shape[1] < 2:
            yield name, len(val), Evidence()
            continue
        chosen = val.drop(columns=0.0).mean().idxmax()
        found = rules.difference(test[chosen] - test[0.0])
        yield name, len(test), replace(found, note=f"validation prefers eps = {chosen:g}")


def with_none(smooth: pd.DataFrame, sweep: pd.DataFrame) -> pd.DataFrame:
    """Return runs of `label_smoothing` below those of the sweep of equal tau, without smoothing."""
    plain = like(sweep, smooth)
    return pd.concat([plain[plain["tau"] == smooth["tau"].iloc[0]], smooth], ignore_index=True)


def with_linear(deep: pd.DataFrame, sweep: pd.DataFrame) -> pd.DataFrame:
    """Return runs of `head_capacity` below those of the sweep at the same stops, linear heads."""
    linear = sweep.merge(deep[["tau", "energy"]].drop_duplicates())
    return pd.concat([linear, deep], ignore_index=True)


def deep_heads_absorb(results: Path, sweeps: pd.DataFrame) -> Found:
    """Compare the distance from deeper heads with that from linear ones at the same energies."""
    table = read_study("head_capacity", results)
    for name, deep in by_series(relative(table)).items() if len(table) else ():
        linear = like(sweeps, deep).query("energy.notna()")
        both = [_levels(each) for each in (deep, linear)]
        common = both[0].columns.intersection(both[1].columns)
        shares = both[0][common] / both[1][common] - 1
        yield name, len(shares), rules.difference(shares.mean(axis=1), sign=-1)


def new_blocks_pay(results: Path, sweeps: pd.DataFrame) -> Found:
    """Compare one block drawn anew with none, each at the probing time that validation prefers."""
    table = read_study("partial_backbone", results)
    for name, runs in table.groupby("setting", sort=False) if len(table) else ():
        parts = [done(runs[runs["reinitialised_blocks"] == n]) for n in (0, 1)]
        if any(part.empty for part in parts):
            continue
        kept, new = map(_preferred, parts)
        gains = (new - kept).dropna()
        yield str(name), len(gains), rules.difference(gains)


def mild_beats_rates(results: Path, sweeps: pd.DataFrame) -> Found:
    """Compare the energy that validation prefers with what people do in place of probing."""
    table = read_study("head_rate", results)
    for runs in by_series(table).values() if len(table) else ():
        sweep = like(sweeps, runs)
        mild = _preferred(sweep[sweep["energy"].notna()])
        gains = (mild - done(runs).set_index("seed")["test_accuracy"]).dropna()
        run = runs.iloc[0]
        yield f"{run['setting']}: {scheme(run)}", len(gains), rules.difference(gains)


def scheme(run: pd.Series) -> str:
    """Return what people call the rates of a run of `head_rate`."""
    one_early_rate = pd.isna(run["ft_early_lr"])
    if run["tau"]:
        return "one frozen epoch" if one_early_rate else "fastai's fine_tune"
    head = f"head rate x {run['ft_head_lr'] / run['ft_lr']:g}"
    return head if one_early_rate else f"{head}, early layers slower"


def calibration_costs(results: Path, sweeps: pd.DataFrame) -> Found:
    """Test whether the calibration error falls with the energy."""
    for name, runs in by_series(sweeps).items():
        energy, error = curves(runs, "aie", "test_ece")
        yield name, len(error), rules.trend(energy, error, sign=-1)


def large_heads_hold(results: Path, sweeps: pd.DataFrame) -> Found:
    """Test whether the distance falls with the head's norm, at the same energy and rate."""
    table = read_study("crossed", results)
    for name, runs in table.groupby("setting", sort=False) if len(table) else ():
        powers = seed_powers(runs)["head norm"]
        yield str(name), len(powers), rules.difference(powers, sign=-1)


def small_heads_pay(results: Path, sweeps: pd.DataFrame) -> Found:
    """Compare a head of a tenth of the usual scale with the usual one, both without probing."""
    table = read_study("initial_head", results)
    small = table[table["init_scale"] == SMALL_SCALE] if len(table) else table
    for name, runs in by_series(small).items() if len(small) else ():
        sweep = like(sweeps, runs)
        accuracies = [
            done(each).set_index("seed")["test_accuracy"]
            for each in (runs, sweep[sweep["tau"] == 0])
        ]
        gains = (accuracies[0] - accuracies[1]).dropna()
        yield name, len(gains), rules.difference(gains)


# What each is called, the unit of its effect, and how it is judged.
PRINCIPLES: dict[str, tuple[str, Callable[[Path, pd.DataFrame], Found]]] = {
    "stopping where validation says pays": (POINTS, validation_stops),
    "smoothing in probing keeps features moving": ("‖z₀‖", smoothing_moves),
    "smoothing beats probing to the end": (POINTS, smoothing_pays),
    "a deeper head absorbs adaptation": (PERCENT, deep_heads_absorb),
    "drawing the last block anew pays": (POINTS, new_blocks_pay),
    "mild probing beats other rates": (POINTS, mild_beats_rates),
    "less energy costs calibration": (POINTS, calibration_costs),
    "a larger initial head moves features less": ("exponent", large_heads_hold),
    "a small initial head pays": (POINTS, small_heads_pay),
}


def _by_smoothing(results: Path, sweeps: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Return runs of each setting by smoothing in probing, with those of the sweep for none."""
    table = read_study("label_smoothing", results)
    for name, runs in table.query("ft_eps == 0").groupby("setting") if len(table) else ():
        yield str(name), done(with_none(runs, sweeps))


def _by_eps(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a column by seed and smoothing, for amounts at which all seeds are done."""
    return runs.pivot(index="seed", columns="eps", values=column).dropna(axis=1)


def like(sweeps: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the sweep in the setting, domain and preset of these runs."""
    keys = ["setting", "domain", "preset"]
    return sweeps.merge(runs[keys].drop_duplicates(), on=keys)


def _levels(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the relative distance by seed and energy level."""
    levels = done(runs[runs["energy"].notna()])
    return levels.pivot(index="seed", columns="energy", values="relative_euclidean")


def best_stop(runs: pd.DataFrame) -> str:
    """Return the stop of the best mean validation accuracy, of those at which all seeds are done.

    Where there is none of these, all stops count.
    """
    by_stop = done(runs).assign(stop=stops).groupby("stop")
    means = by_stop["val_accuracy"].mean()
    whole = by_stop["seed"].nunique() == runs["seed"].nunique()
    return str((means[whole] if whole.any() else means).idxmax())


def preferred(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that are done at the stop of the best mean validation accuracy."""
    return done(runs[stops(runs) == best_stop(runs)])


def _preferred(runs: pd.DataFrame) -> pd.Series:
    """Return the test accuracy of each seed at the stop of the best mean validation accuracy."""
    return preferred(runs).set_index("seed")["test_accuracy"]
