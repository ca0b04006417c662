"""Tables of the principles' pages: what one study shows beside the sweep of its setting."""

import numpy as np
import pandas as pd

from taskhead.report.principles import (
    SMALL_SCALE,
    best_stop,
    like,
    preferred,
    scheme,
    with_linear,
    with_none,
)
from taskhead.report.rules import resampled
from taskhead.report.series import NO_PROBING, by_series, curves, done, ends, interval, stops


def by_smoothing(smooth: pd.DataFrame, sweep: pd.DataFrame, *, ft_eps: float = 0) -> pd.DataFrame:
    """Return means over seeds for each smoothing in probing, with `ft_eps` in finetuning.

    The gain is in test accuracy over no probing, paired over seeds, with its 95 percent interval.
    """
    alike = done(with_none(smooth, sweep)).query("ft_eps == @ft_eps")
    measures = ["aie", "relative_euclidean", "val_accuracy", "test_accuracy", "test_ece"]
    unprobed = sweep[sweep["tau"] == 0]
    gains = _gains(alike, "eps", unprobed, "gain over no probing")
    return alike.groupby("eps")[measures].mean().join(gains)


def beside_probing(rates: pd.DataFrame, sweep: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of each variant of `head_rate`, and of no and mild probing.

    Mild probing is the energy of the sweep that validation prefers, as in the verdict; a sweep
    without levels of the energy has none.
    """
    probed = done(sweep[sweep["energy"].notna()])
    mild = [best_stop(probed)] if len(probed) else []
    kept = {
        NO_PROBING: done(sweep[sweep["tau"] == 0]),
        **{f"mild probing, {stop}": probed[stops(probed) == stop] for stop in mild},
        **{scheme(rows.iloc[0]): done(rows) for rows in by_series(rates).values()},
    }
    columns = ["aie", "probed_epochs", "ft_epochs", "relative_euclidean"]
    columns += ["val_accuracy", "test_accuracy"]
    return pd.DataFrame({name: rows[columns].mean() for name, rows in kept.items()}).T


def by_scale(fresh: pd.DataFrame, sweep: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of heads without probing by initial scale, the usual one among them.

    The gain is in test accuracy over the usual head, paired over seeds, with its 95 percent
    interval. Runs that are not done are left out; `seeds` says how many are done.
    """
    usual = sweep[sweep["tau"] == 0]
    heads = done(pd.concat([usual, fresh], ignore_index=True))
    measures = ["aie", "last_layer_norm", "relative_euclidean", "cosine", "test_accuracy"]
    by = heads.groupby("init_scale")
    gains = _gains(heads, "init_scale", usual, "gain over the usual head")
    return by[measures].mean().join(gains).assign(seeds=by.size())


def by_hidden(deep: pd.DataFrame, sweep: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of heads by their hidden layers, the linear one among them, and stop.

    The gain is in test accuracy over the linear head at the same stop, paired over seeds, with its
    95 percent interval.
    """
    heads = done(with_linear(deep, sweep)).assign(stop=stops)
    heads["hidden"] = heads["hidden"].fillna("").replace("", "linear").str.replace(" ", " + ")
    gains = {
        stop: _gains(rows, "hidden", rows[rows["hidden"] == "linear"], "gain over the linear head")
        for stop, rows in heads.groupby("stop")
    }
    measures = ["aie", "probed_epochs", "relative_euclidean", "cosine", "test_accuracy"]
    means = (
        heads.groupby(["stop", "hidden"])[measures]
        .mean()
        .join(pd.concat(gains, names=["stop", "hidden"]))
    )
    order = heads["hidden"].drop_duplicates().tolist()
    means = means.swaplevel().sort_values("aie")
    return pd.concat([means.xs(head, level="hidden", drop_level=False) for head in order])


def by_new_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds for each number of new blocks, at the stop that validation prefers.

    The gain is in test accuracy over no new block at its own stop, paired over seeds, with its 95
    percent interval, as in the verdict.
    """
    parts = done(table).groupby("reinitialised_blocks")
    kept = pd.concat([preferred(runs) for _, runs in parts])
    none = kept[kept["reinitialised_blocks"] == 0]
    measures = ["probed_epochs", "aie", "relative_euclidean", "val_accuracy", "test_accuracy"]
    gains = _gains(kept, "reinitialised_blocks", none, "gain over no new block")
    return kept.groupby("reinitialised_blocks")[measures].mean().join(gains)


def _gains(runs: pd.DataFrame, by: str, others: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return how much test accuracy runs gain over others, seed by seed, for each value of `by`."""
    accuracy = others.set_index("seed")["test_accuracy"]
    gains = {
        value: interval((rows.set_index("seed")["test_accuracy"] - accuracy).dropna())
        for value, rows in runs.groupby(by)
    }
    return pd.DataFrame(gains, index=[name, "± 95 %"]).T


def small_heads(fresh: pd.DataFrame, sweeps: pd.DataFrame) -> pd.DataFrame:
    """Return for each series the usual head and a small one, without probing, in means over seeds.

    `fresh` are runs of `initial_head`, `sweeps` of `energy_sweep`, both of several settings. The
    energy of a guess is that of equal probabilities for all classes.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, runs in by_series(fresh[fresh["init_scale"] == SMALL_SCALE]).items():
        heads = by_scale(runs, like(sweeps, runs)).to_dict("index")
        usual, small = heads[1.0], heads[SMALL_SCALE]
        classes = runs["n_classes"].iloc[0]
        rows[name] = {
            "energy of a guess": np.sqrt((classes - 1) / classes),
            "energy, usual": usual["aie"],
            "energy, small": small["aie"],
            "distance, usual": usual["relative_euclidean"],
            "distance, small": small["relative_euclidean"],
            **{key: small[key] for key in ("gain over the usual head", "± 95 %")},
        }
    return pd.DataFrame(rows).T


def finetuning_adds(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Return for each series what finetuning adds to the longest probed head, on validation images.

    Accuracies are means over seeds, after the last epoch; the gain has its 95 percent interval.
    """
    rows = {}
    for name, runs in by_series(sweeps).items():
        _, longest = ends(runs)
        probed = done(runs[stops(runs) == longest])
        gain, half = interval(probed["last_val_accuracy"] - probed["probe_val_accuracy"])
        rows[name] = {
            "probed head": probed["probe_val_accuracy"].mean(),
            "finetuned from it": probed["last_val_accuracy"].mean(),
            "gain": gain,
            "± 95 %": half,
        }
    return pd.DataFrame(rows).T


def best_energies(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Return for each series the energy at the stop with the best mean validation accuracy.

    Its range holds the middle 95 percent of what a bootstrap over seeds prefers. Beside it stand
    the energy of no probing, and how accurate the longest probed head is on validation images
    before finetuning: the less, the less the old features fit the new task. A series in which no
    stop has all seeds is left out.
    """
    rows = {}
    for name, runs in by_series(sweeps).items():
        energy, accuracy = (each.to_numpy() for each in curves(runs, "aie", "val_accuracy"))
        if not accuracy.size:
            continue
        stop_energy = energy.mean(axis=0)
        best = stop_energy[resampled(accuracy).argmax(axis=1)]
        low, high = np.quantile(best, [0.025, 0.975])
        longest = done(runs[stops(runs) == ends(runs)[-1]])
        rows[name] = {
            "accuracy, longest probed head": longest["probe_val_accuracy"].mean(),
            "energy, no probing": runs.loc[runs["tau"] == 0, "aie"].mean(),
            "best energy": stop_energy[accuracy.mean(axis=0).argmax()],
            "from": low,
            "to": high,
        }
    return pd.DataFrame(rows).T
