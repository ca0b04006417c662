"""The rate of probing from the data beside constant ones: steps down to each level."""

import math

import pandas as pd

from taskhead.report.probing_rates import in_short, steps_to_levels

STEPS = {"auto": [40, 10], "0.1": [30, 5], "0.2": [10, 20], "0.4": [1, 1]}


def table() -> pd.DataFrame:
    """Return two seeds and two levels; at 0.4 one seed does not come down to either."""
    rows = [
        {
            "setting": "a",
            "domain": None,
            "seed": seed,
            "hp_lr": rate,
            "tau": math.nan,
            "energy": level,
            "outcome": "unreached" if (rate, seed) == ("0.4", 1) else "done",
            "probed_steps": steps + seed,
        }
        for rate, each in STEPS.items()
        for level, steps in zip([0.2, 0.6], each, strict=True)
        for seed in (0, 1)
    ]
    end = {**rows[0], "tau": 9, "energy": math.nan, "probed_steps": 1}
    return pd.DataFrame([*rows, end])


def test_each_level_is_held_against_the_constant_rate_that_is_first_there_for_all_seeds():
    found = steps_to_levels(table())
    assert found["energy"].tolist() == [0.2, 0.6]
    assert found["its rate"].tolist() == ["0.2", "0.1"]
    assert found["ratio"].tolist() == [40.5 / 10.5, 10.5 / 5.5]
    short = in_short(found).loc["a"]
    assert short.tolist() == [2, 1, 10.5 / 5.5, 40.5 / 10.5]
