"""One function per figure; each draws from a results table and returns a matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskhead.checks import check_choice
from taskhead.claims import by_series, interval
from taskhead.data import LabelledImages
from taskhead.toys import N_SAMPLES

MEASURES = {
    "euclidean": r"distance $\|z_T - z_0\|$",
    "cosine": r"cosine similarity of $z_T$, $z_0$",
    "dot": r"dot product $z_T \cdot z_0$",
    "norm": r"norm $\|z_T\|$",
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
        _draw_against_tau(axis, table, name, label, legend=axis is axes[0])
    axes[0].set_ylim(0, None)
    return figure


def accuracy_against_tau(table: pd.DataFrame) -> Figure:
    """Draw test accuracy after finetuning against tau. Takes an `energy_sweep` table."""
    figure, (axis,) = _grid(1, 1, height=3.8, width=6)
    _draw_against_tau(axis, table, "test_accuracy", "test accuracy after finetuning")
    return figure


def accuracy_in_and_out_of_distribution(table: pd.DataFrame) -> Figure:
    """Draw test accuracy on the target domain, and its mean over the others, against AIE.

    Takes an `energy_sweep` table; without other domains the first panel stands alone.
    """
    panels = {"test_accuracy": "target domain", "ood_accuracy": "mean over the other domains"}
    if table["ood_accuracy"].isna().all():
        del panels["ood_accuracy"]
    figure, axes = _grid(1, len(panels), height=3.8)
    for axis, (name, where) in zip(axes, panels.items(), strict=True):
        _draw_accuracy(axis, table, name)
        axis.set(ylabel="test accuracy", title=where)
    return figure


def settings_side_by_side(table: pd.DataFrame) -> Figure:
    """Draw measures and accuracy of several settings against AIE, one line per series.

    Takes `energy_sweep` tables, one below the other. Measures are relative to the norm of z_0, so
    that features of different networks compare.
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
        "test_accuracy": "test accuracy after finetuning",
    }
    figure, axes = _grid(3, 2, height=9)
    for axis, (name, label) in zip(axes, labels.items(), strict=False):
        _draw_series(axis, relative, name, legend=False)
        axis.set(xlabel=ENERGY, ylabel=label)
    axes[5].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    axes[5].axis("off")
    return figure


def batchnorm_drift(table: pd.DataFrame) -> Figure:
    """Draw what probing in train mode does to features, energy and accuracy, against tau.

    Takes a `batchnorm_drift` table.
    """
    relative = table.assign(euclidean=table["euclidean"] / table["z0_norm"])
    panels = {
        "euclidean": r"distance from $z_0$ $/ \|z_0\|$",
        "aie": ENERGY,
        "probe_val_accuracy": "validation accuracy of the probed head",
    }
    figure, axes = _grid(1, 3, height=3.6)
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        for color, (mode, rows) in zip(_palette(2), relative.groupby("bn_mode"), strict=True):
            _curve(axis, rows, name, x="tau", color=color, label=f"{mode} mode")
        axis.set_xscale("symlog", linthresh=1)
        axis.set(xlabel=_TAU, ylabel=label)
    axes[0].legend()
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
    _draw_against_tau(axes[0], table, "aie", ENERGY)
    axes[0].set_ylim(0, None)
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
        _draw_series(axis, table, name, legend=axis is axes[0])
        axis.set(xlabel=ENERGY, ylabel=label)


def _draw_against_tau(
    axis: Axes, table: pd.DataFrame, name: str, label: str, *, legend: bool = True
) -> None:
    _draw_series(axis, table, name, x="tau", legend=legend)
    axis.set_xscale("symlog", linthresh=1)
    axis.set(xlabel=_TAU, ylabel=label)


def _draw_accuracy(axis: Axes, table: pd.DataFrame, name: str = "test_accuracy") -> None:
    _draw_series(axis, table, name)
    for index, rows in enumerate(by_series(table).values()):
        for tau, marker in ((rows["tau"].min(), "o"), (rows["tau"].max(), "s")):
            end = rows[rows["tau"] == tau]
            label = rf"$\tau$ = {tau}" if index == 0 else None
            x, y = end["aie"].mean(), end[name].mean()
            axis.plot(x, y, marker, ms=8, color="black", mfc="none", label=label)
    axis.set(xlabel=ENERGY, ylabel="test accuracy after finetuning")
    handles, labels = axis.get_legend_handles_labels()
    first = 0 if len(by_series(table)) > 1 else 1
    axis.legend(handles[first:], labels[first:])


def _draw_series(
    axis: Axes, table: pd.DataFrame, y: str, *, x: str = "aie", legend: bool = True
) -> None:
    """Draw one curve per series, with a legend if there are several."""
    series = by_series(table)
    for color, (name, rows) in zip(_palette(len(series)), series.items(), strict=True):
        _curve(axis, rows, y, x=x, color=color, label=name)
    if legend and len(series) > 1:
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
