"""One function per figure; each draws from a results table and returns a matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskhead.checks import check_choice
from taskhead.claims import interval
from taskhead.data import LabelledImages
from taskhead.toys import N_SAMPLES

MEASURES = {
    "euclidean": r"distance $\|z_T - z_0\|$",
    "cosine": r"cosine similarity of $z_T$, $z_0$",
    "dot": r"dot product $z_T \cdot z_0$",
    "norm": r"norm $\|z_T\|$",
}
NAMES = {
    "euclidean": "the Euclidean distance",
    "cosine": "cosine similarity",
    "dot": "the dot product",
    "norm": "the norm",
}
ENERGY = "average initial energy (AIE)"
_TAU = r"head-probing epochs $\tau$"


def linear_adaptation(table: pd.DataFrame) -> Figure:
    """Draw the four measures against energy in the linear model, one line per init scale.

    Takes a `toy_linear` table; the widest model in it is drawn.
    """
    widest = table[table["width"] == table["width"].max()]
    figure, axes = _grid(2, 2, height=6.4)
    for axis, (name, label) in zip(axes, MEASURES.items(), strict=True):
        for color, (scale, rows) in zip(
            _colors(widest, "init_scale"), widest.groupby("init_scale"), strict=True
        ):
            _curve(axis, rows, name, color=color, label=f"{scale:g}")
        axis.set(xlabel=r"energy: mean $|y - q_0|$", ylabel=label)
    axes[0].legend(title=r"scale of $v_0$")
    return figure


def energy_floor(table: pd.DataFrame) -> Figure:
    """Draw the energy left after tau probing steps, one line per number of features h.

    Takes a `toy_linear` table; the init scale closest to 1 is drawn.
    """
    nearest = (table["init_scale"] - 1).abs()
    chosen = table[nearest == nearest.min()]
    figure, (axis,) = _grid(1, 1, height=3.6, width=6)
    for color, (width, rows) in zip(_colors(chosen, "width"), chosen.groupby("width"), strict=True):
        _curve(axis, rows, "aie", x="tau", color=color, label=f"h = {width}")
    axis.set_xscale("symlog", linthresh=1)
    axis.set(
        xlabel=r"head-probing steps $\tau$", ylabel=r"energy: mean $|y - q_\tau|$", ylim=(0, None)
    )
    axis.legend(title=f"N = {N_SAMPLES}")
    return figure


def lazy_limit(table: pd.DataFrame) -> Figure:
    """Draw exact flow (markers) over the lazy limit (line), with the predicted peaks marked.

    Takes a `lazy_limit` table.
    """
    panels = {
        "euclidean": (r"$\|z_T - z_0\| \cdot \|v\|$", None),
        "dot_change": (r"$(z_T \cdot z_0 - \|z_0\|^2) \cdot \|v\|^2$", 0.5),
        "squared_norm_change": (r"$(\|z_T\|^2 - \|z_0\|^2) \cdot \|v\|^2$", 1.0),
    }
    figure, axes = _grid(1, 3, height=3.6)
    for axis, (name, (label, peak)) in zip(axes, panels.items(), strict=True):
        for color, (norm, rows) in zip(
            _colors(table, "head_norm"), table.groupby("head_norm"), strict=True
        ):
            mean = rows.groupby("energy")[name].mean()
            axis.plot(mean.index, mean, "o", color=color, ms=4, label=f"{norm:g}")
        lazy = table.groupby("energy")[f"lazy_{name}"].mean()
        axis.plot(lazy.index, lazy, color="black", lw=1.2, zorder=0, label="lazy limit")
        if peak is not None:
            axis.axvline(peak, color="black", lw=0.8, ls=":")
        axis.set(xlabel=r"energy $e / y$", ylabel=label)
    axes[0].legend(title=r"$\|v\|$ (exact flow)")
    return figure


def energy_against_tau(table: pd.DataFrame) -> Figure:
    """Draw AIE, head norm and probing accuracy against tau. Takes an `energy_sweep` table."""
    panels = {
        "aie": ENERGY,
        "head_norm": r"head norm $\|V_0\|$",
        "probe_val_accuracy": "validation accuracy of the probed head",
    }
    figure, axes = _grid(1, 3, height=3.6)
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        _curve(axis, table, name, x="tau", color=_palette(1)[0])
        axis.set_xscale("symlog", linthresh=1)
        axis.set(xlabel=_TAU, ylabel=label)
    axes[0].set_ylim(0, None)
    return figure


def adaptation_against_energy(table: pd.DataFrame) -> Figure:
    """Draw the four feature measures against AIE. Takes an `energy_sweep` table."""
    figure, axes = _grid(2, 2, height=6.4)
    _draw_adaptation(axes, table)
    return figure


def accuracy_against_energy(table: pd.DataFrame) -> Figure:
    """Draw test accuracy against AIE, with both ends of the tau grid marked.

    Takes an `energy_sweep` table.
    """
    figure, (axis,) = _grid(1, 1, height=3.8, width=6)
    _draw_accuracy(axis, table)
    return figure


def overview(table: pd.DataFrame) -> Figure:
    """Draw energy against tau, and measures and accuracy against energy, in six panels.

    Takes an `energy_sweep` table.
    """
    figure, axes = _grid(3, 2, height=8.4)
    _curve(axes[0], table, "aie", x="tau", color=_palette(1)[0])
    axes[0].set_xscale("symlog", linthresh=1)
    axes[0].set(xlabel=_TAU, ylabel=ENERGY, ylim=(0, None))
    _draw_adaptation([axes[1], axes[2], axes[3], axes[4]], table)
    _draw_accuracy(axes[5], table)
    return figure


def feature_geometry(table: pd.DataFrame) -> Figure:
    """Draw features in the plane of z_0's two main directions, before and after finetuning.

    Takes a `feature_geometry` table; one panel for z_0 and one for each tau, least energy first.
    """
    seed = table["seed"].min()
    runs = sorted(table[table["seed"] == seed].groupby("tau"), key=lambda run: -run[0])
    n_rows = len(runs) // 2 + 1
    figure, axes = _grid(n_rows, 2, height=3.8 * n_rows)
    for axis in axes[len(runs) + 1 :]:
        axis.remove()
    before = runs[0][1]
    _scatter(axes[0], before["z0_x"], before["z0_y"], before["label"])
    axes[0].set_title(r"before finetuning: $z_0$")
    for axis, (tau, rows) in zip(axes[1:], runs, strict=False):
        _scatter(axis, rows["zT_x"], rows["zT_y"], rows["label"])
        axis.set_title(rf"$z_T$, $\tau$ = {tau}, AIE = {rows['aie'].iloc[0]:.2f}")
    axes[0].legend(title="class", markerscale=1.5, loc="best")
    return figure


def sample_images(data: LabelledImages, *, first_class: int = 0, count: int = 10) -> Figure:
    """Draw `count` images spread evenly over the data; labels are counted from `first_class`."""
    figure, axes = _grid(2, (count + 1) // 2, height=2.6, width=6)
    for axis in axes:
        axis.axis("off")
    for axis, index in zip(axes, range(0, len(data), max(1, len(data) // count)), strict=False):
        axis.imshow(data.images[index].permute(1, 2, 0).cpu().numpy(), cmap="gray_r")
        axis.set_title(str(int(data.labels[index]) + first_class))
    return figure


def _scatter(axis: Axes, x: pd.Series, y: pd.Series, label: pd.Series) -> None:
    markers = "os^Dv"
    for color, name in zip(_palette(label.nunique()), sorted(label.unique()), strict=True):
        chosen = label == name
        axis.plot(
            x[chosen],
            y[chosen],
            markers[name % len(markers)],
            color=color,
            ms=4,
            alpha=0.7,
            label=str(name),
        )
    axis.set(xlabel="first direction", ylabel="second direction")


def _draw_adaptation(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    for axis, (name, label) in zip(axes, MEASURES.items(), strict=True):
        _curve(axis, table, name, color=_palette(1)[0])
        axis.set(xlabel=ENERGY, ylabel=label)


def _draw_accuracy(axis: Axes, table: pd.DataFrame) -> None:
    _curve(axis, table, "test_accuracy", color=_palette(1)[0])
    ends = {table["tau"].min(): ("o", 1), table["tau"].max(): ("s", 2)}
    for tau, (marker, index) in ends.items():
        rows = table[table["tau"] == tau]
        axis.plot(
            rows["aie"].mean(),
            rows["test_accuracy"].mean(),
            marker,
            ms=9,
            color=_palette(3)[index],
            label=rf"$\tau$ = {tau}",
        )
    axis.set(xlabel=ENERGY, ylabel="test accuracy after finetuning")
    axis.legend()


def _curve(axis: Axes, table: pd.DataFrame, y: str, *, x: str = "aie", **style: Any) -> None:
    """Draw the mean over seeds at every tau, with the 95 percent interval of the mean as a band."""
    for column in (x, y):
        check_choice("column", column, table.columns)
    points = pd.DataFrame(
        [(rows[x].mean(), *interval(rows[y].dropna())) for _, rows in table.groupby("tau")],
        columns=["x", "mean", "half"],
    ).sort_values("x")
    (line,) = axis.plot(points["x"], points["mean"], "o-", ms=3.5, **style)
    axis.fill_between(
        points["x"],
        points["mean"] - points["half"],
        points["mean"] + points["half"],
        color=line.get_color(),
        alpha=0.2,
        lw=0,
    )


def _grid(rows: int, columns: int, *, height: float, width: float = 8) -> tuple[Figure, list[Axes]]:
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), squeeze=False, layout="constrained"
        )
    plt.close(figure)  # the notebook shows the returned figure once
    return figure, list(axes.flat)


def _palette(n: int) -> list[tuple[float, float, float]]:
    return sns.color_palette("colorblind", n)


def _colors(table: pd.DataFrame, column: str) -> list[tuple[float, float, float]]:
    return sns.color_palette("viridis", table[column].nunique())
