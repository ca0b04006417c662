"""Powers of what was varied: known ones are found, and runs that are not done do not count."""

import numpy as np
import pandas as pd
import pytest

from taskhead.report.effects import powers
from taskhead.report.words import what_acts


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.uniform(0.1, 2, (60, 3)), columns=["aie", "last_layer_norm", "ft_lr"])
    rows["euclidean"] = 3 * rows["aie"] ** 0.5 / rows["last_layer_norm"] * rows["ft_lr"] ** 2
    return rows.assign(seed=np.arange(60) % 3, outcome="done", reason=None)


def test_powers_of_a_product_are_found_exactly(table: pd.DataFrame):
    found = powers(table)
    assert found["power"].dropna().tolist() == pytest.approx([0.5, -1, 2])
    assert found["half width"].dropna().tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.loc["all three", "variance explained"] == pytest.approx(1)
    assert found["variance explained"].drop("all three").between(0, 0.999).all()


def test_runs_that_are_not_done_or_have_no_head_do_not_count(table: pd.DataFrame):
    table.loc[0, ["outcome", "euclidean"]] = ["diverged", np.nan]
    table.loc[1, ["last_layer_norm", "euclidean"]] = [0, 100.0]
    assert powers(table)["power"].dropna().tolist() == pytest.approx([0.5, -1, 2])


def test_intervals_over_seeds_cover_the_truth_under_noise(table: pd.DataFrame):
    noise = np.random.default_rng(1).normal(0, 0.1, len(table))
    found = powers(table.assign(euclidean=table["euclidean"] * np.exp(noise))).dropna()
    assert (abs(found["power"] - [0.5, -1, 2]) < found["half width"]).all()


@pytest.mark.parametrize(
    ("energy", "norm", "closest"),
    [
        (1, -1, "their ratio"),
        (1, 1, "their product"),
        (1, -0.25, "the energy alone"),
        (0.25, -1, "the head norm alone"),
    ],
)
def test_words_say_which_simple_law_is_closest(energy, norm, closest: str, table: pd.DataFrame):
    distance = table["aie"] ** energy * table["last_layer_norm"] ** norm * table["ft_lr"]
    said = what_acts(table.assign(euclidean=distance, setting="digits"))
    assert (
        f"power {energy:.2f} ± 0.00, and with the norm of the head to the power {norm:.2f}" in said
    )
    assert f"closest to {closest}." in said
    assert said.endswith("they explain 100 percent.")
