"""Verdicts: what holds, what does not, and what is not decided, on tables whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest

from taskhead.report import claims
from taskhead.report.claims import judge, verdicts

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
TRUE = {
    "euclidean": lambda e: 2 * e,
    "cosine": lambda e: 1 - e / 2,
    "dot": lambda e: e * (1 - e),
    "norm": lambda e: e * (1.1 - e),
    "val_accuracy": lambda e: 0.9 - (e - 0.5) ** 2,
    "test_accuracy": lambda e: 0.9 - (e - 0.5) ** 2,
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
    return pd.DataFrame(
        {"setting": setting, "domain": domain, "seed": seed, "tau": tau, "energy": level}
        | {"outcome": "done", "aie": energy}
        | {name: curve(energy) + noise * rng.normal() for name, curve in (TRUE | other).items()}
        for seed in range(seeds)
        for tau, level, energy in stops
    ).astype({"domain": "string", "tau": "Int64", "energy": float})


def verdict_of(table: pd.DataFrame) -> dict[str, str]:
    whole = judge(table).query(f"reading == '{claims.WHOLE}'")
    return dict(zip(whole["measure"], whole["verdict"], strict=True))


def test_claims_that_are_true_hold():
    assert verdict_of(sweep()) == dict.fromkeys(claims.CLAIMS, "holds")


def test_effects_are_slopes_and_heights():
    judged = judge(sweep(noise=0)).set_index(["measure", "reading"])
    assert judged.loc[("euclidean", claims.WHOLE), "effect"] == pytest.approx(2)
    assert judged.loc[("cosine", claims.PROBED), "effect"] == pytest.approx(-0.5)
    thirds = [np.mean([TRUE["dot"](e) for e in part]) for part in np.split(np.array(LEVELS), 3)]
    height = judged.loc[("dot", claims.WHOLE), "effect"]
    assert height == pytest.approx(thirds[1] - max(thirds[0], thirds[2]))


@pytest.mark.parametrize(
    ("measure", "curve", "verdict"),
    [
        ("euclidean", lambda e: 0.5, "not shown"),
        ("euclidean", lambda e: -e, "not shown"),
        ("euclidean", lambda e: e * (1.3 - e), "associated"),
        ("euclidean", lambda e: 1 - math.exp(-9 * e), "holds"),
        ("cosine", lambda e: e, "not shown"),
        ("cosine", lambda e: (e - 0.7) ** 2, "associated"),
        ("dot", lambda e: e, "not decided"),
        ("dot", lambda e: -e * (1 - e), "not decided"),
        ("norm", lambda e: 0.3 * (0.45 < e < 0.55) + 5 * e**9, "not decided"),
        ("test_accuracy", lambda e: 0.8 - e / 10, "not decided"),
    ],
)
def test_claims_that_are_not_true_do_not_hold(measure: str, curve, verdict: str):
    assert verdict_of(sweep(**{measure: curve}))[measure] == verdict


def test_flat_curves_hold_about_as_often_as_the_level_says():
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        table = sweep().assign(euclidean=lambda rows, rng=rng: rng.normal(size=len(rows)))
        held += verdict_of(table)["euclidean"] in ("holds", "associated")
    assert held <= 8


def test_fewer_than_ten_seeds_decide_nothing():
    assert set(verdict_of(sweep(seeds=9)).values()) == {"not decided"}
    assert set(verdict_of(sweep(seeds=1)).values()) == {"not decided"}


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
    assert got["note"].str.contains("energy 0.5").all()
    three = (table["seed"] == 2) & table["energy"].isin([0.1, 0.5, 0.9])
    changed = table.assign(outcome=table["outcome"].mask(three, outcome))
    assert set(verdict_of(changed).values()) == {"not decided"}


def test_several_settings_make_a_claim_harder_to_hold():
    weak = sweep(euclidean=lambda e: 0, noise=1)
    tables = [weak, *(sweep(f"flat {n}", euclidean=lambda e: 0.5) for n in range(4))]
    rows = [judge(each).query("measure == 'euclidean'") for each in (weak, pd.concat(tables))]
    alone, among = (each[each["reading"] == claims.WHOLE].iloc[0] for each in rows)
    assert among["p"] == alone["p"] == alone["p adjusted"]
    assert among["p adjusted"] > among["p"]


def test_series_that_are_not_judged_do_not_count_in_the_adjustment():
    judged = judge(pd.concat([sweep("ten"), sweep("two", seeds=2)])).set_index("series")
    ten, two = (judged.loc[name].set_index(["measure", "reading"]) for name in ("ten", "two"))
    whole = ten.xs(claims.WHOLE, level="reading")
    assert whole["p adjusted"].tolist() == whole["p"].tolist()
    assert two["p adjusted"].isna().all()


def test_every_series_is_judged_alone_but_for_the_adjustment():
    shown = verdicts(pd.concat([sweep("good"), sweep("bad", euclidean=lambda e: -e)]))
    assert shown.loc["good", "euclidean grows"].startswith("holds (")
    assert shown.loc["bad", "euclidean grows"].startswith("not shown (-0.99")
    assert shown["seeds"].tolist() == [10, 10]


def test_probed_heads_alone_have_no_verdict():
    table = sweep()
    fresh = table["tau"] == 0
    table.loc[fresh, "euclidean"] = 0.1  # a head that was never probed moves features less
    judged = judge(table).query("measure == 'euclidean'").set_index("reading")
    assert judged.loc[claims.PROBED, "effect"] > judged.loc[claims.WHOLE, "effect"]
    assert judged.loc[claims.PROBED, "verdict"] == ""


def test_measure_that_was_not_recorded_is_left_out_and_the_others_are_judged():
    judged = judge(sweep().drop(columns="cosine").assign(norm=math.nan))
    assert set(judged["measure"]) == {"euclidean", "dot", "test_accuracy"}


def test_accuracy_may_be_that_of_other_domains():
    table = sweep().assign(ood_accuracy=lambda rows: 1 - rows["aie"] / 10)
    judged = judge(table, accuracy="ood_accuracy").set_index("measure")
    assert judged.loc["test_accuracy", "verdict"] == "not decided"
