"""Sentences say what their tables show, and no more."""

import pandas as pd
import pytest
from test_claims import sweep

from taskhead import words
from taskhead.settings import DIGITS


def test_trends_name_what_holds_and_what_is_not_shown():
    said = words.trends(pd.concat([sweep("one"), sweep("two", dot=lambda e: e)]))
    one, two = said.splitlines()
    assert one.startswith(
        "- **one:** Holds: the Euclidean distance grows; cosine similarity falls;"
    )
    assert "Not shown" not in one
    assert two.endswith("Not shown: the dot product rises and then falls.")


def test_optimum_in_between_is_said_with_both_differences():
    said = words.optimum(sweep("one", noise=0))
    assert said.startswith("- **one:** The probing time with the best mean validation accuracy is")
    assert "tau = 4" in said
    assert "Against tau = 0, it gains 16.0" in said
    assert "in between **holds** here." in said


def test_difference_that_is_not_shown_is_called_so():
    said = words.optimum(sweep("one", noise=0.001, test_accuracy=lambda e: 0.5))
    assert said.count("which is not shown to differ from zero") == 2
    assert "is **not shown** here." in said


def test_choice_at_an_end_of_the_grid_is_no_gain():
    said = words.optimum(sweep("one", noise=0.001, val_accuracy=lambda e: e))
    assert "It is an end of the grid itself: no gain over tau = 0." in said


def test_series_without_the_column_are_left_out():
    tables = [sweep("one").assign(ood_accuracy=float("nan")), sweep("two").assign(ood_accuracy=0.5)]
    said = words.optimum(pd.concat(tables), judged_on="ood_accuracy")
    assert said.startswith("- **two:**")
    assert "one" not in said.split(":**")[0]


def test_description_counts_diverged_runs():
    runs = sweep("digits").assign(
        backbone="small_convnet", image_size=8, train_per_class=10, hp_lr=0.05, ft_lr=0.01
    )
    runs = runs.assign(ft_epochs=60, data="-", weights="DEFAULT")
    runs.loc[3, "status"] = "diverged"
    said = words.describe(runs, DIGITS)
    assert said.endswith("1 of 25 runs diverged.")
    assert "finetuning rate 0.01 (of the finetuning rates" in said
    assert "(given by the user)" in words.describe(runs.assign(ft_lr=0.5), DIGITS)
    assert "not searched for this one" in words.describe(runs.assign(backbone="other"), DIGITS)
    assert "Given: data photos-12, weights V1." in words.describe(
        runs.assign(data="photos-12", weights="V1"), DIGITS
    )


@pytest.mark.parametrize(("seeds", "spread"), [([0, 1], "0.200 ± "), ([0], "0.100 of their norm")])
def test_drift_is_said_relative_to_the_norm(seeds: list[int], spread: str):
    runs = pd.DataFrame(
        {
            "seed": seed,
            "tau": tau,
            "bn_mode": mode,
            "euclidean": (1 + 2 * seed) * (mode == "train") * (tau > 0),
            "z0_norm": 10.0,
            "aie": 0.5,
            "probe_val_accuracy": 0.25,
        }
        for seed in seeds
        for tau in (0, 1, 4)
        for mode in ("eval", "train")
    )
    assert spread in words.drift(runs)
    assert "the energy is 0.500" in words.drift(runs)
