"""One function per figure; each draws from a results table and returns a matplotlib figure.

A figure takes a table of the study `energy_sweep`, or of the one that it names.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskhead.experiments.toy import N_SAMPLES
from taskhead.method.batches import LabelledImages
from taskhead.method.checks import check_choice
from taskhead.report.claims import by_series, done, interval

MEASURES = {
    "euclidean": r"distance $\|z_T - z_0\|$",
    "cosine": r"cosine similarity of $z_T$, $z_0$",
    "dot": r"dot product $z_T \cdot z_0$",
    "norm": r"norm $\|z_T\|$",
}
ENERGY = {"aie": "average initial energy (AIE)"}
PROBED = {"probe_val_accuracy": "validation accuracy of the probed head"}
TESTED = {"test_accuracy": "test accuracy after finetuning"}
_HORIZONTAL = {**ENERGY, "tau": r"head-probing epochs $\tau$"}


def linear_adaptation(table: pd.DataFrame) -> Figure:
    """Draw the measures in the widest model of `toy_linear`, one line per init scale."""
    widest = table[table["width"] == table["width"].max()]
    lines = {f"{scale:g}": rows for scale, rows in widest.groupby("init_scale")}
    style = {"size": (8, 6.4), "palette": "viridis", "title": r"scale of $v_0$"}
    return _panels(lines, MEASURES, xlabel=r"energy: mean $|y - q_0|$", **style)


def energy_floor(table: pd.DataFrame) -> Figure:
    """Draw the energy left in `toy_linear` at the init scale nearest to 1, one line per width."""
    nearest = (table["init_scale"] - 1).abs()
    chosen = table[nearest == nearest.min()]
    lines = {f"h = {width}": rows for width, rows in chosen.groupby("width")}
    labels = {"aie": r"energy: mean $|y - q_\tau|$"}
    style = {"size": (6, 3.6), "palette": "viridis", "title": f"N = {N_SAMPLES}"}
    figure = _panels(lines, labels, xlabel=r"head-probing steps $\tau$", **style)
    figure.axes[0].set_ylim(0, None)
    return figure


def lazy_limit(table: pd.DataFrame) -> Figure:
    """Draw flow (markers) over the limit (line) of `lazy_limit`, and mark the predicted peaks."""
    labels = {
        "euclidean": r"$\|z_T - z_0\| \cdot \|v\|$",
        "dot_change": r"$(z_T \cdot z_0 - \|z_0\|^2) \cdot \|v\|^2$",
        "squared_norm_change": r"$(\|z_T\|^2 - \|z_0\|^2) \cdot \|v\|^2$",
    }
    peaks = {"dot_change": 0.5, "squared_norm_change": 1.0}
    colors = sns.color_palette("viridis", table["head_norm"].nunique())
    figure, axes = _grid(3, 3, (8, 3.6))
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        for color, (norm, rows) in zip(colors, table.groupby("head_norm"), strict=True):
            mean = rows.groupby("energy")[name].mean()
            axis.plot(mean.index, mean, "o", color=color, ms=4, label=f"{norm:g}")
        lazy = table.groupby("energy")[f"lazy_{name}"].mean()
        axis.plot(lazy.index, lazy, color="black", lw=1.2, zorder=0, label="lazy limit")
        if name in peaks:
            axis.axvline(peaks[name], color="black", lw=0.8, ls=":")
        axis.set(xlabel=r"energy $e / y$", ylabel=label)
    axes[0].legend(title=r"$\|v\|$ (exact flow)")
    return figure


def energy_against_tau(table: pd.DataFrame) -> Figure:
    """Draw AIE, head norm and probing accuracy against tau."""
    labels = {**ENERGY, "last_layer_norm": r"head norm $\|V_0\|$", **PROBED}
    figure = _panels(by_series(table), labels, x="tau", size=(8, 3.6))
    figure.axes[0].set_ylim(0, None)
    return figure


def accuracy_against_tau(table: pd.DataFrame) -> Figure:
    """Draw test accuracy after finetuning against tau."""
    return _panels(by_series(table), TESTED, x="tau", size=(6, 3.8))


def accuracy_in_and_out_of_distribution(table: pd.DataFrame) -> Figure:
    """Draw test accuracy on the target domain, and on the others if there are any, against AIE."""
    titles = {"test_accuracy": "target domain"}
    if "ood_accuracy" in table and table["ood_accuracy"].notna().any():
        titles["ood_accuracy"] = "mean over the other domains"
    figure = _panels(by_series(table), dict.fromkeys(titles, "test accuracy"), size=(8, 3.8))
    for axis, (name, title) in zip(figure.axes, titles.items(), strict=True):
        _mark_ends(axis, table, name)
        axis.set_title(title)
    return figure


def settings_side_by_side(table: pd.DataFrame) -> Figure:
    """Draw measures and accuracy of several settings against AIE, one line per series.

    Tables stand one below the other. Measures are relative to the norm of z_0, so that features of
    different networks compare.
    """
    z0 = table["z0_norm"]
    relative = table.assign(
        euclidean=table["euclidean"] / z0, dot=table["dot"] / z0**2, norm=table["norm"] / z0
    )
    labels = {
        "euclidean": r"distance $/ \|z_0\|$",
        "cosine": MEASURES["cosine"],
        "dot": r"dot product $/ \|z_0\|^2$",
        "norm": r"norm $\|z_T\| / \|z_0\|$",
        **TESTED,
    }
    return _panels(by_series(relative), labels, size=(8, 9))


def batchnorm_drift(table: pd.DataFrame) -> Figure:
    """Draw what probing in train mode does, from `batchnorm_drift`, against tau."""
    relative = table.assign(euclidean=table["euclidean"] / table["z0_norm"])
    lines = {f"{mode} mode": rows for mode, rows in relative.groupby("bn_mode")}
    labels = {"euclidean": r"distance from $z_0$ $/ \|z_0\|$", **ENERGY, **PROBED}
    return _panels(lines, labels, x="tau", size=(8, 3.6))


def adaptation_against_energy(table: pd.DataFrame) -> Figure:
    """Draw the four feature measures against AIE."""
    return _panels(by_series(table), MEASURES, size=(8, 6.4))


def accuracy_against_energy(table: pd.DataFrame) -> Figure:
    """Draw test accuracy against AIE, with both ends of the tau grid marked."""
    figure = _panels(by_series(table), TESTED, size=(6, 3.8))
    _mark_ends(figure.axes[0], table, "test_accuracy")
    return figure


def overview(table: pd.DataFrame) -> Figure:
    """Draw energy against tau, and measures and accuracy against energy, in six panels."""
    figure = _panels(by_series(table), {**ENERGY, **MEASURES, **TESTED}, size=(8, 8.4))
    figure.axes[0].set_ylim(0, None)
    _mark_ends(figure.axes[5], table, "test_accuracy")
    return figure


def feature_geometry(table: pd.DataFrame) -> Figure:
    """Draw the plane of `feature_geometry` for z_0 and for z_T of each tau, least energy first."""
    drawn = done(table)
    if drawn.empty:
        raise ValueError("no run is done; there are no features to draw")
    one_seed = drawn[drawn["seed"] == drawn["seed"].min()]
    runs = sorted(one_seed.groupby("tau"), key=lambda run: -run[0])
    panels = [(r"before finetuning: $z_0$", "z0", runs[0][1])]
    for tau, rows in runs:
        panels += [(rf"$z_T$, $\tau$ = {tau}, AIE = {rows['aie'].iloc[0]:.2f}", "zT", rows)]
    figure, axes = _grid(len(panels), 2, (8, 3.8 * ((len(panels) + 1) // 2)))
    colors = sns.color_palette("colorblind", one_seed["label"].nunique())
    for axis, (title, z, rows) in zip(axes, panels, strict=False):
        for color, (label, points) in zip(colors, rows.groupby("label"), strict=True):
            style = {"marker": "os^Dv"[int(label) % 5], "ls": "", "ms": 4, "alpha": 0.7}
            x, y = points[f"{z}_x"], points[f"{z}_y"]
            axis.plot(x, y, color=color, label=f"{label:g}", **style)
        axis.set(title=title, xlabel="first direction", ylabel="second direction")
    axes[0].legend(title="class", markerscale=1.5, loc="best")
    return figure


def sample_images(data: LabelledImages, *, first_class: int = 0, count: int = 10) -> Figure:
    """Draw `count` images spread evenly over the data; labels are counted from `first_class`."""
    figure, axes = _grid(count, (count + 1) // 2, (6, 2.6))
    for axis in axes:
        axis.axis("off")
    for axis, index in zip(axes, range(0, len(data), max(1, len(data) // count)), strict=False):
        axis.imshow(data.images[index].permute(1, 2, 0).cpu().numpy(), cmap="gray_r")
        axis.set_title(str(int(data.labels[index]) + first_class))
    return figure


def _panels(
    lines: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    *,
    size: tuple[float, float],
    x: str = "aie",
    xlabel: str | None = None,
    palette: str = "colorblind",
    title: str | None = None,
) -> Figure:
    """Draw a panel for each column in `labels`, with a curve for each of the named `lines`.

    More than three stand in two columns. The horizontal axis is the column `x`; energy itself is
    always drawn against tau. Several lines have a legend with this `title`, in the panel that is
    left over, else in the first.
    """
    n_columns = len(labels) if len(labels) <= 3 else 2
    figure, axes = _grid(len(labels), n_columns, size)
    colors = sns.color_palette(palette, len(lines))
    for axis, (name, label) in zip(axes, labels.items(), strict=False):
        against = "tau" if name == "aie" else x
        for color, (line, rows) in zip(colors, lines.items(), strict=True):
            _curve(axis, rows, against, name, color=color, label=line)
        if against == "tau":
            axis.set_xscale("symlog", linthresh=1)
        axis.set(xlabel=xlabel or _HORIZONTAL[against], ylabel=label)
    if len(lines) > 1:
        left_over = axes[len(labels) :]
        apart = {"loc": "center", "frameon": False} if left_over else {}
        key = left_over[0] if left_over else axes[0]
        key.legend(*axes[0].get_legend_handles_labels(), title=title, **apart)
    return figure


def _curve(axis: Axes, table: pd.DataFrame, x: str, y: str, **style: Any) -> None:
    """Draw the mean of the runs that are done at each tau, its 95 percent interval as a band."""
    for column in (x, y):
        check_choice("column", column, table.columns)
    taus = [rows for _, rows in done(table).groupby("tau")]
    points = sorted((rows[x].mean(), *interval(rows[y].dropna())) for rows in taus)
    at, mean, half = np.reshape(points, (-1, 3)).T
    (line,) = axis.plot(at, mean, "o-", ms=3.5, **style)
    axis.fill_between(at, mean - half, mean + half, color=line.get_color(), alpha=0.2, lw=0)


def _mark_ends(axis: Axes, table: pd.DataFrame, y: str) -> None:
    """Mark the least and the greatest tau of every series, and say so in the legend."""
    series = by_series(table).values()
    for index, rows in enumerate(series):
        for tau, marker in ((rows["tau"].min(), "o"), (rows["tau"].max(), "s")):
            end = done(rows[rows["tau"] == tau])
            label = rf"$\tau$ = {tau}" if index == 0 else None
            x, mean = end["aie"].mean(), end[y].mean()
            axis.plot(x, mean, marker, ms=8, color="black", mfc="none", label=label)
    handles, labels = axis.get_legend_handles_labels()
    first = 0 if len(series) > 1 else 1
    axis.legend(handles[first:], labels[first:])


def _grid(n: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure of this size in inches and its axes; those after the first n are empty."""
    shape = {"nrows": -(-n // columns), "ncols": columns, "squeeze": False}
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85):
        figure, axes = plt.subplots(**shape, figsize=size, layout="constrained")
    for axis in axes.flat[n:]:
        axis.axis("off")
    plt.close(figure)  # the notebook shows the returned figure once
    return figure, list(axes.flat)
