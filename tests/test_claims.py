"""Verdicts: what holds, what does not, and what is not shown, on tables whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest

from taskhead.report.claims import (
    accuracy_by_domain,
    best_in_between,
    by_series,
    feature_trends,
    interval,
    smallest_sufficient,
    verdicts,
)

TAUS = [0, 1, 4, 16, 64]
ENERGY = dict(zip(TAUS, [0.9, 0.7, 0.5, 0.3, 0.1], strict=True))
MEASURES = ["euclidean", "cosine", "dot", "norm"]


def table(noise: float = 0.01, *, seeds: int = 5, **curves) -> pd.DataFrame:
    """Return an energy sweep in which each measure is a function of energy, plus noise."""
    rng = np.random.default_rng(0)
    claimed = {
        "euclidean": lambda e: 2 * e,
        "cosine": lambda e: 1 - e / 2,
        "dot": lambda e: e * (1 - e),
        "norm": lambda e: e * (1.2 - e),
        "val_accuracy": lambda e: 0.9 - (e - 0.5) ** 2,
        "test_accuracy": lambda e: 0.9 - (e - 0.5) ** 2,
    } | curves
    return pd.DataFrame(
        {"seed": seed, "tau": tau, "outcome": "done", "aie": energy}
        | {name: curve(energy) + noise * rng.normal() for name, curve in claimed.items()}
        for seed in range(seeds)
        for tau, energy in ENERGY.items()
    )


def four(data: pd.DataFrame) -> list[str]:
    return feature_trends(data)["verdict"].loc[MEASURES].tolist()


def test_interval_is_students():
    mean, half = interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-6)
    assert interval([2.0])[0] == 2.0
    assert math.isnan(interval([2.0])[1])


def test_claimed_trends_hold():
    trends = feature_trends(table())
    assert four(table()) == ["holds"] * 4
    assert trends.loc["dot", "AIE at peak"] == pytest.approx(0.5)
    assert trends.loc["euclidean", "at least energy"] < trends.loc["euclidean", "at peak"]


def test_opposite_trends_are_not_shown():
    opposite = table(
        euclidean=lambda e: -e, cosine=lambda e: e, dot=lambda e: (e - 0.5) ** 2, norm=lambda e: -e
    )
    assert four(opposite) == ["not shown"] * 4


@pytest.mark.parametrize("curve", [lambda e: e, lambda e: -e], ids=["rise only", "fall only"])
def test_half_of_a_rise_and_fall_is_not_the_claim(curve):
    assert four(table(dot=curve, norm=curve)) == ["holds", "holds", "not shown", "not shown"]


def test_noise_and_a_single_seed_show_nothing():
    flat = dict.fromkeys(MEASURES, lambda e: 0.0)
    assert four(table(noise=1.0, **flat)) == ["not shown"] * 4
    assert four(table(seeds=1)) == ["not shown"] * 4


def test_a_curve_that_only_saturates_seldom_passes_for_a_rise_and_fall():
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(20):
        data = table(noise=0)
        data["dot"] = np.minimum(data["aie"], 0.5) + 0.1 * rng.normal(size=len(data))
        passed += feature_trends(data).loc["dot", "verdict"] == "holds"
    assert passed <= 1


def test_no_seed_chooses_the_peak_it_is_judged_by():
    data = table(noise=0, seeds=2, dot=lambda e: 0.0)
    for seed, tau in ((0, 1), (1, 4)):
        data.loc[(data["seed"] == seed) & (data["tau"] == tau), "dot"] = 1.0
    assert feature_trends(data).loc["dot", "statistic"] == 0


def sweep(setting: str, domain: str | None = None, **curves) -> pd.DataFrame:
    data = table(**curves).assign(setting=setting, domain=domain)
    return data.astype({"setting": "string", "domain": "string"})


def test_series_are_settings_and_domains_in_the_order_of_the_table():
    tables = [sweep("pacs", "sketch"), sweep("digits"), sweep("pacs", "photo")]
    series = by_series(pd.concat(tables))
    assert list(series) == ["pacs (sketch)", "digits", "pacs (photo)"]
    pd.testing.assert_frame_equal(series["pacs (sketch)"], tables[0])


def test_runs_that_differ_in_more_than_seed_and_tau_are_series_of_their_own():
    parts = [
        sweep("digits").assign(eps=eps, hidden=hidden) for eps, hidden in ((0.0, ""), (0.1, "16"))
    ]
    series = by_series(pd.concat([*parts, sweep("pacs", "photo").assign(eps=0.2, hidden="")]))
    names = ["digits, eps = 0.0, hidden = none", "digits, eps = 0.1, hidden = 16", "pacs (photo)"]
    assert list(series) == names
    assert [len(rows) for rows in series.values()] == [25, 25, 25]


def test_every_series_is_judged_alone():
    together = verdicts(pd.concat([sweep("good"), sweep("bad", euclidean=lambda e: -e)]))
    assert together.loc["good", "euclidean grows"].startswith("holds (1 ")
    assert together.loc["bad", "euclidean grows"].startswith("not shown (-1 ")
    assert together.loc["bad", "cosine falls"].startswith("holds")
    assert together["seeds"].tolist() == [5, 5]


def test_seeds_that_agree_have_an_interval_of_zero():
    assert verdicts(sweep("one")).loc["one", "euclidean grows"] == "holds (1 ± 0)"


def test_optimum_may_be_judged_on_other_domains():
    data = table(noise=0.001).assign(ood_accuracy=lambda rows: 1 - rows["aie"])
    ends = best_in_between(data, judged_on="ood_accuracy")
    assert ends["chosen tau"].tolist() == [4, 4]
    assert ends["difference"].tolist() == pytest.approx([0.4, -0.4])
    assert ends["verdict"].tolist() == ["holds", "not shown"]


def test_accuracies_stand_under_the_domain_they_were_tested_on():
    data = pd.DataFrame(
        {
            "domain": ["photo", "photo", "sketch"],
            "outcome": "done",
            "tau": [0, 0, 0],
            "aie": [0.9, 0.7, 0.5],
            "test_accuracy": [0.8, 0.6, 0.4],
            "test_accuracy on sketch": [0.2, 0.4, math.nan],
            "test_accuracy on cartoon": [0.3, 0.5, math.nan],
            "test_accuracy on photo": [math.nan, math.nan, 0.1],
        }
    )
    tested = accuracy_by_domain(data)
    assert tested.loc[("photo", 0)].to_dict() == pytest.approx(
        {"aie": 0.8, "photo": 0.7, "sketch": 0.3, "cartoon": 0.4}
    )
    assert tested.loc[("sketch", 0), ["photo", "sketch"]].tolist() == pytest.approx([0.1, 0.4])


def test_accuracies_of_a_setting_without_domains_stand_together():
    runs = sweep("one")
    (tested,) = accuracy_by_domain(runs).drop(columns="aie").to_numpy().T
    assert tested.tolist() == pytest.approx(runs.groupby("tau")["test_accuracy"].mean().tolist())


def test_mild_probing_that_wins_on_both_sides_holds():
    verdict = best_in_between(table(noise=0.001))
    assert verdict["chosen tau"].tolist() == [4, 4]
    assert verdict["compared with tau"].tolist() == [0, 64]
    assert verdict["verdict"].tolist() == ["holds", "holds"]
    assert verdict["difference"].tolist() == pytest.approx([0.16, 0.16], abs=0.005)


def test_choice_is_made_on_validation_and_judged_on_test():
    misled = table(noise=0.001, val_accuracy=lambda e: e)
    verdict = best_in_between(misled)
    assert verdict["chosen tau"].tolist() == [0, 0]
    assert verdict["verdict"].tolist() == ["not shown", "not shown"]
    one_sided = best_in_between(table(noise=0.001, test_accuracy=lambda e: e))
    assert one_sided["verdict"].tolist() == ["not shown", "holds"]


NOT_DONE = pytest.mark.parametrize("outcome", ["diverged", "collapsed", "failed"])


@NOT_DONE
def test_tau_counts_only_if_every_seed_has_a_run_that_is_done(outcome: str):
    data = table()
    lost = (data["seed"] == 2) & (data["tau"] == 64)
    changed = data.assign(
        outcome=data["outcome"].mask(lost, outcome), dot=data["dot"].mask(lost, 9)
    )
    for judge in (feature_trends, best_in_between):
        expected = judge(data[data["tau"] < 64])
        pd.testing.assert_frame_equal(judge(changed), expected)
        pd.testing.assert_frame_equal(judge(data[~lost]), expected)


@NOT_DONE
def test_table_without_a_tau_at_which_all_seeds_are_done_is_refused(outcome: str):
    data = sweep("digits")
    data.loc[data["seed"] == 2, "outcome"] = outcome
    for judge in (feature_trends, best_in_between):
        with pytest.raises(ValueError, match=f"digits .*5 {outcome}"):
            judge(data)


def test_single_tau_shows_nothing():
    assert four(table()[lambda rows: rows["tau"] == 4]) == ["not shown"] * 4


def test_measure_that_was_not_recorded_is_called_so_and_the_others_are_judged():
    without = sweep("one").drop(columns="cosine").assign(norm=math.nan)
    expected = ["holds", "not recorded", "holds", "not recorded"]
    assert four(without) == expected
    shown = verdicts(without).loc["one"]
    assert shown["cosine falls"] == shown["norm rises, then falls"] == "not recorded"


def rates(accuracy: dict[float, list[float]], lost: float | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ft_lr": lr,
            "seed": seed,
            "tau": 0,
            "outcome": "collapsed" if lr == lost and seed == 0 else "done",
            "val_accuracy": math.nan if lr == lost and seed == 0 else value,
        }
        for lr, values in accuracy.items()
        for seed, value in enumerate(values)
    )


def test_smallest_rate_within_one_standard_error_of_the_best_is_chosen():
    accuracy = {0.01: [0.5, 0.5, 0.5], 0.02: [0.78, 0.8, 0.82], 0.03: [0.79, 0.81, 0.83]}
    choice = smallest_sufficient(rates(accuracy), "ft_lr")
    assert choice["chosen"].tolist() == [False, True, False]
    assert choice["runs"].tolist() == [3, 3, 3]
    assert choice.loc[0.02, "standard_error"] == pytest.approx(0.02 / math.sqrt(3))


def test_rate_at_which_a_run_is_not_done_is_not_chosen():
    accuracy = {0.01: [0.5, 0.6], 0.02: [0.9, 0.9]}
    choice = smallest_sufficient(rates(accuracy, lost=0.02), "ft_lr")
    assert choice["not done"].tolist() == [0, 1]
    assert choice["chosen"].tolist() == [True, False]
