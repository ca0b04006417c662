"""One function per figure; each draws from a results table and returns a matplotlib figure.

A figure takes a table of the study `energy_sweep`, or of the one that it names.
"""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from taskhead.method.batches import LabelledImages
from taskhead.report.panels import COLORS, HEIGHT, curve, grid, mark_ends, panels
from taskhead.report.series import by_series, done, relative

MEASURES = {
    "euclidean": r"distance $\|z_T - z_0\|$",
    "cosine": r"cosine of $z_T$, $z_0$",
    "dot": r"dot product $z_T \cdot z_0$",
    "norm": r"norm $\|z_T\|$",
}
CLEAN = "AIE on the images as they are"
RECEIVED = "energy received (AIE)"
ENERGY = {"aie": "energy left (AIE)"}
PROBED = {"probe_val_accuracy": "accuracy of the probed head"}
TESTED = {"test_accuracy": "test accuracy"}


def energy_against_epochs(table: pd.DataFrame) -> Figure:
    """Draw AIE, head norm and probing accuracy against the epochs of probing."""
    labels = {**ENERGY, "last_layer_norm": r"head norm $\|V_0\|$", **PROBED}
    figure = panels(by_series(table), labels, x="probed_epochs")
    figure.axes[0].set_ylim(0, None)
    return figure


def gradient_against_energy(table: pd.DataFrame) -> Figure:
    """Draw head norm, gradient at the features, and change in the first step against AIE."""
    labels = {
        "last_layer_norm": r"head norm $\|V_0\|$",
        "feature_gradient_norm": r"gradient $\|V_0^\top (e_y - p_0)\|$",
        "first_step": "change in the first step",
    }
    return panels(by_series(table), labels)


def energy_against_views(table: pd.DataFrame) -> Figure:
    """Draw AIE against epochs of probing: a panel per setting, a line per views probed on."""
    settings = list(table.groupby("setting", sort=False))
    figure, axes = grid(len(settings))
    for axis, (setting, rows) in zip(axes, settings, strict=False):
        counts = list(rows.groupby("views"))
        colors = sns.color_palette("viridis", len(counts))
        for color, (views, part) in zip(colors, counts, strict=True):
            curve(axis, part, "probed_epochs", "aie", color=color, label=f"{views:g}")
        axis.set_xscale("symlog", linthresh=1)
        axis.set(title=setting, xlabel="epochs of head probing", ylabel=ENERGY["aie"])
        axis.set_ylim(0, None)
    axes[0].legend(title="views")
    return figure


def on_clean_images(before: pd.DataFrame, now: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Draw what AIE on the images as they are hides, which is no axis elsewhere.

    `before` is a table whose heads were probed on these images, and whose `aie` is theirs; `now`,
    a sweep in the same setting, stands beside it. Its bands are over seeds alone, as those of
    `before`. `control` is a table of `clean_probing`, which has both energies.
    """
    figure, axes = grid(5)
    columns = {"before": (before.assign(aie_clean=before["aie"]), "aie_clean", CLEAN)}
    columns["now"] = (now.drop(columns="test_images", errors="ignore"), "aie", RECEIVED)
    labels = {"distance": r"distance $\|z_T - z_0\| / \|z_0\|$", **TESTED}
    for column, (title, (table, x, xlabel)) in enumerate(columns.items()):
        table = table.assign(distance=table["euclidean"] / table["z0_norm"])
        for axis, (name, ylabel) in zip(axes[column:4:2], labels.items(), strict=True):
            curve(axis, table, x, name, color=f"C{column}")
            axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    for old, new in (axes[:2], axes[2:4]):
        new.sharex(old)
        new.sharey(old)
        old.autoscale()
    curve(axes[4], control, "aie_clean", "aie", color="C0")
    axes[4].axline((0, 0), slope=1, color="black", lw=0.8, ls=":")
    axes[4].set(title="both energies", xlabel=CLEAN, ylabel=RECEIVED)
    return figure


def accuracy_in_and_out_of_distribution(table: pd.DataFrame) -> Figure:
    """Draw test accuracy on the target domain, and on the others if there are any, against AIE."""
    labels = {"test_accuracy": "test accuracy on\nthe target domain"}
    if "ood_accuracy" in table and table["ood_accuracy"].notna().any():
        labels["ood_accuracy"] = "mean test accuracy\non other domains"
    figure = panels(by_series(table), labels)
    for axis, name in zip(figure.axes, labels, strict=True):
        mark_ends(axis, table, name)
    return figure


def settings_side_by_side(table: pd.DataFrame) -> Figure:
    """Draw measures and accuracy of several settings against AIE, one line per series.

    Tables stand one below the other. Measures are relative to the norm of z_0, so that features of
    different networks compare; ratios have a logarithmic axis.
    """
    labels = {
        "euclidean": r"distance $\|z_T - z_0\| / \|z_0\|$",
        "cosine": MEASURES["cosine"],
        "dot": r"dot product $/ \|z_0\|^2$",
        "norm": r"norm $\|z_T\| / \|z_0\|$",
        **TESTED,
    }
    figure = panels(by_series(relative(table)), labels)
    for axis, name in zip(figure.axes, labels, strict=False):
        if name in ("euclidean", "dot", "norm"):  # ratios, from a tenth to ten
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter("{x:g}")
    return figure


def batchnorm_drift(table: pd.DataFrame) -> Figure:
    """Draw what probing in train mode does, from `batchnorm_drift`, against tau."""
    lines = {f"{mode} mode": rows for mode, rows in table.groupby("bn_mode")}
    labels = {"relative_euclidean": r"distance from $z_0$ $/ \|z_0\|$", **ENERGY, **PROBED}
    return panels(lines, labels, x="tau")


def adaptation_against_energy(table: pd.DataFrame) -> Figure:
    """Draw the four feature measures against AIE."""
    return panels(by_series(table), MEASURES)


def accuracy_against_energy(table: pd.DataFrame) -> Figure:
    """Draw test accuracy against AIE, with both ends of the tau grid marked."""
    figure = panels(by_series(table), TESTED)
    mark_ends(figure.axes[0], table, "test_accuracy")
    return figure


def overview(table: pd.DataFrame) -> Figure:
    """Draw energy against tau, and measures and accuracy against energy, in six panels."""
    figure = panels(by_series(table), {**ENERGY, **MEASURES, **TESTED})
    figure.axes[0].set_ylim(0, None)
    mark_ends(figure.axes[5], table, "test_accuracy")
    return figure


def feature_geometry(table: pd.DataFrame, *, first_class: int = 0) -> Figure:
    """Draw the plane of `feature_geometry` for z_0, and z_T of least, middle and most energy.

    Classes are counted from `first_class`. The dotted box in each panel is the range of z_0.
    """
    drawn = done(table)
    if drawn.empty:
        raise ValueError("no run is done; there are no features to draw")
    runs = [rows for _, rows in drawn[drawn["seed"] == drawn["seed"].min()].groupby("aie")]
    shown = [("$z_0$\nbefore finetuning", "z0", runs[0])]
    for rows in (runs[place] for place in sorted({0, len(runs) // 2, len(runs) - 1})):
        aie, epochs = rows[["aie", "probed_epochs"]].iloc[0]
        shown += [(f"$z_T$, energy {aie:.2g}\n{epochs:g} epochs probed", "zT", rows)]
    low, high = (runs[0][["z0_x", "z0_y"]].agg(end).to_numpy() for end in ("min", "max"))
    figure, axes = grid(len(shown), height=1.2 * HEIGHT)
    for axis, (title, z, rows) in zip(axes, shown, strict=False):
        for label, points in rows.groupby("label"):
            style = {"color": COLORS[int(label) % 8], "marker": "os^Dv"[int(label) % 5], "ls": ""}
            x, y, name = points[f"{z}_x"], points[f"{z}_y"], f"{first_class + label:g}"
            axis.plot(x, y, ms=4, alpha=0.7, label=name, **style)
        axis.add_patch(Rectangle(low, *(high - low), fill=False, ls=":"))
        axis.set(title=title, xlabel="first direction", ylabel="second direction")
    above = {"loc": "outside upper center", "ncols": 5, "frameon": False, "handletextpad": 0}
    figure.legend(*axes[0].get_legend_handles_labels(), title="class", **above)
    return figure


def sample_images(data: LabelledImages, *, first_class: int = 0, count: int = 10) -> Figure:
    """Draw `count` images spread evenly over the data; labels are counted from `first_class`."""
    figure, axes = grid(count, (count + 1) // 2, width=0.9, height=1.0)
    for axis in axes:
        axis.axis("off")
    for axis, index in zip(axes, range(0, len(data), max(1, len(data) // count)), strict=False):
        axis.imshow(data.images[index].permute(1, 2, 0).cpu().numpy(), cmap="gray_r")
        axis.set_title(str(int(data.labels[index]) + first_class))
    return figure
