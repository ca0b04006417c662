"""Panels of a figure: curves over seeds with their bands, in one style."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskhead.experiments.run import Run, field_names
from taskhead.method.checks import check_choice
from taskhead.report.names import titled
from taskhead.report.series import NO_PROBING, by_series, done, ends, interval, stops

_EPOCHS = "epochs of probing"
_HORIZONTAL = {"aie": "energy left (AIE)", "tau": _EPOCHS, "probed_epochs": _EPOCHS}
SEEDS_FOR_BANDS = 5
WIDTH, HEIGHT = 2.3, 2.1  # of a panel, in inches: two side by side can be read on a phone
DPI = 160
# Seaborn's colour-blind palette without pink and yellow, too pale for the names of curves.
COLORS = [c for k, c in enumerate(sns.color_palette("colorblind")) if k not in (6, 8)]
MARKERS = "osD^"
_LONG = 24  # characters of a name that has a line of the legend for itself
_LINE_OF_TEXT = 0.07  # of the height of a panel
_KEYS = {*field_names(Run), "epoch"}
_ACCURACIES = ("test_accuracy", "last_test_accuracy")  # on `test_images` images


def panels(
    lines: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    *,
    x: str = "aie",
    xlabel: str | None = None,
    palette: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a panel for each column in `labels`, with a curve for each of the named `lines`.

    The horizontal axis is the column `x`; energy itself is drawn against the epochs of probing.
    Several lines have a legend with this `title`, in the panel that is left over, else above all.
    """
    figure, axes = grid(len(labels))
    colors = sns.color_palette(palette, len(lines)) if palette else []
    looks = [{"color": each} for each in colors] or distinct(lines)
    for axis, (name, label) in zip(axes, labels.items(), strict=False):
        against = _epochs(lines) if name == "aie" and x == "aie" else x
        for look, (line, rows) in zip(looks, lines.items(), strict=True):
            curve(axis, rows, against, name, label=titled(line), **look)
        if _HORIZONTAL.get(against) == _EPOCHS:
            axis.set_xscale("symlog", linthresh=1)
        axis.set(xlabel=xlabel or _HORIZONTAL[against], ylabel=label)
    if len(lines) > 1:
        left_over, named = axes[len(labels) :], axes[0].get_legend_handles_labels()
        if left_over:
            left_over[0].legend(*named, title=title, loc="center", frameon=False)
        else:
            columns = 1 if max(map(len, lines)) > _LONG else 2
            above = {"loc": "outside upper center", "ncols": columns, "frameon": False}
            figure.legend(*named, title=title, **above)
    return figure


def distinct(series: Iterable[str]) -> list[dict[str, Any]]:
    """Return the colour and the marker of each series, no pair twice for up to 32 of them.

    Each series has a colour of its own while colours last. Then each source, on which the networks
    were pretrained, has one, and its series differ in their markers; where there are not several
    sources of few series each, all colours come again with the next marker.
    """
    sources = [re.split("-to-|[ ,]", name)[0] for name in series]
    count = Counter(sources)
    by_source = 1 < len(count) <= len(COLORS) < len(sources) and max(count.values()) <= len(MARKERS)
    order = list(count)
    looks = []
    for place, source in enumerate(sources):
        marker, color = divmod(place, len(COLORS))
        if by_source:
            marker, color = sources[:place].count(source), order.index(source)
        looks.append({"color": COLORS[color], "marker": MARKERS[marker % len(MARKERS)]})
    return looks


def _epochs(lines: Mapping[str, pd.DataFrame]) -> str:
    """Return the column that holds the epochs of probing: measured, or as asked for."""
    return "probed_epochs" if all("probed_epochs" in rows for rows in lines.values()) else "tau"


def curve(axis: Axes, table: pd.DataFrame, x: str, y: str, **style: Any) -> None:
    """Draw the `means_over_seeds`, and how far seeds spread.

    From five seeds on that is a band: 95 percent intervals for the whole curve at once. With fewer,
    every seed is a thin line of its own.
    """
    at, mean, half = means_over_seeds(table, x, y).to_numpy().T
    (line,) = axis.plot(at, mean, **{"marker": "o", "ms": 3.5, **style})
    if table["seed"].nunique() >= SEEDS_FOR_BANDS:
        axis.fill_between(at, mean - half, mean + half, color=line.get_color(), alpha=0.2, lw=0)
        return
    for _, rows in done(table).groupby("seed"):
        alone = rows.sort_values(x)
        axis.plot(alone[x], alone[y], color=line.get_color(), alpha=0.35, lw=0.8)


def means_over_seeds(table: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Return columns `x`, `mean` and `half_width` for each stop at which all seeds are done.

    Where `x` is a key that varies, as `eps`, or the epoch of a run, each of its values is a stop.
    Half widths are of 95 percent intervals of the mean of `y` for all stops at once.
    """
    for column in (x, y):
        check_choice("column", column, table.columns)
    keys = [key for key in dict.fromkeys(("tau", "energy", *_KEYS & {x})) if key in table]
    groups = [rows for _, rows in done(table).groupby(keys, dropna=False)]
    seeds = table["seed"].nunique()
    groups = [rows for rows in groups if rows["seed"].nunique() == seeds]
    points = []
    for rows in groups:
        images = rows["test_images"].iloc[0] if y in _ACCURACIES and "test_images" in rows else None
        mean, half = interval(rows[y].dropna(), points=len(groups), images=images)
        points.append((rows[x].mean(), mean, half))
    return pd.DataFrame(sorted(points), columns=["x", "mean", "half_width"], dtype=float)


def mark_ends(axis: Axes, table: pd.DataFrame, y: str) -> None:
    """Mark no probing and the longest probing of every series, and say so above the axes.

    An end at which a seed is not done is not marked, as its curve has no point there.
    """
    marks = {}
    for rows in by_series(table).values():
        for stop in ends(rows):
            marker = "o" if stop == NO_PROBING else "s"
            end = done(rows[stops(rows) == stop])
            if len(end) and end["seed"].nunique() == rows["seed"].nunique():
                style = {"ms": 8, "color": "black", "mfc": "none", "ls": ""}
                at = end["aie"].mean(), end[y].mean()
                marks[stop] = axis.plot(*at, marker, label=stop, **style)[0]
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2, "frameon": False}
    axis.legend(handles=list(marks.values()), fontsize="small", handletextpad=0, **above)


def label_at_the_end(axis: Axes) -> None:
    """Write the name of each curve to the right of the axes, at the height of its last point.

    Names that would touch are moved up; a thin line leads from each to its curve.
    """
    curves = [line for line in axis.get_lines() if not str(line.get_label()).startswith("_")]
    to_axes = axis.transData + axis.transAxes.inverted()
    ends = [tuple(to_axes.transform(np.asarray(line.get_xydata())[-1])) for line in curves]
    height = -1.0
    for (x, y), line in sorted(zip(ends, curves, strict=True), key=lambda pair: pair[0][1]):
        height = max(y, height + _LINE_OF_TEXT)
        style = {"color": line.get_color(), "va": "center", "xycoords": "axes fraction"}
        lead = {"arrowstyle": "-", "color": line.get_color(), "lw": 0.6, "relpos": (0, 0.5)}
        axis.annotate(
            str(line.get_label()), xy=(x, y), xytext=(1.04, height), arrowprops=lead, **style
        )


def grid(
    n: int, columns: int = 2, *, width: float | None = None, height: float | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, each of this size in inches; those after the first n are empty.

    By default a single panel is as wide as two, and higher.
    """
    columns = min(n, columns)
    width, height = width or WIDTH * (1 + (n == 1)), height or HEIGHT * (1.4 if n == 1 else 1)
    rows = -(-n // columns)
    shape: dict[str, Any] = {"figsize": (columns * width, rows * height), "dpi": DPI}
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.8):
        figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", **shape)
    for axis in axes.flat[n:]:
        axis.axis("off")
    plt.close(figure)  # the notebook shows the returned figure once
    return figure, list(axes.flat)
