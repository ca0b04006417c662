"""Figures of the principles: one thing varied, and the effects of all settings side by side."""

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taskhead.report.figures import ENERGY, TESTED
from taskhead.report.names import titled
from taskhead.report.panels import grid, panels
from taskhead.report.rules import CONTRADICTED, SUPPORTED, UNDECIDED
from taskhead.report.series import by_series, over_settings, stops

MOVED = {"relative_euclidean": r"distance $\|z_T - z_0\| / \|z_0\|$"}
VALIDATED = {"val_accuracy": "validation accuracy"}
_MARKERS = {SUPPORTED: ("o", "C0"), CONTRADICTED: ("X", "C3"), UNDECIDED: ("o", "white")}


def effects(card: pd.DataFrame) -> Figure:
    """Draw the effects of one claim of a scorecard, one line for each series, with intervals.

    A full marker is supported, a cross contradicted, an empty one not decided. Without a series the
    figure stays empty.
    """
    figure, (axis,) = grid(1, height=1 + 0.3 * len(card))
    for place, row in enumerate(card[::-1].to_dict("records")):
        marker, color = _MARKERS[row["verdict"]]
        style = {"color": "black", "mfc": color, "mec": "black", "ms": 8, "capsize": 3}
        axis.errorbar(row["effect"], place, xerr=row["half_width"], fmt=marker, **style)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(card)), [titled(series) for series in card["series"][::-1]])
    axis.set_ylim(-0.6, len(card) - 0.4)
    axis.set_xlabel(f"effect [{', '.join(card['unit'].unique())}], with 95 percent interval")
    return figure


def regrets(points: pd.DataFrame) -> Figure:
    """Draw `replay.lost`: a line for each way, a marker for each series, and means with intervals.

    The way of the smallest mean regret stands on top. An interval needs three series.
    """
    points = points.loc[points.mean(axis=1).sort_values().index[::-1]]
    figure, (axis,) = grid(1, height=1.5 + 0.5 * len(points))
    for number, (series, values) in enumerate(points.items()):
        style = {"marker": "osD^vP"[number % 6], "color": f"C{number}", "alpha": 0.8, "ms": 5}
        shift = 0.1 * ((points.shape[1] - 1) / 2 - number)  # so that none hides another
        axis.plot(values, np.arange(len(points)) + shift, ls="", label=titled(str(series)), **style)
    for place, (_, values) in enumerate(points.iterrows()):
        mean, half = over_settings(values.dropna())
        if not np.isnan(half):
            style = {"color": "black", "marker": "|", "ms": 20, "capsize": 4, "lw": 1.5}
            axis.errorbar(mean, place, xerr=half, **style)
    axis.set_yticks(range(len(points)), [fill(str(way), 20) for way in points.index])
    axis.set_ylim(-0.5, len(points) - 0.5)
    axis.grid(visible=False, axis="y")
    for place in range(1, len(points)):
        axis.axhline(place - 0.5, color="0.8", lw=0.8)
    axis.set_xlabel("regret: points of test accuracy\nbelow the best way in a setting")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def against_smoothing(table: pd.DataFrame) -> Figure:
    """Draw energy, distance and accuracy of `label_smoothing` against eps in probing.

    There is a line for each setting and smoothing in finetuning. Dotted is the floor of the energy,
    eps * sqrt((K - 1) / K), for each number of classes K.
    """
    lines = {
        f"{name}, finetuned\non {'hard labels' if smooth == 0 else f'ε = {smooth:g}'}": rows
        for (name, smooth), rows in table.groupby(["setting", "ft_eps"], sort=False)
    }
    labels = {"aie": ENERGY["aie"], **MOVED, **TESTED}
    how = {"x": "eps", "xlabel": "ε in probing"}
    figure = panels(lines, labels, **how)
    eps = np.array([0, table["eps"].max()])
    for classes in table["n_classes"].dropna().unique():
        floor = np.sqrt((classes - 1) / classes)
        figure.axes[0].plot(eps, floor * eps, color="black", lw=0.8, ls=":")
    return figure


def against_probing(table: pd.DataFrame) -> Figure:
    """Draw distance, validation and test accuracy against the epochs of probing."""
    lines = by_series(table)
    return panels(lines, {**MOVED, **VALIDATED, **TESTED}, x="probed_epochs")


def calibration(table: pd.DataFrame) -> Figure:
    """Draw the test loss and the calibration error against energy."""
    labels = {"test_nll": "test loss (NLL) in nats", "test_ece": "calibration error (ECE) in test"}
    return panels(by_series(table), labels)


def regime_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of `recipe_map`: rates and lengths by measures and stops.

    The stop of least energy stands first. A cell is NaN unless all its seeds are done.
    """
    measures = ["relative_euclidean", "last_test_accuracy"]
    means = (
        table.assign(stop=stops)
        .groupby(["ft_lr", "ft_epochs", "stop"])
        .agg({**dict.fromkeys(measures, "mean"), "outcome": lambda each: (each == "done").all()})
    )
    order = table.groupby(stops(table))["aie"].mean().sort_values().index
    whole: Any = means[measures].where(means["outcome"].astype(bool)).unstack()
    return whole.reindex(order, axis=1, level="stop")


def regime_map(table: pd.DataFrame) -> Figure:
    """Draw where preparing the head matters, from `recipe_map`: rates by lengths of finetuning.

    Left, how many times as far features move from the highest energy as from the lowest; right, by
    how many points the mean test accuracies of the energies differ. A cell is blank where a seed is
    not done at one of the energies.
    """
    cells: Any = regime_cells(table)
    moved, accuracy = cells["relative_euclidean"], cells["last_test_accuracy"]
    spread = accuracy.max(axis=1, skipna=False) - accuracy.min(axis=1, skipna=False)
    maps = {
        "distance, highest\nover lowest energy": moved.iloc[:, -1] / moved.iloc[:, 0],
        "range of test\naccuracy in points": 100 * spread,
    }
    figure, axes = grid(2)
    for axis, (title, values) in zip(axes, maps.items(), strict=True):
        sns.heatmap(values.unstack(), annot=True, fmt=".2g", cmap="viridis", cbar=False, ax=axis)
        axis.grid(visible=False)
        axis.tick_params(axis="y", rotation=0)
        axis.set(title=title, xlabel="epochs of finetuning", ylabel="finetuning rate")
    return figure
