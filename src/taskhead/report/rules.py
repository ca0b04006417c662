"""The rules of the page Rules: what the seeds of a series say on a claim, and what that decides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "not decided"
LEVEL = 0.025  # of the one-sided tests
POWER = 0.8  # with which the smallest effect would have been found
SEEDS = 10  # needed for a verdict
POINTS = "points"  # a unit whose effects are shares of 1
LARGEST_FALL = 0.2  # of the range of a curve that still counts as growing
RESAMPLES = 2000


@dataclass(frozen=True)
class Evidence:
    """What the seeds of one series say on a claim.

    `effect` is a mean over seeds with the half width of its 95 percent interval; `smallest` is the
    least effect that so many seeds, spread like these, find with a probability of 0.8. `p_for` and
    `p_against` are those of one-sided tests that the claim, or what contradicts it, is no chance.
    `note` says what is in the way of a verdict, "" if nothing is.
    """

    effect: float = math.nan
    half_width: float = math.nan
    smallest: float = math.nan
    p_for: float = math.nan
    p_against: float = math.nan
    note: str = ""


def difference(values: Sequence[float] | pd.Series, *, sign: int = 1) -> Evidence:
    """Return what the effects of all seeds say on the claim that they are above zero.

    With the sign -1 the claim is that they are below.
    """
    found = np.asarray(values, dtype=float)
    if len(found) < 2:
        return Evidence()
    effect, free = float(found.mean()), len(found) - 1
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    if error <= 1e-12 * abs(effect):  # of rounding
        p_for = float(sign * effect <= 0)
        return Evidence(effect, 0.0, 0.0, p_for, 1 - p_for if effect else 1.0)
    half, power = error * stdtrit(free, [1 - LEVEL, POWER])
    p_for, p_against = stdtr(free, np.array([-sign, sign]) * effect / error)
    return Evidence(effect, float(half), float(half + power), float(p_for), float(p_against))


def trend(energy: pd.DataFrame, curve: pd.DataFrame, *, sign: int = 1) -> Evidence:
    """Return what curves (seeds, stops) say on the claim that they grow, or fall, with the energy.

    The effect is the change over the energies covered, along each seed's regression line. A curve
    that turns back by more than a fifth of its range neither grows nor falls.
    """
    if curve.shape[1] < 3 or len(curve) < 2:
        return Evidence()
    pairs = zip(energy.to_numpy(), curve.to_numpy(), strict=True)
    span = np.ptp(energy.to_numpy().mean(axis=0))
    found = difference([span * np.polyfit(x, y, 1)[0] for x, y in pairs], sign=sign)
    if min(found.p_for, found.p_against) > LEVEL:
        return found
    fall = _largest_fall(math.copysign(1, found.effect) * curve.to_numpy())
    if fall < LARGEST_FALL:
        return found
    undone = f"{100 * fall:.0f} percent of the change"
    note = f"associated: it has a slope, but a part of the curve may undo up to {undone}"
    return replace(found, p_for=1.0, p_against=1.0, note=note)


def hump(curve: pd.DataFrame) -> Evidence:
    """Return what curves (seeds, levels) say on the claim that they rise, then fall.

    The effect is how far the middle third of the levels stands above the higher outer one. A
    valley, the middle below both, contradicts.
    """
    thirds = _thirds(curve)
    if not thirds or len(curve) < 2:
        return Evidence()
    lower, middle, upper = thirds
    sides = [difference(middle - outer) for outer in (lower, upper)]
    p_for, p_against = (max(getattr(s, p) for s in sides) for p in ("p_for", "p_against"))
    least = min(sides, key=lambda side: side.effect)
    return replace(least, p_for=p_for, p_against=p_against, note=_near_the_end(curve))


def best_in_between(curve: pd.DataFrame, ends: pd.DataFrame) -> Evidence:
    """Return what accuracies (seeds, levels) say on the claim that they are best in between.

    The claim is judged as a hump. It is contradicted if one of the `ends` (seeds, stops), no
    probing and the longest probing, exceeds every third of the levels.
    """
    found, thirds = hump(curve), _thirds(curve)
    if math.isnan(found.p_for) or ends.empty:
        return found
    against = [max(difference(ends[e] - third).p_for for third in thirds) for e in ends]
    return replace(found, p_against=min(1.0, len(against) * min(against)))


def holm(p: pd.Series) -> pd.Series:
    """Return p-values adjusted by Holm's method; NaN stays out of the count."""
    ranked = p.dropna().sort_values()
    factors = np.arange(len(ranked), 0, -1)
    return (ranked * factors).cummax().clip(upper=1).reindex(p.index)


def verdict(p_for: float, p_against: float) -> str:
    """Return what adjusted p-values decide."""
    if p_for <= LEVEL:
        return SUPPORTED
    return CONTRADICTED if p_against <= LEVEL else UNDECIDED


def in_words(effect: float, half_width: float, unit: str) -> str:
    """Return an effect with its interval, if there is one, and its unit: "5.2 ± 0.4 points"."""
    half = "" if math.isnan(half_width) else f" ± {short(half_width)}"
    return f"{short(effect)}{half} {unit}"


def short(value: float) -> str:
    """Return a number with two digits that say something: "130", "0.042"."""
    return f"{float(f'{value:.2g}'):g}"


def resampled(curve: np.ndarray) -> np.ndarray:
    """Return means of curves (seeds, stops) over 2,000 draws of as many seeds, as (draws, stops).

    Source: the bootstrap of Efron, Annals of Statistics 7, 1979.
    """
    drawn = np.random.default_rng(0).integers(0, len(curve), (RESAMPLES, len(curve)))
    return curve[drawn].mean(axis=1)


def _largest_fall(curve: np.ndarray) -> float:
    """Bound the largest fall of the mean of curves (seeds, stops), as a share of its range."""
    means = resampled(curve)
    falls = (np.maximum.accumulate(means, axis=1) - means).max(axis=1) / np.ptp(means, axis=1)
    return float(np.quantile(falls, 0.975))


def _thirds(curve: pd.DataFrame) -> list[pd.Series]:
    """Return the mean of each third of the levels for every seed; [] for fewer than three."""
    outer = round(curve.shape[1] / 3)
    if outer < 1 or curve.shape[1] < 3:
        return []
    parts = curve.iloc[:, :outer], curve.iloc[:, outer:-outer], curve.iloc[:, -outer:]
    return [part.mean(axis=1) for part in parts]


def _near_the_end(curve: pd.DataFrame) -> str:
    outer, peak = round(curve.shape[1] / 3), curve.mean().idxmax()
    inside = peak in curve.columns[outer:-outer]
    return "" if inside else f"the peak lies outside the middle third, at {peak}"
