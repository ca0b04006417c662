"""Figures of the two-layer linear model."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taskhead.experiments.toy import N_SAMPLES
from taskhead.report.figures import MEASURES
from taskhead.report.panels import grid, panels


def linear_adaptation(table: pd.DataFrame) -> Figure:
    """Draw the measures in the widest model of `toy_linear`, one line per init scale."""
    widest = table[table["width"] == table["width"].max()]
    lines = {f"{scale:g}": rows for scale, rows in widest.groupby("init_scale")}
    style = {"palette": "viridis", "title": r"scale of $v_0$"}
    return panels(lines, MEASURES, xlabel=r"energy: mean $|y - q_0|$", **style)


def energy_floor(table: pd.DataFrame) -> Figure:
    """Draw the energy left in `toy_linear` at the init scale nearest to 1, one line per width."""
    nearest = (table["init_scale"] - 1).abs()
    chosen = table[nearest == nearest.min()].groupby("width")
    lines = {f"h = {width}": rows for width, rows in chosen}
    labels = {"aie": r"energy: mean $|y - q_\tau|$"}
    style = {"palette": "viridis", "title": f"N = {N_SAMPLES}"}
    figure = panels(lines, labels, xlabel=r"head-probing steps $\tau$", **style)
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
    figure, axes = grid(3)
    for axis, (name, label) in zip(axes, labels.items(), strict=False):
        for color, (norm, rows) in zip(colors, table.groupby("head_norm"), strict=True):
            mean = rows.groupby("energy")[name].mean()
            axis.plot(mean.index, mean, "o", color=color, ms=4, label=f"{norm:g}")
        lazy = table.groupby("energy")[f"lazy_{name}"].mean()
        axis.plot(lazy.index, lazy, color="black", lw=1.2, zorder=0, label="lazy limit")
        if name in peaks:
            axis.axvline(peaks[name], color="black", lw=0.8, ls=":")
        axis.set(xlabel=r"energy $e / y$", ylabel=label)
    named = axes[0].get_legend_handles_labels()
    axes[3].legend(*named, title=r"$\|v\|$ (exact flow)", loc="center", frameon=False)
    return figure


def bound_of_the_lazy_limit(table: pd.DataFrame) -> Figure:
    """Draw the errors of the lazy limit in `lazy_limit` and their bounds against the head norm."""
    labels = {
        "euclidean": r"distance, times $\|v\|$",
        "dot_change": r"dot product, times $\|v\|^2$",
        "squared_norm_change": r"squared norm, times $\|v\|^2$",
    }
    figure, axes = grid(3)
    for axis, (name, label) in zip(axes, labels.items(), strict=False):
        most = table.groupby("head_norm")[[f"{name}_error", f"{name}_bound"]].max()
        error, bound = most[f"{name}_error"], most[f"{name}_bound"].replace(np.inf, np.nan)
        axis.plot(most.index, error, "o-", color="C0", label="exact flow")
        axis.plot(most.index, bound, "s-", color="C1", label="bound")
        for x, y in error[bound.isna()].reset_index().to_numpy():
            axis.text(x, y / 2, "no bound", color="C1", ha="center", va="top", rotation=90)
        x, y = most.index[-1], error.iloc[-1]
        axis.axline((x, y), (x / 10, 100 * y), color="black", lw=0.8, ls=":", label="slope -2")
        axis.set(xscale="log", yscale="log", xlabel=r"head norm $\|v\|$", ylabel=label)
        axis.set_xticks(most.index, labels=[f"{norm:g}" for norm in most.index], minor=False)
        axis.minorticks_off()
    axes[3].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    return figure
