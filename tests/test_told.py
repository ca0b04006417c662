"""What pages tell of recorded tables is what these tables show."""

from pathlib import Path

import pandas as pd
import pytest
from test_recorded import SEARCHED, table

from taskhead.experiments.results import compute_study
from taskhead.experiments.settings import load_setting
from taskhead.report import (
    bounds,
    claims,
    dynamics,
)
from taskhead.report.choices import chosen_stop
from taskhead.report.effects import powers
from taskhead.report.series import NO_PROBING, by_series, ends, relative, stops


def test_page_on_sentences_says_how_adapters_compare_with_full_finetuning():
    full, adapters = table("energy_sweep", "minilm-to-subj"), table("lora", "minilm-to-subj")
    told = claims.judge_beside_recorded(pd.concat([full, adapters])).query(
        "reading == @claims.WHOLE"
    )
    by_part = told.pivot(index="measure", columns="series", values="verdict")
    assert by_part.iloc[:, 0].tolist() == by_part.iloc[:, 1].tolist()
    columns = ["euclidean", "test_accuracy"]
    means = [
        relative(rows).assign(stop=stops).groupby("stop")[columns].mean()
        for rows in (full, adapters)
    ]
    farther = (means[1] / means[0]).dropna()["euclidean"]
    assert farther["tau = 400"] > 1 > farther[NO_PROBING]
    assert farther.between(0.9, 1.36).all()
    assert (means[1] - means[0])["test_accuracy"].abs().max() < 0.01


def test_page_on_sentences_says_where_the_heads_of_libraries_start():
    for setting in ("digits", "imagenet-to-cifar10", "minilm-to-subj", "minilm-to-trec"):
        heads = table("initial_heads", setting)
        starts, guess = (
            heads.groupby("init")["aie"].mean(),
            (1 - 1 / heads["n_classes"].iloc[0]) ** 0.5,
        )
        assert starts.max() < 1.04 * starts.min()
        assert (starts.min() > 1.1 * guess) == (setting == "imagenet-to-cifar10")
        assert starts.min() > 0.99 * guess


def test_page_on_sentences_says_what_six_classes_show():
    sweep = table("energy_sweep", "minilm-to-trec").assign(stop=stops)
    columns = ["aie", "relative_euclidean", "test_accuracy", "probe_train_accuracy", "norm"]
    means = sweep.groupby("stop")[columns].mean().sort_values("aie")
    assert means.index[0] == "tau = 400"
    assert means["aie"].iloc[0] < 0.001 < means["probe_train_accuracy"].iloc[0] - 0.99
    assert means["relative_euclidean"].idxmin() == "energy 0.08"
    assert means["test_accuracy"].idxmin() == "tau = 400"
    assert means["test_accuracy"].idxmax() in ("energy 0.64", "energy 0.72", "energy 0.8")
    assert means["norm"].idxmax() == NO_PROBING


def test_page_on_learning_dynamics_says_which_quantity_orders_runs():
    orders = {}
    for setting in SEARCHED:
        sweep, gradients = table("energy_sweep", setting), table("initial_gradients", setting)
        for name, runs in by_series(bounds.with_quantities(sweep, gradients)).items():
            orders[name] = bounds.rank_correlations(runs).mean()
            norms = runs.groupby(stops(runs))["last_layer_norm"].mean()
            orders[name]["growth"] = norms.max() / norms.min()
            orders[name]["head norm"] = runs["last_layer_norm"].corr(runs["euclidean"], "spearman")
            longest = runs[stops(runs) == ends(runs)[-1]]
            orders[name]["norm left"] = (longest["norm"] / longest["z0_norm"]).mean()
    found = pd.DataFrame(orders).T
    products = found[["norm_times_aie", bounds.GRADIENT]]
    assert found["aie"][["digits", "cifar10-to-cifar100"]].min() > 0.95
    assert products.loc["digits"].max() < 0.3
    assert products.loc["cifar10-to-cifar100"].max() < -0.95
    assert found["growth"]["cifar10-to-cifar100"] > 20
    texts = found.loc[["minilm-to-subj", "minilm-to-trec"]]
    assert texts["aie"].min() > 0.95
    assert products.loc[texts.index].abs().max(axis=None) < 0.3
    for alike in ("imagenet-to-cifar10", "imagenet-to-pacs (photo)"):
        assert products.loc[alike].to_numpy() == pytest.approx(found["aie"][alike], abs=0.01)
        assert found["growth"][alike] < 1.5
    assert found["aie"]["imagenet-to-solar-cells"] < 0.5
    assert found["growth"]["imagenet-to-solar-cells"] > 3
    assert found["growth"]["imagenet-to-solar-cells"] < found["growth"]["cifar10-to-cifar100"]
    assert found["norm left"]["imagenet-to-solar-cells"] < 0.5
    assert found["norm left"]["cifar10-to-cifar100"] > 1
    assert found["head norm"]["digits"] < -0.95
    assert found.loc["imagenet-to-pacs (sketch)", list(bounds.QUANTITIES)].max() < bounds.POOR


def test_page_on_solar_cells_says_what_its_tables_show():
    sweep = table("energy_sweep", "imagenet-to-solar-cells").assign(stop=stops)
    means = sweep.groupby("stop")[
        ["aie", "cosine", "feature_gradient_norm", "first_step", "norm"]
    ].mean()
    assert 0.3 <= means["aie"][means["cosine"].idxmax()] <= 0.4
    gradient = means["feature_gradient_norm"]
    assert gradient.idxmin() not in (NO_PROBING, "tau = 1000")
    assert gradient[NO_PROBING] < gradient["tau = 1000"]
    assert means["aie"][means["first_step"].idxmin()] > means["aie"][gradient.idxmin()]
    assert means["first_step"][NO_PROBING] < means["first_step"]["tau = 1000"]
    assert means["norm"]["tau = 1000"] < sweep["z0_norm"].mean()
    search = table("rate_search", "imagenet-to-solar-cells").assign(stop=stops)
    probed = search[search["stop"] != NO_PROBING]
    by_rate = probed.pivot_table("cosine", "energy", "ft_lr")
    assert by_rate[1e-4].is_monotonic_decreasing
    assert by_rate[1e-3].idxmin() == by_rate.index.min()
    assert by_rate.columns[1] == sweep["ft_lr"].unique().item()
    assert len(by_rate.columns) == 3


def test_page_on_imagenet_says_where_probing_ends_and_that_unseen_domains_are_not_resolved():
    energies = {}
    for name, runs in by_series(table("energy_sweep", "imagenet-to-pacs")).items():
        energies[name] = runs.groupby(stops(runs))["aie"].mean()
        compared = chosen_stop(runs, judged_on="ood_accuracy")
        assert (compared["difference"].abs() <= compared["half width"]).all()
    photo, sketch = (energies[f"imagenet-to-pacs ({name})"] for name in ("photo", "sketch"))
    assert photo.idxmin() == "tau = 400"
    assert sketch.idxmin() == "energy 0.2"


def test_page_on_cifar_100_says_what_no_probing_and_train_mode_cost():
    sweep = table("energy_sweep", "cifar10-to-cifar100")
    probed, tested = (
        sweep.groupby(stops(sweep))[name].mean() for name in ("probe_val_accuracy", "test_accuracy")
    )
    assert tested[NO_PROBING] < probed.max() < tested.max()
    search = table("length_search", "cifar10-to-cifar100").assign(stop=stops)
    by_length = search.pivot_table("test_accuracy", "stop", "ft_epochs")
    gained = by_length[20] - by_length[10]
    assert gained[NO_PROBING] > 5 * gained.drop(NO_PROBING).abs().max()
    last = table("batchnorm_drift", "cifar10-to-cifar100").query("tau == tau.max()")
    means = last.groupby("bn_mode")[["relative_euclidean", "aie", "probe_val_accuracy"]].mean()
    moved, *others = (means.loc["train"] - means.loc["eval"]).abs()
    assert moved > 0.2
    assert max(others) < 0.02


def test_page_on_what_acts_says_what_its_tables_show():
    crossed = table("crossed", "digits")
    found = powers(crossed)
    power, share = found["power"], found["variance explained"]
    assert power["energy"] > 0 > power["head norm"]
    assert abs(power["head norm"]) == pytest.approx(power["energy"], rel=0.2)
    assert share["head norm"] == pytest.approx(share["energy"], abs=0.05)
    assert share.drop("all three").sum() > share["all three"]
    assert crossed["aie"].corr(crossed["last_layer_norm"], "spearman") < -0.5
    at_rate = crossed[crossed["ft_lr"] == load_setting("digits").values["ft_lr"]]
    dots = at_rate.assign(stop=stops).groupby(["init_scale", "stop"])["dot"].mean().unstack()
    peaks = dots.idxmax(axis=1)
    assert peaks[[0.3, 1.0]].tolist() == [NO_PROBING] * 2
    assert peaks[10.0] not in (NO_PROBING, "energy 0.05")
    other = table("crossed", "imagenet-to-cifar10").query("outcome == 'done'")
    norms = (other["norm"] / other["z0_norm"]).groupby([other["init_scale"], other["ft_lr"]]).mean()
    assert norms[10.0, 1e-3] < 0.05 < norms[10.0, 3e-4] < 0.2
    assert norms[1.0].min() > 1
    found = powers(other)
    assert found["variance explained"]["all three"] < 0.4
    assert found["variance explained"][["energy", "head norm"]].max() < 0.2
    views = table("views", "imagenet-to-cifar10").query("tau == tau.max()")
    ends = views.groupby("views")["aie"].mean()
    assert ends[1] - ends[10] > 5 * (ends[10] - ends[20])
    sweep = table("energy_sweep", "imagenet-to-cifar10").query("tau == tau.max()")
    both = views.query("views == 10").merge(sweep, on=["seed", "tau", "views"])
    assert len(both) == 5
    assert (both["aie_x"] < both["aie_y"]).all()
    assert (both["probed_lr_x"] / both["probed_lr_y"]).tolist() == pytest.approx([2] * 5)


def test_page_on_the_linear_model_says_which_head_has_no_bound_and_which_error_is_larger(
    tmp_path: Path,
):
    lazy = compute_study("lazy_limit", setting="toy", preset="laptop", results=tmp_path)
    bounded = (lazy["euclidean_bound"] < float("inf")).groupby(lazy["head_norm"]).mean()
    assert 0 < bounded.iloc[0] < 1
    assert (bounded.iloc[1:] == 1).all()
    of_means = (lazy["euclidean"] - lazy["lazy_euclidean"]).abs().groupby(lazy["head_norm"]).max()
    assert (of_means < lazy.groupby("head_norm")["euclidean_error"].max()).all()


def test_page_on_dynamics_says_what_the_first_steps_on_digits_show():
    steps = table("one_step", "digits")
    slopes = dynamics.slopes(steps)
    assert slopes["share at 2"].iloc[0] > 0.5
    assert slopes["least"].iloc[0] > 1.95
    assert 4 < slopes["largest"].iloc[0] < 4.5
    assert slopes["share at 2"].iloc[1:3].max() < 0.2
    assert slopes["slope"].iloc[:2].min() > 2.1
    assert slopes["slope"].iloc[-3:].max() < 1.9
    factors = dynamics.factors(steps).loc["digits"]
    assert factors["coherence"].idxmax() == NO_PROBING
    stop, ratios = dynamics.against_no_probing(steps)["digits"]
    assert stop.startswith("energy")
    assert ratios["gain"].high < 1
    assert ratios["kernel"].high < 1
    assert ratios["length"].high < 1
    assert ratios["energy"].low > 1
    furthest = dynamics.distance_without_probing(table("energy_sweep", "digits"))
    nearest = factors.index[-2]
    assert furthest.loc["digits", "furthest probed head"] == nearest != stop
    pair = steps[stops(steps).isin([NO_PROBING, nearest])]
    _, beside = dynamics.against_no_probing(pair)["digits"]
    assert beside["length"].low < 1 < beside["length"].high


def test_page_on_dynamics_says_what_finetuning_on_digits_shows():
    ends = dynamics.through_epochs(table("dynamics", "digits")).loc["digits"]
    assert ends.index[-1] == NO_PROBING
    assert (ends["energy left"] < 0.15 * ends["energy"]).all()
    assert ends["kernel_change"].is_monotonic_increasing
    assert ends["distance"].is_monotonic_increasing
    assert ends["half spent"].idxmax() == NO_PROBING
    assert (ends["kernel kept"].iloc[1:] <= 4).all()
    assert (ends["kernel_cosine"].iloc[1:] < 0.9).all()
    assert (ends["head_cosine"].drop(NO_PROBING) > 0.99).all()
    assert (ends["step error, last"] < ends["step error, first"]).all()
    assert (ends["step error, first"] < 0.1).all()
    lengths = dynamics.factors(table("one_step", "digits")).loc["digits", "length"]
    longer = [stop for stop in ends.index if lengths[stop] > lengths[NO_PROBING]]
    assert len(longer) == 2
    assert (ends["distance"][longer] < ends["distance"][NO_PROBING]).all()


def test_page_on_dynamics_says_what_steps_and_runs_from_imagenet_show():
    steps = table("one_step", "imagenet-to-cifar10")
    slopes = dynamics.slopes(steps)["slope"]
    assert 1.8 < slopes.iloc[0] < 2.1
    assert slopes.iloc[2:5].between(1.45, 1.65).all()
    factors = dynamics.factors(steps).loc["imagenet-to-cifar10"]
    lengths = factors["length"]
    assert lengths[NO_PROBING] > 3 * lengths.drop(NO_PROBING).max()
    assert lengths.max() > 10 * lengths.min()
    stop, ratios = dynamics.against_no_probing(steps)["imagenet-to-cifar10"]
    assert stop == "energy 0.9"
    assert factors["energy"].drop(NO_PROBING).idxmax() == stop
    assert ratios["kernel"].low > 2
    assert all(0.95 < ratios[name].low < ratios[name].high < 1.05 for name in ("gain", "coherence"))
    assert ratios["energy"].high < 1.3
    runs = table("dynamics", "imagenet-to-cifar10").assign(stop=stops)
    ends = dynamics.through_epochs(runs).loc["imagenet-to-cifar10"]
    assert (ends["energy left"] < 0.15 * ends["energy"]).all()
    assert [stop for stop in ends.index if ends["half spent"][stop] > 8] == list(ends.index[:2])
    assert ends["step error, first"].between(0.1, 0.28).all()
    first = runs[runs["epoch"] == 1]
    assert first["kernel_change"].min() > 0.5
    assert first[first["tau"] == 0]["kernel_cosine"].mean() < 0.2
    assert ends["kernel_cosine"].max() < 0.5
    assert ends["distance"].max() < 1.5 * ends["distance"].min()


def test_page_on_dynamics_says_what_orders_the_runs_on_digits():
    sweep, probed = table("energy_sweep", "digits"), table("initial_gradients", "digits")
    assert probed["aie"].tolist() == pytest.approx(sweep["aie"].tolist(), abs=1e-6)
    joined = bounds.with_quantities(sweep, probed)
    assert len(joined) == len(sweep)
    assert "AIE orders runs best, clearly" in bounds.said_of_the_order(joined)
    orders = bounds.bounds(joined).loc["digits", "order"].astype(str)
    assert float(orders["AIE"].split()[0]) > 0.9
    assert all(abs(float(each.split()[0])) < 0.2 for each in orders.drop("AIE"))


def test_page_on_deviations_says_why_plants_have_a_smaller_rate():
    ends = table("rate_search", "cifar10-to-plants").query("tau == 400 and ft_lr == 0.01")
    assert (ends["outcome"] == "diverged").all()
