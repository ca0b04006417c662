"""Choices on validation accuracy alone: rates, lengths, and where to stop probing."""

import math

import pandas as pd
import pytest
from test_claims import sweep

from taskhead.report.choices import accuracy_by_domain, chosen_stop, smallest_sufficient


def test_choice_is_made_on_validation_and_compared_on_test_with_both_ends():
    ends = chosen_stop(sweep(noise=0.0001))
    assert ends["chosen"].tolist() == ["energy 0.5"] * 2
    assert ends["compared with"].tolist() == ["no probing", "tau = 400"]
    assert ends["difference"].tolist() == pytest.approx([0.25, 0.48**2], abs=0.001)
    misled = chosen_stop(sweep(noise=0, val_accuracy=lambda e: e))
    assert misled["chosen"].tolist() == ["no probing"] * 2
    assert misled["difference"].iloc[0] == 0


def test_choice_may_be_compared_on_other_domains():
    table = sweep(noise=0).assign(ood_accuracy=lambda rows: 1 - rows["aie"])
    ends = chosen_stop(table, judged_on="ood_accuracy")
    assert ends["difference"].tolist() == pytest.approx([0.5, -0.48])


def test_table_without_a_stop_at_which_all_seeds_are_done_is_refused():
    table = sweep().assign(outcome="diverged")
    with pytest.raises(ValueError, match="110 diverged"):
        chosen_stop(table)


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
    assert tested.loc[("photo", "no probing")].to_dict() == pytest.approx(
        {"aie": 0.8, "photo": 0.7, "sketch": 0.3, "cartoon": 0.4}
    )
    sketch = tested.loc[("sketch", "no probing"), ["photo", "sketch"]]
    assert sketch.tolist() == pytest.approx([0.1, 0.4])


def test_accuracies_of_a_setting_without_domains_stand_together():
    (tested,) = accuracy_by_domain(sweep(noise=0)).drop(columns="aie").to_numpy().T
    assert len(tested) == 11


def rates(accuracy: dict[float, list[float]], lost: float | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ft_lr": lr,
            "seed": seed,
            "tau": 0,
            "outcome": "collapsed" if lr == lost and seed == 0 else "done",
            "last_val_accuracy": math.nan if lr == lost and seed == 0 else value,
        }
        for lr, values in accuracy.items()
        for seed, value in enumerate(values)
    )


@pytest.mark.parametrize(
    ("accuracy", "lost", "chosen"),
    [
        ({0.01: [0.5, 0.5], 0.02: [0.795, 0.795], 0.03: [0.8, 0.8]}, None, 0.02),
        ({0.01: [0.5, 0.5], 0.02: [0.78, 0.78], 0.03: [0.8, 0.8]}, None, 0.03),
        ({0.01: [0.9, 0.7], 0.02: [0.8, 0.8]}, None, 0.01),
        ({0.01: [0.8, 0.8], 0.02: [0.7, 0.7]}, 0.01, 0.02),
    ],
)
def test_smallest_value_within_a_point_of_the_best_is_chosen_if_all_its_runs_are_done(
    accuracy, lost, chosen: float
):
    choice = smallest_sufficient(rates(accuracy, lost), "ft_lr")
    assert choice.index[choice["chosen"]].tolist() == [chosen]
    assert choice["not done"].sum() == (lost is not None)
    assert choice["runs"].tolist() == [len(values) for values in accuracy.values()]


def test_unknown_column_is_named():
    with pytest.raises(ValueError, match=r"'lr'.*ft_lr"):
        smallest_sufficient(rates({0.1: [0.5]}), "lr")
