"""Figures of the page on learning dynamics; each returns a matplotlib figure."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from taskhead.report.bounds import GRADIENT, constants
from taskhead.report.names import titled
from taskhead.report.panels import HEIGHT, curve, grid
from taskhead.report.series import by_series, done, stops

SHOWN = 5  # stops of a setting, evenly over the energies, both ends among them
MISSED = {
    "log missed": r"missed length, $\log_{10}$",
    "log share": r"missed share, $\log_{10}$",
}
EPOCHS = {
    "energy_left": "energy left",
    "kernel_change": "change of the kernel",
    "kernel_cosine": r"cosine of $K_t$ and $K_0$",
    "head_cosine": r"cosine of $V_t$ and $V_0$",
    "share": "share missed",
    "relative_euclidean": r"distance $\|z_t - z_0\| / \|z_0\|$",
}
QUANTITIES = {"aie": "AIE", GRADIENT: r"mean $\|V_0^\top (e_y - p)\|$"}


def prediction_error(steps: pd.DataFrame) -> Figure:
    """Draw what the prediction of `one_step` misses against the rate, a row for each setting."""
    share = steps["step_missed"] / steps["step_true"]
    logs = {"log missed": np.log10(steps["step_missed"]), "log share": np.log10(share)}
    table = steps.assign(**logs)
    settings = list(done(table).groupby("setting", sort=False))
    figure, axes = grid(2 * len(settings), height=1.4 * HEIGHT)
    for row, (setting, runs) in enumerate(settings):
        for axis, (name, label) in zip(axes[2 * row :], MISSED.items(), strict=False):
            for color, stop, rows in _coloured(runs):
                curve(axis, rows, "ft_lr", name, color=color, label=stop)
            axis.set(xscale="log", xlabel="rate", ylabel=label, title=titled(str(setting)))
        error, share = axes[2 * row : 2 * row + 2]
        left, low = (float(min(axis)) for axis in np.asarray(error.lines[0].get_data()))
        error.axline(
            (left, low), (10 * left, low + 2), color="black", lw=0.8, ls=":", label="slope 2"
        )
        share.axhline(-1, color="black", lw=0.8, ls=":", label="a tenth")
    _name_stops(figure, axes[::2])
    return figure


def through_finetuning(table: pd.DataFrame) -> Figure:
    """Draw the six measures of `dynamics` against the epoch, three rows for each setting."""
    table = table.assign(share=table["step_missed"] / table["step_true"])
    settings = list(done(table).groupby("setting", sort=False))
    figure, axes = grid(6 * len(settings))
    for row, (setting, runs) in enumerate(settings):
        named = sorted(set(runs["epoch"]) - {0})[::-2]  # every second, as neighbours overprint
        for axis, (name, label) in zip(axes[6 * row :], EPOCHS.items(), strict=False):
            for color, stop, rows in _coloured(runs):
                curve(axis, rows, "epoch", name, color=color, label=stop)
            axis.set_xscale("symlog", linthresh=1)
            axis.set_xticks([0, *named], labels=[f"{each:g}" for each in [0, *named]])
            axis.set(xlabel=f"epoch of finetuning\n{titled(str(setting))}", title=label)
    _name_stops(figure, axes[::6])
    return figure


def _name_stops(figure: Figure, firsts: Sequence[Axes]) -> None:
    """Name the lines above a figure; stops of several settings may share a colour."""
    lines: dict[tuple, Line2D] = {}
    names: dict[tuple, dict[str, None]] = {}
    for line in (line for axis in firsts for line in axis.get_lines()):
        name, look = str(line.get_label()), (to_hex(line.get_color()), line.get_linestyle())
        if not name.startswith("_"):
            lines.setdefault(look, line)
            names.setdefault(look, {})[name] = None
    labels = [" / ".join(each) for each in names.values()]
    columns = 2 if len(firsts) == 1 else 1
    figure.legend(list(lines.values()), labels, loc="outside upper center", ncols=columns)


def distance_against_bounds(table: pd.DataFrame) -> Figure:
    """Draw the distance of every run against AIE and against the gradient, with their bounds."""
    series, columns = by_series(table), len(QUANTITIES)
    figure, axes = grid(columns * len(series), columns)
    for row, (name, runs) in enumerate(series.items()):
        c, (first, last) = constants(runs), (axes[columns * row], axes[columns * (row + 1) - 1])
        for axis, (quantity, label) in zip(axes[columns * row :], QUANTITIES.items(), strict=False):
            axis.scatter(runs[quantity], runs["euclidean"], c=runs["aie"], s=12)
            ends = np.array([runs[quantity].min(), runs[quantity].max()])
            axis.plot(ends, c[quantity] * ends, color="black", lw=1)
            axis.set(xscale="log", yscale="log", xlabel=label)
            for scale in (axis.xaxis, axis.yaxis):
                scale.set_minor_formatter(NullFormatter())
        first.set(title=titled(name), ylabel=r"distance $\|z_T - z_0\|$")
        figure.colorbar(first.collections[0], ax=last, label="AIE")
    return figure


def _coloured(runs: pd.DataFrame) -> Iterator[tuple[tuple, str, pd.DataFrame]]:
    """Yield colour, name and rows of stops of one setting, from most energy to least."""
    rows = runs.assign(stop=stops)
    order = rows.groupby("stop")["aie"].mean().sort_values(ascending=False).index
    shown = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))]
    for color, stop in zip(sns.color_palette("viridis", len(shown)), shown, strict=True):
        yield color, stop, rows[rows["stop"] == stop]
