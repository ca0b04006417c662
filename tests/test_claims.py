"""Verdicts: what holds, what does not, and what is not decided, on tables whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest

from taskhead.report import claims
from taskhead.report.claims import judge, verdicts
from taskhead.report.rules import CONTRADICTED, SUPPORTED, UNDECIDED

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
TRUE = {
    "euclidean": lambda e: 2 * e,
    "cosine": lambda e: 1 - e / 2,
    "dot": lambda e: e * (1 - e),
    "norm": lambda e: e * (1.1 - e),
    "val_accuracy": lambda e: 0.9 - (e - 0.5) ** 2,
    "test_accuracy": lambda e: 0.9 - (e - 0.5) ** 2,
    "test_ece": lambda e: 0.3 - e / 10,
}


def sweep(
    setting: str = "one",
    domain: str | None = None,
    *,
    seeds: int = 10,
    noise: float = 0.01,
    **other,
) -> pd.DataFrame:
    """Return a sweep in which each measure is a function of energy, plus noise of each seed."""
    rng = np.random.default_rng(0)
    stops = [(0, math.nan, 1.0), (400, math.nan, 0.02), *((None, e, e) for e in LEVELS)]
    return (
        pd.DataFrame(
            {
                "setting": setting,
                "preset": "laptop",
                "domain": domain,
                "seed": seed,
                "tau": tau,
                "energy": level,
            }
            | {"outcome": "done", "aie": energy}
            | {name: curve(energy) + noise * rng.normal() for name, curve in (TRUE | other).items()}
            | {"z0_norm": 1.0, "z0_squared_norm": 1.0, "n_classes": 100}
            for seed in range(seeds)
            for tau, level, energy in stops
        )
        .astype({"domain": "string", "tau": "Int64", "energy": float})
        .assign(relative_euclidean=lambda rows: rows["euclidean"])
    )


def verdict_of(table: pd.DataFrame) -> dict[str, str]:
    whole = judge(table).query(f"reading == '{claims.WHOLE}'")
    return dict(zip(whole["measure"], whole["verdict"], strict=True))


def test_claims_that_are_true_are_supported():
    assert verdict_of(sweep()) == dict.fromkeys(claims.CLAIMS, SUPPORTED)


def test_effects_are_changes_and_heights_relative_to_the_features_before():
    table = sweep(noise=0).assign(z0_norm=2.0, z0_squared_norm=4.0)
    judged = judge(table).set_index(["measure", "reading"])["effect"]
    assert judged["euclidean", claims.WHOLE] == pytest.approx(2 * 0.98)
    assert judged["cosine", claims.PROBED] == pytest.approx(-0.5 * 0.88)
    for measure, scale in {"dot": 4, "norm": 2}.items():
        thirds = [
            np.mean([TRUE[measure](e) for e in part]) for part in np.split(np.array(LEVELS), 3)
        ]
        height = (thirds[1] - max(thirds[0], thirds[2])) / scale
        assert judged[measure, claims.WHOLE] == pytest.approx(height)


@pytest.mark.parametrize(
    ("measure", "curve", "verdict", "note"),
    [
        ("euclidean", lambda e: 0.5, UNDECIDED, ""),
        ("euclidean", lambda e: -e, CONTRADICTED, ""),
        ("euclidean", lambda e: e * (1.3 - e), UNDECIDED, "associated"),
        ("euclidean", lambda e: 1 - math.exp(-9 * e), SUPPORTED, ""),
        ("cosine", lambda e: e, CONTRADICTED, ""),
        ("cosine", lambda e: (e - 0.7) ** 2, UNDECIDED, "associated"),
        ("dot", lambda e: e, UNDECIDED, "outside the middle"),
        ("dot", lambda e: -e * (1 - e), CONTRADICTED, ""),
        (
            "norm",
            lambda e: 0.3 * (0.45 < e < 0.55) + 5 * e**9,
            UNDECIDED,
            "outside the middle",
        ),
        ("test_accuracy", lambda e: 0.8 - e / 10, CONTRADICTED, ""),
        ("test_accuracy", lambda e: 0.8 + e / 10, CONTRADICTED, ""),
        (
            "test_accuracy",
            lambda e: 0.8 + min(e, 0.9) / 10 - (e > 0.95),
            UNDECIDED,
            "outside the middle",
        ),
    ],
)
def test_claims_that_are_not_true_are_not_supported(measure: str, curve, verdict: str, note: str):
    judged = judge(sweep(**{measure: curve})).query(f"reading == '{claims.WHOLE}'")
    found = judged.set_index("measure").loc[measure]
    assert found["verdict"] == verdict
    assert note in found["note"] if note else not found["note"]


def test_fewer_than_ten_seeds_decide_nothing():
    assert set(verdict_of(sweep(seeds=9)).values()) == {UNDECIDED}
    assert set(verdict_of(sweep(seeds=1)).values()) == {UNDECIDED}


@pytest.mark.parametrize("outcome", ["diverged", "collapsed", "failed", "unreached"])
def test_level_counts_only_if_every_seed_has_a_run_that_is_done(outcome: str):
    table = sweep()
    lost = (table["seed"] == 2) & (table["energy"] == 0.5)
    changed = table.assign(outcome=table["outcome"].mask(lost, outcome)).assign(
        dot=table["dot"].mask(lost)
    )
    without = table[table["energy"] != 0.5]
    expected, got = judge(without), judge(changed)
    assert got["effect"].tolist() == pytest.approx(expected["effect"].tolist())
    assert got["p_for"].notna().all()
    three = (table["seed"] == 2) & table["energy"].isin([0.1, 0.5, 0.9])
    changed = table.assign(outcome=table["outcome"].mask(three, outcome))
    many = judge(changed).query(f"reading == '{claims.WHOLE}'")
    assert set(many["verdict"]) == {UNDECIDED}
    assert many["note"].str.contains("dropped: energy 0.1, energy 0.5, energy 0.9").all()


def test_several_settings_make_a_claim_harder_to_hold():
    weak = sweep(euclidean=lambda e: 0, noise=1)
    tables = [weak, *(sweep(f"flat {n}", euclidean=lambda e: 0.5) for n in range(4))]
    rows = [judge(each).query("measure == 'euclidean'") for each in (weak, pd.concat(tables))]
    alone, among = (each[each["reading"] == claims.WHOLE].iloc[0] for each in rows)
    for p in ("p_for", "p_against"):
        assert among[p] == alone[p] == alone[f"{p} adjusted"]
        assert among[f"{p} adjusted"] > among[p]


def test_series_that_are_not_judged_do_not_count_in_the_adjustment():
    judged = judge(pd.concat([sweep("ten"), sweep("two", seeds=2)])).set_index("series")
    ten, two = (judged.loc[name].set_index(["measure", "reading"]) for name in ("ten", "two"))
    whole = ten.xs(claims.WHOLE, level="reading")
    assert whole["p_for adjusted"].tolist() == whole["p_for"].tolist()
    assert two["p_for adjusted"].isna().all()


def test_every_series_is_judged_alone_but_for_the_adjustment():
    shown = verdicts(pd.concat([sweep("good"), sweep("bad", euclidean=lambda e: -e)]))
    grows = claims.CLAIMS["euclidean"]
    assert shown.loc["good", grows].startswith("supported (2")
    assert shown.loc["bad", grows].startswith("contradicted (-0.98")
    assert shown["seeds"].tolist() == [10, 10]


def test_probed_heads_alone_have_no_verdict():
    table = sweep()
    fresh = table["tau"] == 0
    table.loc[fresh, "relative_euclidean"] = 0.1  # a head that was never probed moves features less
    judged = judge(table).query("measure == 'euclidean'").set_index("reading")
    assert judged.loc[claims.PROBED, "effect"] > judged.loc[claims.WHOLE, "effect"]
    assert judged.loc[claims.PROBED, "verdict"] == ""


def test_measure_that_was_not_recorded_is_left_out_and_the_others_are_judged():
    judged = judge(sweep().drop(columns="cosine").assign(norm=math.nan))
    assert set(judged["measure"]) == {"euclidean", "dot", "test_accuracy"}


def test_accuracy_may_be_that_of_other_domains():
    table = sweep().assign(ood_accuracy=lambda rows: 1 - rows["aie"] / 10)
    judged = judge(table, accuracy="ood_accuracy").set_index("measure")
    assert judged.loc["test_accuracy", "verdict"] == CONTRADICTED
