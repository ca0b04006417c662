"""Sentences and captions say what their tables show, and no more."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from test_claims import sweep

from taskhead.experiments.settings import load_setting
from taskhead.report import captions, words
from taskhead.report.claims import CLAIMS

SESSION = {"preset": "laptop", "started": "2025-01-02T03:04:05", "device": "a CPU", "rows": 25}
SESSION |= {"taskhead": "0.1.0", "libraries": {"torch": "2.5"}}


def numbers(said: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", said)]


def with_outcomes(outcomes: dict[tuple[int, float], str], **columns) -> pd.DataFrame:
    """Return a sweep of 10 seeds in which these runs, by seed and AIE, are not done."""
    runs = sweep("digits").assign(preset="laptop", **columns)
    for (seed, aie), outcome in outcomes.items():
        runs.loc[(runs["seed"] == seed) & (runs["aie"] == aie), "outcome"] = outcome
    return runs


def test_trends_name_what_holds_and_what_is_not_decided():
    two = sweep("two", dot=lambda e: e, euclidean=lambda e: -e)
    one, two = words.trends(pd.concat([sweep("one"), two])).splitlines()
    assert all(name in one for name in CLAIMS.values())
    assert "Supported" in one
    assert "decided" not in one
    assert re.search(f"Contradicted: {CLAIMS['euclidean']}", two)
    assert re.search(f"Not decided: {CLAIMS['dot']} .*outside the middle third", two)
    assert "With 3 seeds nothing is decided" in words.trends(sweep(seeds=3))


def test_optimum_is_compared_with_both_ends():
    text = words.optimum(sweep("one", noise=0.0001))
    assert text.startswith("- **one:** Validation accuracy is best at energy 0.5 (AIE 0.50)")
    assert re.findall(r"(\d+\.\d) ± \S+ points higher", text) == ["25.0", "23.0"]
    assert "than with no probing" not in words.optimum(sweep(noise=0, val_accuracy=lambda e: e))


def test_series_without_the_column_are_left_out():
    two = sweep("two").assign(ood_accuracy=0.5)
    partly = two.assign(setting="one", ood_accuracy=two["ood_accuracy"].mask(two["aie"] == 0.5))
    for one in (sweep("one"), sweep("one").assign(ood_accuracy=float("nan")), partly):
        said = words.optimum(pd.concat([one, two]), judged_on="ood_accuracy")
        assert re.findall(r"\*\*(\w+):\*\*", said) == ["two"]
        assert "not seen is 0.0" in said
    assert words.optimum(sweep("one"), judged_on="ood_accuracy") == ""


def test_description_says_what_the_runs_were_given():
    runs = sweep("digits").assign(
        backbone="small_convnet", image_size=8, train_per_class=10, hp_lr="auto", ft_lr=0.005
    )
    runs = runs.assign(ft_epochs=60, data=None, weights=None, probed_epochs=3, probed_lr=0.1)
    digits = load_setting("digits")
    plain = words.describe(runs, digits)
    assert "rate search" in plain
    assert "Given" not in plain
    assert "Target" not in plain
    assert "rate search" not in words.describe(runs.assign(ft_lr=0.5), digits)
    assert "small_convnet" in words.describe(runs.assign(backbone="other"), digits)
    given = words.describe(runs.assign(data="photos-12", weights="V1", domain="photo"), digits)
    for value in ("photos-12", "V1", "photo,"):
        assert value in given
    runs.loc[3, "outcome"] = "diverged"
    assert words.left_out(runs) in words.describe(runs, digits)


def test_sweep_whose_energies_hardly_differ_is_warned_of_with_the_reason():
    wide = sweep("digits").assign(
        probed_epochs=lambda rows: 100 * (1 - rows["aie"]), probed_lr=1e-4
    )
    assert words.small_range(wide) == ""
    narrow = wide[wide["aie"].between(0.65, 0.82)]
    assert "span 0.100 only" in words.small_range(narrow)
    assert "30 epochs" in words.small_range(narrow)
    assert "0.0001" in words.small_range(narrow)
    assert words.small_range(wide.assign(outcome="failed")) == ""


def test_nothing_is_said_of_a_table_whose_runs_are_all_done():
    assert words.left_out(sweep("digits")) == ""


@pytest.mark.parametrize(
    ("outcomes", "columns", "expected"),
    [
        (
            {(0, 0.02): "collapsed"},
            {},
            "1 of 110 runs left out: collapsed at tau = 400 (1 of 10 seeds)",
        ),
        (
            {
                (0, 0.2): "collapsed",
                (3, 0.2): "collapsed",
                (1, 1): "diverged",
                (2, 0.2): "diverged",
            },
            {"eps": 0.1, "hidden": ""},
            "4 of 110 runs left out: collapsed at energy 0.2 (2 of 10 seeds), "
            "diverged at energy 0.2, no probing (1 of 10 seeds each)",
        ),
        (
            {(seed, 1): "failed" for seed in range(10)},
            {},
            "10 of 110 runs left out: failed at no probing (10 of 10 seeds)",
        ),
    ],
)
def test_runs_left_out_are_counted_where_they_are(outcomes, columns, expected: str):
    assert words.left_out(with_outcomes(outcomes, **columns)) == expected


def test_what_varies_beside_tau_is_named_where_runs_are_left_out():
    hard = with_outcomes({}, eps=0.0, hidden="")
    smooth = with_outcomes({(1, 0.3): "collapsed"}, eps=0.1, hidden="8")
    assert words.left_out(pd.concat([hard, smooth])) == (
        "1 of 220 runs left out: collapsed at energy 0.3, eps = 0.1, hidden layers: 8 "
        "(1 of 10 seeds)"
    )


def test_errors_of_the_lazy_limit_are_told_with_slope_and_bound():
    norms = pd.DataFrame({"head_norm": [2.0, 10.0, 10.0, 40.0]})
    falls = {"euclidean": 2.0, "dot_change": 1.5, "squared_norm_change": 1.0}
    errors = {f"{name}_error": norms["head_norm"] ** -fall for name, fall in falls.items()}
    bounds = {name.replace("error", "bound"): 7 * each for name, each in errors.items()}
    said = words.lazy_errors(norms.assign(**errors, **bounds))
    assert numbers(said) == [-2, -1.5, -1]
    assert said.count("7 times as high") == 3


def test_run_of_several_rows_is_one_run():
    runs = with_outcomes({(0, 0.1): "diverged"})
    rows = pd.concat([runs.assign(sample=sample) for sample in range(3)])
    assert words.left_out(rows) == words.left_out(runs)


@pytest.mark.parametrize("seeds", [[0, 1], [0]])
def test_drift_is_said_relative_to_the_norm(seeds: list[int]):
    runs = pd.DataFrame(
        {
            "seed": seed,
            "tau": tau,
            "bn_mode": mode,
            "outcome": "done" if tau < 16 else "diverged",
            "relative_euclidean": (0.1 + 0.2 * seed) * (mode == "train") * (tau > 0) * tau,
            "aie": 0.5,
            "probe_val_accuracy": 0.25,
        }
        for seed in seeds
        for tau in (0, 1, 4, 16)
        for mode in ("eval", "train")
    )
    mean, half = (0.2, 1.271) if len(seeds) > 1 else (0.1, None)
    said = numbers(words.drift(runs))
    expected = [mean, half, 4 * mean, half and 5.082, *[0.5, half and 0.0] * 2]
    expected += [0.25, half and 0.0] * 2
    assert said == pytest.approx([number for number in expected if number is not None], abs=1e-3)
    assert not numbers(words.drift(runs[runs["tau"] == 16]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    last = SESSION | {"preset": "smoke", "device": "three"}
    sessions = [SESSION | {"rows": 5}, SESSION | {"device": "two"}, last]
    (tmp_path / "digits.json").write_text(json.dumps({"sessions": sessions}))
    return tmp_path / "digits.csv"


def test_caption_tells_seeds_runs_left_out_and_the_last_session_of_the_preset(path: Path):
    runs = with_outcomes({(0, 0.1): "diverged"})
    said = captions.caption(runs, path)
    for part in ("n = 10 seeds", captions.BANDS, words.left_out(runs), "2025-01-02", "on two"):
        assert part in said
    alone = captions.caption(runs[runs["seed"] == 1], path, spread="a band")
    assert "a band" not in alone
    assert "left out" not in alone


def test_caption_without_a_session_of_its_preset_is_refused(path: Path):
    with pytest.raises(ValueError, match=r"digits\.json has no session of preset gpu"):
        captions.caption(with_outcomes({}).assign(preset="gpu"), path)


def test_provenance_has_a_row_for_each_session_of_each_table(path: Path):
    shown = captions.provenance(path, path)
    assert shown["rows"].tolist() == [5, 25, 25]
    assert shown["torch"].tolist() == ["2.5"] * 3
    assert set(shown.index.get_level_values("table")) == {f"{path.parent.name}, {path.stem}"}


def test_readable_tables_have_the_names_of_readers():
    rows = pd.DataFrame({"eps": [0.1, 0.2], "aie": [0.5, 0.6], "cosine": [0.9, 0.8]})
    shown = captions.readable(rows.set_index("eps"))
    assert list(shown) == ["energy", "cosine"]
    assert shown.columns.name == "ε in probing"
    assert shown.index.name is None
