"""What pages on principles tell of recorded tables is what these tables show."""

import pandas as pd
import pytest
from test_recorded import table

from taskhead.experiments import table as tables
from taskhead.experiments.results import read_study
from taskhead.experiments.settings import load_setting
from taskhead.report import (
    principle_figures,
    principle_tables,
    principles,
    replay,
    scorecard,
)
from taskhead.report.rules import CONTRADICTED, UNDECIDED
from taskhead.report.series import NO_PROBING, interval, stops


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
    moved = means["relative_euclidean"].unstack()[energies]
    linear_moved = flat["relative_euclidean"][energies]
    percent = moved.loc["512 512"] / linear_moved - 1
    assert percent.mean() > 0
    assert moved.loc["512 512"].mean() < linear_moved.mean()
    assert percent.abs().idxmax() == lower[0]
    without = means["test_accuracy"].xs(NO_PROBING, level="stop")
    assert without.idxmin() == "512 512"


def test_page_on_the_capacity_of_the_head_says_what_its_real_table_shows():
    deep, sweep = (
        table(study, "imagenet-to-cifar10") for study in ("head_capacity", "energy_sweep")
    )
    means = principle_tables.by_hidden(deep, sweep)
    linear = means.loc["linear"]
    energies = [f"energy {e:g}" for e in sorted(deep["energy"].dropna().unique())]
    assert len(energies) == 3
    gain, half = means["gain over the linear head"], means["± 95 %"]
    guess = 0.9**0.5
    assert linear.loc[NO_PROBING, "aie"] > 1.1 * guess
    preferred = {}
    heads = principles.with_linear(deep, sweep).fillna({"hidden": ""}).assign(stop=stops)
    names = heads["hidden"].replace("", "linear").str.replace(" ", " + ")
    for head, runs in heads[heads["energy"].notna()].groupby(names):
        val, test = (
            runs.pivot(index="seed", columns="stop", values=column)
            for column in ("val_accuracy", "test_accuracy")
        )
        preferred[head] = test[val.mean().idxmax()]
    clear = {}
    for head in ("64", "512", "512 + 512"):
        at = means.loc[head]
        ratios = (at["relative_euclidean"] / linear["relative_euclidean"])[energies]
        assert 1.3 < ratios.min() < ratios.max() < 3.3
        assert (ratios.max() > 2.8) == (head == "512 + 512")
        assert (at["cosine"] > linear["cosine"])[energies].all()
        assert at.loc[NO_PROBING, "aie"] < 1.06 * guess
        assert gain[head][NO_PROBING] > half[head][NO_PROBING]
        assert gain[head][energies].max() < 0.025
        clear[head] = interval(preferred[head] - preferred["linear"])
    assert gain.xs(NO_PROBING, level=1).idxmax() == "512 + 512"
    assert gain.unstack()[energies].max(axis=None) > 0.02
    assert [head for head, (mean, half) in clear.items() if mean > half] == ["512 + 512"]
    mean, half = clear["512 + 512"]
    assert mean - half < 0.003
    card = scorecard.scorecard(tables.recorded_folder())
    absorbed = card[card["claim"] == "a deeper head absorbs adaptation"]
    assert set(absorbed["verdict"]) == {CONTRADICTED}


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
    largest = (moved[high] / moved[middle]).unstack().loc[rates[-1]]
    assert largest[lengths[1]] < largest[lengths[0]]
    at_largest = accuracy.loc[rates[-1]]
    assert at_largest.min().min() > accuracy.drop(rates[-1]).max(axis=None)
    assert (at_largest[high] - at_largest[middle]).abs().max() < 0.006
    searched = table("rate_search", "digits").query("ft_lr == @rates[-1]")
    assert (searched["outcome"] == "diverged").any()
    assert (accuracy.max(axis=1) - accuracy.min(axis=1)).max() < 0.03


def test_page_on_the_rate_of_the_head_says_what_its_table_shows():
    rates, sweep = table("head_rate", "digits"), table("energy_sweep", "digits")
    means = principle_tables.beside_probing(rates, sweep)
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
    judged = judged.filter(like="digits")
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
    assert most[[replay.HALFWAY, replay.CHOSEN, replay.OWN_CHOICE]].max() < 3
    assert replay.in_words(found).endswith(": none.")
    regrets = replay.regrets(found)
    small = regrets.loc[replay.SMALL]
    assert small["series"] == 10
    assert abs(small["gain over halfway"]) < min(0.5, small["gain ± 95 %"])
    assert most[replay.SMALL] > most[replay.HALFWAY]
    smooth = table("label_smoothing", "digits").query("ft_eps == 0 and eps == 0.5")
    assert smooth["test_accuracy"].mean() > found["digits"].mean().max()
    everywhere = regrets.query("series == 10")
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


def test_page_on_smoothing_says_what_it_shows_from_imagenet():
    smooth, sweep = (
        table(study, "imagenet-to-cifar10") for study in ("label_smoothing", "energy_sweep")
    )
    means = principle_tables.by_smoothing(smooth, sweep)
    first = sweep[sweep["tau"] == 0][["aie", "relative_euclidean"]].mean()
    assert means["relative_euclidean"].is_monotonic_increasing
    largest = means.loc[[0.3, 0.5]]
    assert (largest["relative_euclidean"] > first["relative_euclidean"]).all()
    assert (largest["aie"] < 0.53 * first["aie"]).all()
    clear = means["gain over no probing"] > means["± 95 %"]
    assert means.index[clear].tolist() == [0.0, 0.2, 0.3, 0.5]
    longest = sweep[sweep["tau"] == smooth["tau"].iloc[0]].set_index("seed")["test_accuracy"]
    for _, rows in smooth[smooth["ft_eps"] == 0].groupby("eps"):
        gain, half = interval(rows.set_index("seed")["test_accuracy"] - longest)
        assert abs(gain) < half
    both = principles.with_none(smooth, sweep).groupby(["ft_eps", "eps"])
    accuracy, error = (both[key].mean().unstack("eps") for key in ("test_accuracy", "test_ece"))
    assert (accuracy.loc[0.1] < accuracy.loc[0.0]).all()
    assert (error.loc[0.1] < error.loc[0.0] / 3).all()


def test_page_on_the_rate_of_the_head_says_what_it_shows_from_imagenet():
    rates, sweep = (table(study, "imagenet-to-cifar10") for study in ("head_rate", "energy_sweep"))
    means = principle_tables.beside_probing(rates, sweep)
    first, mild, *variants = means.index
    assert means["probed_epochs"][mild] == pytest.approx(6, abs=0.5)
    accuracy = 100 * means["test_accuracy"]
    frozen = [way for way in variants if means["probed_epochs"][way]]
    assert frozen == ["fastai's fine_tune", "one frozen epoch"]
    assert (accuracy[frozen] - accuracy[mild]).abs().max() < 1
    unfrozen = accuracy.drop([first, mild, *frozen])
    assert (accuracy[mild] - unfrozen).round().between(3, 6).all()
    assert (unfrozen - accuracy[first]).abs().max() < 2.5
    card = scorecard.scorecard(tables.recorded_folder())
    judged = card[card["claim"] == "mild probing beats other rates"].set_index("series")
    assert set(judged.filter(like="imagenet", axis=0)["verdict"]) == {UNDECIDED}


def test_page_on_the_rate_of_the_head_says_what_it_shows_on_sentences():
    rates, sweep = (table(study, "minilm-to-subj") for study in ("head_rate", "energy_sweep"))
    means = principle_tables.beside_probing(rates, sweep)
    mild = means.index[1]
    assert means["probed_epochs"][mild] == pytest.approx(0.25, abs=0.02)
    moved = means["relative_euclidean"]
    assert moved.max() > 4 * moved.min()
    assert moved.idxmin() == "one frozen epoch"
    accuracy = 100 * means["test_accuracy"]
    assert (accuracy - accuracy[mild]).abs().max() < 1
    assert means["aie"]["one frozen epoch"] / means["aie"][mild] == pytest.approx(1 / 3, abs=0.01)
    card = scorecard.scorecard(tables.recorded_folder())
    judged = card[card["claim"] == "mild probing beats other rates"].set_index("series")
    assert set(judged.filter(like="minilm", axis=0)["verdict"]) == {UNDECIDED}


def test_page_on_the_initial_head_says_what_it_shows_from_imagenet():
    heads, sweep = (
        table(study, "imagenet-to-cifar10") for study in ("initial_head", "energy_sweep")
    )
    means = principle_tables.by_scale(heads, sweep)
    small, usual, large = means.loc[[0.0, 0.1]], means.loc[1.0], means.loc[10.0]
    guess = (9 / 10) ** 0.5
    assert (small["aie"] - guess).abs().max() < 0.01 < usual["aie"] - guess
    assert (small["relative_euclidean"] > usual["relative_euclidean"]).all()
    assert (small["cosine"] > usual["cosine"]).all()
    assert (small["gain over the usual head"] > small["± 95 %"]).all()
    mild = principle_tables.beside_probing(table("head_rate", "imagenet-to-cifar10"), sweep)
    assert (
        means.loc[0.1, "test_accuracy"] > mild.filter(like="mild", axis=0)["test_accuracy"].item()
    )
    assert large["seeds"] == 8
    assert large["test_accuracy"] < 0.2
    assert set(heads.query("outcome != 'done'")["init_scale"]) == {10.0}


def test_page_on_the_initial_head_says_where_a_small_one_pays():
    found = principle_tables.small_heads(
        *(read_study(study, tables.recorded_folder()) for study in ("initial_head", "energy_sweep"))
    )
    gains = found["gain over the usual head"]
    assert gains.idxmax() == "cifar10-to-cifar100"
    assert gains.index[gains < -found["± 95 %"]].tolist() == ["digits", "minilm-to-subj"]
    assert abs(gains["minilm-to-subj"]) < 0.01
    both = found.loc["cifar10-to-cifar100"]
    assert (
        both[["energy, usual", "energy, small"]] - both["energy of a guess"]
    ).abs().max() < 0.002
    assert 1.75 < both["distance, small"] / both["distance, usual"] < 2


def test_page_on_the_length_of_probing_says_what_finetuning_adds():
    added = principle_tables.finetuning_adds(read_study("energy_sweep", tables.recorded_folder()))
    not_shown = added.index[added["gain"] <= added["± 95 %"]].tolist()
    assert not_shown == ["imagenet-to-pacs (photo)", "imagenet-to-solar-cells"]
    assert added["gain"].drop(not_shown).between(0.015, 0.095).all()
