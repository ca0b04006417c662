"""Recorded results: complete, at the rates their searches chose, and reproducible."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, real

from taskhead.experiments import results
from taskhead.experiments import table as tables
from taskhead.experiments.images import load_right
from taskhead.experiments.kinds import KINDS
from taskhead.experiments.plan import make_plan
from taskhead.experiments.provenance import load_provenance
from taskhead.experiments.run import Run
from taskhead.experiments.settings import SETTING_NAMES, load_setting
from taskhead.report import (
    bounds,
    claims,
    dynamics,
    front_page,
    principle_figures,
    principles,
    replay,
    scorecard,
)
from taskhead.report.choices import smallest_sufficient
from taskhead.report.effects import powers
from taskhead.report.rules import SUPPORTED, UNDECIDED
from taskhead.report.series import NO_PROBING, by_series, interval, relative, stops

SEARCHED = [
    "digits",
    "cifar10-to-cifar100",
    "imagenet-to-cifar10",
    "imagenet-to-pacs",
    "imagenet-to-solar-cells",
    "minilm-to-subj",
    "minilm-to-trec",
]
SWEEPS = SEARCHED
LENGTHS = [
    "digits",
    "cifar10-to-cifar100",
    "imagenet-to-cifar10",
    "imagenet-to-pacs",
    "imagenet-to-solar-cells",
]
COMPLETE = [
    ("toy_linear", "toy"),
    ("lazy_limit", "toy"),
    ("feature_geometry", "digits"),
    ("batchnorm_drift", "cifar10-to-cifar100"),
    ("clean_probing", "imagenet-to-cifar10"),
    ("views", "imagenet-to-cifar10"),
    ("probing_rate", "digits"),
    ("probing_rate", "imagenet-to-cifar10"),
    ("probing_rate", "imagenet-to-solar-cells"),
    ("crossed", "digits"),
    ("crossed", "imagenet-to-cifar10"),
    ("recipe_map", "digits"),
    ("one_step", "digits"),
    ("label_smoothing", "digits"),
    ("head_capacity", "digits"),
    ("head_rate", "digits"),
    ("initial_head", "digits"),
    ("dynamics", "digits"),
    ("lora_rate_search", "minilm-to-subj"),
    ("lora", "minilm-to-subj"),
    ("initial_heads", "digits"),
    ("initial_heads", "imagenet-to-cifar10"),
    ("initial_heads", "minilm-to-subj"),
    ("initial_heads", "minilm-to-trec"),
    *(("initial_gradients", setting) for setting in SEARCHED),
    *(("length_search", setting) for setting in LENGTHS),
    *(("rate_search", setting) for setting in SEARCHED),
    *(("energy_sweep", setting) for setting in SWEEPS),
]


def table(study: str, setting: str) -> pd.DataFrame:
    found = results.load_recorded(study, setting=setting, preset="laptop")
    assert found, f"{study} of {setting} is not recorded completely"
    return found[0]


@pytest.mark.parametrize(("study", "setting"), COMPLETE)
def test_recorded_table_is_complete_and_its_provenance_says_so(study: str, setting: str):
    rows = table(study, setting)
    path = tables.table_path(tables.recorded_folder(), study, setting)
    sessions = load_provenance(path)
    assert sum(session["rows"] for session in sessions) >= len(rows)
    assert all("changed" not in session["commit"] for session in sessions)
    assert all(str(Path.home()).encode() not in file.read_bytes() for file in path.parent.iterdir())


def test_every_recorded_commit_is_in_the_history():
    commits = {
        session["commit"]
        for file in tables.recorded_folder().glob("*/*.csv")
        for session in load_provenance(file)
        if "commit" in session
    }
    known = ["git", "-C", str(REPOSITORY), "cat-file", "-e"]
    lost = {
        each for each in commits if subprocess.run([*known, each], capture_output=True).returncode
    }
    if lost == commits:
        pytest.skip("needs a clone with the history")
    assert lost == set()


@pytest.mark.parametrize("setting", SEARCHED)
def test_rate_in_use_is_the_one_the_search_chose_on_other_seeds(setting: str):
    in_use = load_setting(setting).values["ft_lr"]
    search, sweep = table("rate_search", setting), table("energy_sweep", setting)
    choice = smallest_sufficient(search, "ft_lr")
    assert choice.index[choice["chosen"]].tolist() == [in_use]
    assert set(sweep["ft_lr"]) == {in_use}
    assert set(search["ft_epochs"]) == set(sweep["ft_epochs"])
    assert not set(search["seed"]) & set(sweep["seed"])


def test_rate_of_adapters_is_the_one_their_search_chose():
    search = table("lora_rate_search", "minilm-to-subj")
    runs = make_plan("lora", setting="minilm-to-subj", preset="laptop").runs
    choice = smallest_sufficient(search, "ft_lr")
    assert choice.index[choice["chosen"]].tolist() == list({run.ft_lr for run in runs})


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


@pytest.mark.parametrize("setting", LENGTHS)
def test_length_in_use_is_the_one_the_search_chose_on_other_seeds(setting: str):
    search, sweep = table("length_search", setting), table("energy_sweep", setting)
    choice = smallest_sufficient(search, "ft_epochs")
    assert choice.index[choice["chosen"]].tolist() == sweep["ft_epochs"].unique().tolist()
    assert not set(search["seed"]) & set(sweep["seed"])


@pytest.mark.parametrize("setting", SWEEPS)
def test_levels_of_the_energy_are_reached_and_cover_the_range(setting: str):
    sweep = table("energy_sweep", setting)
    levels = sweep[sweep["energy"].notna() & (sweep["outcome"] == "done")]
    assert (levels["aie"] - levels["energy"]).abs().max() < 1e-4
    assert levels["energy"].nunique() == 10


@pytest.mark.parametrize("setting", SWEEPS)
def test_every_run_says_which_test_images_are_right(setting: str):
    sweep = table("energy_sweep", setting)
    path = tables.table_path(tables.recorded_folder(), "energy_sweep", setting)
    plan = make_plan("energy_sweep", setting=setting, preset="laptop")
    for run, (_, row) in zip(plan.runs, sweep.iterrows(), strict=True):
        right = load_right(path, run)
        assert (right is not None) == (row["outcome"] == "done")
        if right is not None:
            assert right.mean() == pytest.approx(row["last_test_accuracy"])


def test_readme_shows_the_scorecard():
    card = scorecard.scorecard(tables.recorded_folder())
    trends = card[card["claim"].isin(scorecard.HEADS.values())]
    shown = scorecard.in_short(trends).rename(columns=front_page.title)
    assert shown.to_markdown() in (REPOSITORY / "README.md").read_text()
    assert set(trends[trends["claim"] == "mild probing is best"]["verdict"]) == {UNDECIDED}
    moved = trends[trends["claim"] == "features move further"]["verdict"]
    assert (moved == SUPPORTED).mean() >= 0.5
    sweeps = results.read_study("energy_sweep", tables.recorded_folder())
    ratios = pd.Series(front_page.times_as_far(sweeps))
    imagenet = ratios.index.str.startswith("imagenet")
    assert ratios[~imagenet].min() > 5
    assert ratios[imagenet].max() < 2


@pytest.mark.parametrize("setting", SWEEPS)
def test_pages_tell_the_verdicts_of_the_scorecard(setting: str):
    whole = claims.judge_beside_recorded(table("energy_sweep", setting))
    whole = whole[whole["reading"] == claims.WHOLE].assign(
        claim=lambda rows: rows["measure"].map(scorecard.HEADS)
    )
    card = scorecard.scorecard(tables.recorded_folder()).set_index(["series", "claim"])["verdict"]
    told = whole.set_index(["series", "claim"])["verdict"]
    assert len(told)
    assert told.to_dict() == card[told.index].to_dict()


def test_page_on_learning_dynamics_says_which_quantity_orders_runs():
    orders = {}
    for setting in SEARCHED:
        sweep, gradients = table("energy_sweep", setting), table("initial_gradients", setting)
        for name, runs in by_series(bounds.with_quantities(sweep, gradients)).items():
            orders[name] = bounds.rank_correlations(runs).mean()
            norms = runs.groupby(stops(runs))["last_layer_norm"].mean()
            orders[name]["growth"] = norms.max() / norms.min()
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


def test_page_on_solar_cells_says_what_its_tables_show():
    sweep = table("energy_sweep", "imagenet-to-solar-cells").assign(stop=stops)
    means = sweep.groupby("stop")[["aie", "cosine", "feature_gradient_norm", "norm"]].mean()
    assert 0.3 <= means["aie"][means["cosine"].idxmax()] <= 0.4
    gradient = means["feature_gradient_norm"]
    assert gradient.idxmin() not in (NO_PROBING, "tau = 1000")
    assert gradient[NO_PROBING] < gradient["tau = 1000"]
    assert means["norm"]["tau = 1000"] < sweep["z0_norm"].mean()
    search = table("rate_search", "imagenet-to-solar-cells").assign(stop=stops)
    probed = search[search["stop"] != NO_PROBING]
    by_rate = probed.pivot_table("cosine", "energy", "ft_lr")
    assert by_rate[1e-4].is_monotonic_decreasing
    assert by_rate[1e-3].idxmin() == by_rate.index.min()


def test_page_on_what_acts_says_what_its_tables_show():
    crossed = table("crossed", "digits")
    found = powers(crossed)["power"]
    assert found["energy"] > 0 > found["head norm"]
    at_rate = crossed[crossed["ft_lr"] == load_setting("digits").values["ft_lr"]]
    dots = at_rate.assign(stop=stops).groupby(["init_scale", "stop"])["dot"].mean().unstack()
    peaks = dots.idxmax(axis=1)
    assert peaks[[0.3, 1.0]].tolist() == [NO_PROBING] * 2
    assert peaks[10.0] not in (NO_PROBING, "energy 0.05")
    other = table("crossed", "imagenet-to-cifar10").query("outcome == 'done'")
    norms = (other["norm"] / other["z0_norm"]).groupby([other["init_scale"], other["ft_lr"]]).mean()
    assert norms[10.0, 1e-3] < 0.05 < norms[10.0, 3e-4] < 0.2
    assert norms[1.0].min() > 1
    assert powers(other)["variance explained"]["all three"] < 0.4
    views = table("views", "imagenet-to-cifar10").query("tau == tau.max()")
    ends = views.groupby("views")["aie"].mean()
    assert ends[1] - ends[10] > 5 * (ends[10] - ends[20])


def test_page_on_the_capacity_of_the_head_says_what_its_table_shows():
    deep, linear = table("head_capacity", "digits"), table("energy_sweep", "digits")
    columns = ["probed_epochs", "relative_euclidean", "cosine", "test_accuracy"]
    means, flat = (
        rows.assign(stop=stops).groupby(["hidden", "stop"], dropna=False)[columns].mean()
        for rows in (deep.fillna({"hidden": ""}), linear.fillna({"hidden": ""}))
    )
    flat = flat.droplevel("hidden")
    *lower, highest = energies = [f"energy {e:g}" for e in sorted(deep["energy"].dropna().unique())]
    assert len(energies) == 3
    for head in ("64", "512", "512 512"):
        at = (means.loc[head] - flat).dropna()
        assert at.loc[energies, ["probed_epochs", "cosine"]].min(axis=None) > 0
        assert at["relative_euclidean"][lower].min() > 0 > at["relative_euclidean"][highest]
        assert at.loc[NO_PROBING, "test_accuracy"] < 0
        assert (at.loc[NO_PROBING, "relative_euclidean"] > 0) == (head == "64")
        own = deep[deep["hidden"] == head]
        seeds = (
            rows.assign(stop=stops).pivot_table("test_accuracy", "seed", "stop")
            for rows in (own, linear)
        )
        for _, gains in (next(seeds) - next(seeds)).dropna(axis=1).items():
            gain, half = interval(gains)
            assert gain < half
    without = means["test_accuracy"].xs(NO_PROBING, level="stop")
    assert without.idxmin() == "512 512"


def test_page_on_regimes_says_what_its_map_shows():
    recipes, in_use = table("recipe_map", "digits"), load_setting("digits").values
    cells = principle_figures.regime_cells(recipes)
    moved, accuracy = cells["relative_euclidean"], cells["last_test_accuracy"]
    low, middle, high = moved
    rates, lengths = (sorted(recipes[key].unique()) for key in ("ft_lr", "ft_epochs"))
    assert in_use["ft_lr"] == rates[1]
    assert table("energy_sweep", "digits")["ft_epochs"].between(*lengths, inclusive="neither").all()
    assert moved[low].isna().groupby("ft_lr").all().tolist() == [False, False, True]
    assert not recipes.query("outcome == 'diverged'").assign(stop=stops)["stop"].ne(low).any()
    ratios = (moved[high] / moved[low]).unstack().dropna()
    assert ratios.min(axis=None) > 5
    assert (ratios[lengths[1]] > ratios[lengths[0]]).all()
    assert (moved[high] / moved[middle]).min() > 2
    assert (moved[middle] > moved[low])[moved[low].notna()].all()
    assert (accuracy.max(axis=1) - accuracy.min(axis=1)).max() < 0.03


def test_page_on_the_rate_of_the_head_says_what_its_table_shows():
    rates, sweep = table("head_rate", "digits"), table("energy_sweep", "digits")
    means = principles.beside_probing(rates, sweep)
    first, mild, *variants = means.index
    assert first == NO_PROBING
    assert mild == "mild probing, energy 0.85"
    assert 0 < means["probed_epochs"][mild] < 1
    for accuracy in ("val_accuracy", "test_accuracy"):
        assert means[accuracy].idxmax() == NO_PROBING
        assert means[accuracy].nlargest(2).index[1] == mild
    assert means["relative_euclidean"].idxmin() == "fastai's fine_tune"
    card = scorecard.scorecard(tables.recorded_folder())
    judged = card[card["claim"] == "mild probing beats other rates"].set_index("series")["effect"]
    gains = 100 * (means["test_accuracy"][mild] - means["test_accuracy"][variants])
    assert judged.rename(lambda name: name.removeprefix("digits: ")).to_dict() == pytest.approx(
        gains.to_dict()
    )
    more = means["ft_epochs"][variants] - means["ft_epochs"][mild]
    assert more.to_dict() == {way: 0 if way == "one frozen epoch" else 4 for way in variants}


def test_page_on_the_initial_head_says_what_its_tables_show():
    sweep = table("energy_sweep", "digits")
    both = pd.concat([sweep[sweep["tau"] == 0], table("initial_head", "digits")])
    measures = ["relative_euclidean", "cosine", "val_accuracy", "test_accuracy"]
    means = both.groupby("init_scale")[measures].mean()
    *smaller, largest = means.index
    moved = means["relative_euclidean"]
    assert moved[smaller].max() / moved[smaller].min() < 1.02
    assert moved[largest] < moved[smaller].min() / 4
    assert means["cosine"].idxmin() == largest
    assert means["val_accuracy"].idxmax() == means["test_accuracy"].idxmax() == largest
    crossed = table("crossed", "digits")
    at_rate = crossed[crossed["ft_lr"] == load_setting("digits").values["ft_lr"]]
    for scale, runs in at_rate.groupby("init_scale"):
        dots = runs.assign(stop=stops).groupby("stop")[["aie", "dot"]].mean().sort_values("aie")
        rises = dots["dot"].is_monotonic_increasing
        assert rises == (scale in (0.3, 1.0))
        peak = dots["dot"].argmax()
        assert rises or 0 < peak < len(dots) - 1
    other = table("crossed", "imagenet-to-cifar10")
    other = other[other["ft_lr"] == load_setting("imagenet-to-cifar10").values["ft_lr"]]
    assert set(other.query("outcome == 'collapsed'")["init_scale"]) == {10.0}
    norms = other.query("outcome == 'done'").assign(stop=stops)
    assert (norms.pivot_table("norm", "init_scale", "stop").diff().dropna() < 0).all(axis=None)


def test_page_on_ways_says_what_the_sweeps_show():
    found = replay.accuracies(tables.recorded_folder())
    most = replay.lost(found).max(axis=1)
    assert most[[NO_PROBING, replay.TO_THE_END]].min() > 10
    assert most[[replay.HALFWAY, replay.CHOSEN, replay.OWN_CHOICE]].max() < 2.5
    assert replay.in_words(found).endswith(": none.")
    everywhere = replay.regrets(found).query("series == 8")
    assert (everywhere["gain over halfway"].abs() <= everywhere["gain ± 95 %"]).all()


def test_page_on_the_length_of_probing_says_what_is_shown():
    card = scorecard.scorecard(tables.recorded_folder())
    judged = card[card["claim"] == "stopping where validation says pays"]
    assert set(judged["verdict"]) == {UNDECIDED}
    ends = judged[judged["note"] == f"validation prefers {NO_PROBING}"]
    assert len(ends) == 2
    assert ends[["effect", "half_width"]].eq(0).all(axis=None)
    assert not judged["note"].str.contains("tau").any()
    regrets = replay.regrets(replay.accuracies(tables.recorded_folder()))["regret"]
    assert regrets[replay.HALFWAY] - regrets[[replay.CHOSEN, replay.OWN_CHOICE]].min() < 1


def test_page_on_smoothing_says_what_its_table_shows():
    table_of = table("label_smoothing", "digits")
    by_eps = table_of[table_of["ft_eps"] == 0.1].groupby("eps")["relative_euclidean"].mean()
    assert by_eps.idxmin() == 0.1
    floor = (4 / 5) ** 0.5
    plain = table_of[table_of["ft_eps"] == 0].groupby("eps")["aie"].mean()
    assert (plain.to_numpy() - floor * plain.index.to_numpy() > -1e-3).all()
    sweep = table("energy_sweep", "digits").assign(stop=stops)
    accuracies = sweep.groupby("stop")[["val_accuracy", "test_accuracy"]].mean()
    assert accuracies.idxmax().tolist() == [NO_PROBING] * 2
    hard, at = table_of[table_of["ft_eps"] == 0], sweep.set_index("seed").groupby("stop")
    unprobed, longest = (at.get_group(stop) for stop in (NO_PROBING, "tau = 1000"))
    gains = {
        eps: interval(rows.set_index("seed")["test_accuracy"] - unprobed["test_accuracy"])
        for eps, rows in hard.groupby("eps")
    }
    assert min(gain for gain, _ in gains.values()) > 0
    assert {eps for eps, (gain, half) in gains.items() if gain > half} == {0.2, 0.3, 0.5}
    errors = hard.groupby("eps")["test_ece"].mean()
    assert (errors / longest["test_ece"].mean()).between(0.45, 0.55).all()
    assert (errors - unprobed["test_ece"].mean()).abs().max() < 0.002


def test_page_on_dynamics_says_what_the_first_steps_on_digits_show():
    steps = table("one_step", "digits")
    slopes = dynamics.slopes(steps)
    assert slopes["share at 2"].iloc[0] > 0.5
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


def test_page_on_dynamics_says_what_orders_the_runs_on_digits():
    sweep, probed = table("energy_sweep", "digits"), table("initial_gradients", "digits")
    assert probed["aie"].tolist() == pytest.approx(sweep["aie"].tolist(), abs=1e-6)
    joined = bounds.with_quantities(sweep, probed)
    assert len(joined) == len(sweep)
    assert "AIE orders runs best, clearly" in bounds.said_of_the_order(joined)
    orders = bounds.bounds(joined).loc["digits", "order"].astype(str)
    assert float(orders["AIE"].split()[0]) > 0.9
    assert all(abs(float(each.split()[0])) < 0.2 for each in orders.drop("AIE"))


def test_a_rate_is_called_searched_only_where_a_search_is_recorded():
    called = {name for name in SETTING_NAMES if load_setting(name).rates == "searched"}
    assert called == set(SEARCHED)


def test_imagenet_results_have_two_target_domains_and_three_others_each():
    sweep = table("energy_sweep", "imagenet-to-pacs")
    assert set(sweep["domain"]) == {"photo", "sketch"}
    for row in sweep.to_dict("records"):
        domains = ("art_painting", "cartoon", "photo", "sketch")
        tested = {name for name in domains if pd.notna(row[f"test_accuracy on {name}"])}
        assert tested == set(domains) - {row["domain"]}


def recompute(setting: str, chosen: list[Run]) -> pd.DataFrame:
    plan, kind = make_plan("energy_sweep", setting=setting, preset="laptop"), KINDS["adaptation"]
    units = [unit for unit in kind.units(plan.runs) if unit.runs[0] in chosen]
    computed = [each for unit in units for each in kind.compute(plan.inputs, unit)]
    return tables.as_dataframe(
        {run: [{k: v for k, v in rows[0].items() if k != "right"}] for run, rows in computed}, Run
    )


def check_tolerance(setting: str, chosen: list[Run]) -> None:
    path = tables.table_path(tables.recorded_folder(), "energy_sweep", setting)
    known = tables.read(path, Run)
    rows = tables.as_dataframe({run: known[run] for run in chosen}, Run)
    assert claims.worst_difference(recompute(setting, chosen), rows) <= 1


def test_recorded_runs_of_digits_are_reproduced_within_the_tolerance():
    runs = make_plan("energy_sweep", setting="digits", preset="laptop").runs
    chosen = [run for run in runs if run.seed == 0 and (run.tau == 0 or run.energy == 0.49)]
    check_tolerance("digits", chosen)


def test_recorded_runs_on_real_photographs_are_reproduced_within_the_tolerance(monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(real("pacs").parent))
    real("weights", "squeezenet1_1-imagenet.pth")
    runs = make_plan("energy_sweep", setting="imagenet-to-pacs", preset="laptop").runs
    photos = [run for run in runs if run.seed == 0 and run.domain == "photo"]
    check_tolerance("imagenet-to-pacs", [run for run in photos if run.energy in (0.2, 0.9)])
