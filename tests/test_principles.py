"""Principles: each is judged on tables whose truth is known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_claims import sweep

from taskhead.report import principle_tables, principles, rules
from taskhead.report.rules import Evidence

ANY = Path("any")


def runs(**columns) -> pd.DataFrame:
    """Return one row for each of ten seeds; a function of the noise of a seed gives a column."""
    noise = np.random.default_rng(1).normal(size=rules.SEEDS)
    table = pd.DataFrame({"seed": range(rules.SEEDS), "setting": "one", "outcome": "done"})
    table = table.assign(domain=None, preset="laptop", tau=400, energy=math.nan, hidden="")
    given = {k: v(noise) if callable(v) else v for k, v in columns.items()}
    return table.assign(z0_norm=1.0, z0_squared_norm=1.0, dot=1.0, norm=1.0, euclidean=1.0, **given)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, pd.DataFrame]:
    """Return tables by study, which stand for those on the disk; an unknown one is empty."""
    stored: dict[str, pd.DataFrame] = {}
    monkeypatch.setattr(principles, "read_study", lambda s, _: stored.get(s, pd.DataFrame()))
    return stored


def one(found: principles.Found) -> tuple[str, Evidence]:
    ((series, seeds, evidence),) = found
    assert seeds == rules.SEEDS
    return series, evidence


def supported(evidence: Evidence) -> bool:
    assert not (evidence.p_for <= rules.LEVEL and evidence.p_against <= rules.LEVEL)
    return evidence.p_for <= rules.LEVEL


def test_principles_without_tables_have_no_rows(tables):
    assert set(principles.evidence(ANY, sweep())["claim"]) == {
        "stopping where validation says pays",
        "less energy costs calibration",
    }


def test_stop_of_validation_must_beat_both_ends():
    _, better = one(principles.validation_stops(ANY, sweep()))
    assert supported(better)
    assert better.effect == pytest.approx(0.23, abs=0.02)  # to the nearer end, at energy 0.02
    assert better.note == "validation prefers energy 0.5"
    _, end = one(principles.validation_stops(ANY, sweep(val_accuracy=lambda e: e)))
    assert not supported(end)
    assert end.note == "validation prefers no probing"


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_smoothing_moves_features_if_the_distance_grows_with_it(tables, slope: float):
    parts = [
        runs(eps=eps, ft_eps=0.0, relative_euclidean=lambda n, e=eps: 1 + slope * e + n / 50)
        for eps in (0.0, 0.1, 0.3)
    ]
    tables["label_smoothing"] = pd.concat(parts[1:])
    series, found = one(principles.smoothing_moves(ANY, parts[0]))
    assert series == "one"
    assert found.effect == pytest.approx(slope * 0.3)
    assert supported(found) == (slope > 0)


def test_smoothing_that_validation_prefers_is_compared_with_none(tables):
    accuracies = {0.0: (0.5, 0.6), 0.1: (0.7, 0.64), 0.3: (0.6, 0.9)}  # validation, test
    parts = [
        runs(eps=eps, ft_eps=0.0, val_accuracy=val, test_accuracy=lambda n, t=test: t + n / 1000)
        for eps, (val, test) in accuracies.items()
    ]
    tables["label_smoothing"] = pd.concat(parts[1:])
    _, found = one(principles.smoothing_pays(ANY, parts[0]))
    assert found.effect == pytest.approx(0.04)
    assert found.note == "validation prefers eps = 0.1"


def test_deeper_heads_are_compared_with_linear_ones_at_the_same_energies(tables):
    def at(energy: float, scale: float, hidden: str) -> pd.DataFrame:
        return runs(
            tau=pd.NA,
            energy=energy,
            hidden=hidden,
            aie=energy,
            relative_euclidean=lambda n: scale * energy * (1 + n / 50),
        )

    linear = pd.concat([at(energy, 1.0, "") for energy in (0.2, 0.4, 0.6)])
    tables["head_capacity"] = pd.concat([at(energy, 0.8, "16") for energy in (0.2, 0.4)])
    _, found = one(principles.deep_heads_absorb(ANY, linear))
    assert found.effect == pytest.approx(-0.2)
    assert supported(found)


def test_new_blocks_are_judged_each_at_its_own_probing_time(tables):
    accuracies = {(0, 2): (0.6, 0.60), (0, 8): (0.5, 0.9), (1, 2): (0.5, 0.1), (1, 8): (0.7, 0.65)}
    tables["partial_backbone"] = pd.concat(
        runs(
            reinitialised_blocks=blocks,
            tau=tau,
            val_accuracy=val,
            test_accuracy=lambda n, t=test: t + n / 1000,
        )
        for (blocks, tau), (val, test) in accuracies.items()
    )
    _, found = one(principles.new_blocks_pay(ANY, pd.DataFrame()))
    assert found.effect == pytest.approx(0.05)
    columns = {"probed_epochs": 1.0, "aie": 0.5, "relative_euclidean": 1.0}
    whole = tables["partial_backbone"]
    shown = principle_tables.by_new_blocks(whole.assign(**columns))
    lost = whole["reinitialised_blocks"].eq(1) & whole["seed"].gt(2)
    tables["partial_backbone"] = whole.assign(outcome=whole["outcome"].mask(lost, "diverged"))
    ((_, seeds, _),) = principles.new_blocks_pay(ANY, pd.DataFrame())
    assert seeds == 3
    tables["partial_backbone"] = whole[whole["reinitialised_blocks"] == 1]
    assert not list(principles.new_blocks_pay(ANY, pd.DataFrame()))
    assert shown["gain over no new block"].tolist() == pytest.approx([0, found.effect])
    assert shown["val_accuracy"].tolist() == pytest.approx([0.6, 0.7])


def test_rates_are_compared_with_the_energy_that_validation_prefers(tables):
    common = {"ft_lr": 0.01, "ft_early_lr": math.nan, "optimiser": "sgd"}
    tables["head_rate"] = runs(tau=0, ft_head_lr=0.1, test_accuracy=0.6, **common)
    table = sweep("one")
    series, found = one(principles.mild_beats_rates(ANY, table))
    assert series == "one: head rate x 10"
    assert found.effect == pytest.approx(0.3, abs=0.02)  # 0.9 at energy 0.5


@pytest.mark.parametrize("gain", [0.02, -0.02])
def test_small_heads_are_compared_with_the_usual_one(tables, gain: float):
    tables["initial_head"] = pd.concat(
        runs(tau=0, init_scale=scale, test_accuracy=lambda n, g=each: 0.5 + g + n / 500)
        for scale, each in {0.0: 0.3, 0.1: gain, 10.0: -0.3}.items()
    )
    usual = runs(tau=0, init_scale=1.0, test_accuracy=0.5)
    other = runs(tau=400, init_scale=1.0, test_accuracy=0.9)
    series, found = one(principles.small_heads_pay(ANY, pd.concat([usual, other])))
    assert series == "one"
    assert found.effect == pytest.approx(gain, abs=2e-3)
    assert supported(found) == (gain > 0)


def test_power_of_the_norm_is_that_of_the_design(tables):
    rng = np.random.default_rng(0)
    parts = []
    for energy in (0.2, 0.4, 0.8):
        for norm in (1.0, 3.0):
            for rate in (0.1, 0.2):
                distance = energy * norm**-0.5 * rate * np.exp(rng.normal(size=10) / 50)
                parts.append(
                    runs(aie=energy, last_layer_norm=norm, ft_lr=rate).assign(euclidean=distance)
                )
    tables["crossed"] = pd.concat(parts)
    _, found = one(principles.large_heads_hold(ANY, pd.DataFrame()))
    assert found.effect == pytest.approx(-0.5, abs=0.03)
    assert supported(found)


def test_best_energy_is_sure_where_every_seed_agrees_and_open_where_accuracies_are_noise():
    steps = sweep(noise=0.002).assign(probe_val_accuracy=0.3)
    (sure,) = principle_tables.best_energies(steps).to_dict("records")
    assert sure["best energy"] == sure["from"] == sure["to"] == pytest.approx(0.5, abs=0.02)
    assert sure["accuracy, longest probed head"] == pytest.approx(0.3)
    assert sure["energy, no probing"] == steps.loc[steps["tau"] == 0, "aie"].mean()
    noise = np.random.default_rng(2).normal(size=len(steps))
    (open_,) = principle_tables.best_energies(steps.assign(val_accuracy=noise)).to_dict("records")
    assert open_["from"] < open_["best energy"] < open_["to"]
    assert open_["to"] - open_["from"] > 0.5


def test_stop_at_which_seeds_are_lost_is_not_the_one_that_validation_prefers(tables):
    early = runs(reinitialised_blocks=0, tau=2, val_accuracy=0.80, test_accuracy=0.7)
    late = runs(reinitialised_blocks=0, tau=8, val_accuracy=0.85, test_accuracy=0.7)
    late.loc[1:, "outcome"] = "diverged"
    assert principles.best_stop(pd.concat([early, late])) == "tau = 2"
    assert principles.best_stop(late) == "tau = 8"


def test_smoothing_at_which_a_seed_is_lost_does_not_count(tables):
    parts = [
        runs(eps=eps, ft_eps=0.0, relative_euclidean=lambda n, e=eps: 1 + 2 * e + n / 50)
        for eps in (0.0, 0.1, 0.3, 0.5)
    ]
    parts[-1].loc[0, "outcome"] = "diverged"
    tables["label_smoothing"] = pd.concat(parts[1:])
    _, found = one(principles.smoothing_moves(ANY, parts[0]))
    assert found.effect == pytest.approx(0.6)
