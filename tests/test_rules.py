"""Rules: they err as rarely as they say, and find effects that are there."""

import math

import numpy as np
import pandas as pd
import pytest

from taskhead.report import rules
from taskhead.report.claims import decide
from taskhead.report.rules import CONTRADICTED, SUPPORTED

LEVELS = np.linspace(0.1, 0.9, 10)
SERIES = 5


def without_effect(noise: np.random.Generator, spread: float = 1.0) -> list[pd.DataFrame]:
    """Return curves (seeds, levels) that are noise alone, a table for each series."""
    names = [f"energy {level:.2f}" for level in LEVELS]
    curves = spread * noise.normal(size=(SERIES, rules.SEEDS, len(LEVELS)))
    return [pd.DataFrame(curve, columns=names) for curve in curves]


def evidence_of(claim: str, curve: pd.DataFrame) -> rules.Evidence:
    energy = pd.DataFrame(np.tile(LEVELS, (len(curve), 1)), columns=curve.columns)
    match claim:
        case "grows":
            return rules.trend(energy, curve)
        case "hump":
            return rules.hump(curve)
        case "best in between":
            return rules.best_in_between(curve.iloc[:, 1:-1], curve.iloc[:, [0, -1]])
        case _:
            return rules.difference(curve.iloc[:, 0])


def verdicts_of(claim: str, curves: list[pd.DataFrame]) -> list[str]:
    rows = pd.DataFrame([vars(evidence_of(claim, curve)) for curve in curves])
    rows = rows.assign(seeds=rules.SEEDS, claim=claim)
    return decide(rows, counts=pd.Series(True, index=rows.index), within="claim")[
        "verdict"
    ].tolist()


CLAIMS = ["grows", "hump", "best in between", "difference"]


@pytest.mark.parametrize("claim", CLAIMS)
def test_of_thousand_tables_without_effect_at_most_a_twentieth_has_a_verdict(claim: str):
    noise = np.random.default_rng(0)
    decided = [
        any(v != rules.UNDECIDED for v in verdicts_of(claim, without_effect(noise)))
        for _ in range(1000)
    ]
    assert sum(decided) <= 50


HUMP = 1 - ((LEVELS - 0.5) / 0.4) ** 2
SHAPES = {
    ("grows", 1): LEVELS,
    ("grows", -1): -LEVELS,
    ("hump", 1): HUMP,
    ("hump", -1): -HUMP,
    ("best in between", 1): HUMP,
    ("best in between", -1): np.eye(len(LEVELS))[-1],
    ("difference", 1): np.ones(10),
    ("difference", -1): -np.ones(10),
}


@pytest.mark.parametrize(("sign", "verdict"), [(1, SUPPORTED), (-1, CONTRADICTED)])
@pytest.mark.parametrize("claim", CLAIMS)
def test_effects_of_one_and_a_half_deviations_of_a_seed_are_found(claim, sign, verdict):
    """Each seed has an effect of its own, 1.5 on average with a deviation of 1."""
    noise, found = np.random.default_rng(0), []
    for _ in range(100):
        own = noise.normal(1.5, 1, size=(SERIES, rules.SEEDS, 1))
        flat = without_effect(noise, 0.1)
        seen = zip(own, flat, strict=True)
        found += verdicts_of(claim, [each + effect * SHAPES[claim, sign] for effect, each in seen])
    assert found.count(verdict) >= 0.8 * len(found)


def test_smallest_effect_is_found_four_times_in_five():
    drawn = np.random.default_rng(0).normal(size=(2000, rules.SEEDS))
    smallest = np.mean([rules.difference(each).smallest for each in drawn])
    found = [rules.difference(each + smallest).p_for <= rules.LEVEL for each in drawn]
    assert np.mean(found) == pytest.approx(rules.POWER, abs=0.05)


def test_an_effect_is_told_with_two_digits_its_interval_and_its_unit():
    assert rules.in_words(134.2, 0.0423, "percent") == "130 ± 0.042 percent"
    assert rules.in_words(-5.0, math.nan, "points") == "-5 points"
