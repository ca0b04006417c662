"""Figures of a recommendation: energy as it falls, accuracy against energy, where a model errs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taskhead.method.prepared import Prepared
from taskhead.practice.names import in_words, name_of, of_name
from taskhead.practice.outcome import Final, Outcome
from taskhead.practice.recommend import Advice
from taskhead.report.panels import grid
from taskhead.report.series import interval


def energy_as_it_falls(heads: Sequence[Prepared], chosen: Prepared) -> Figure:
    """Draw the energy of one trajectory against its epochs; a square marks the chosen stop."""
    figure, (axis,) = grid(1)
    axis.plot([head.tau for head in heads], [head.aie for head in heads], "o-", ms=3.5, color="C0")
    axis.plot(chosen.tau, chosen.aie, "s", ms=8, color="C1", label="recommended")
    axis.set_xscale("symlog", linthresh=1)
    axis.set(xlabel="epochs of head probing", ylabel="energy left (AIE)")
    axis.set(xlim=(0, None), ylim=(0, None))
    axis.legend()
    return figure


def accuracy_against_energy(advice: Advice) -> Figure:
    """Draw the validation accuracy of each preparation of a search against the energy it leaves.

    Means over splits have their 95 percent intervals; what was finetuned on one split has none. The
    square is what is recommended. Finetunings at other rates are left out.
    """
    how, rows = advice.finetuning, advice.evidence
    rows = rows[(rows["lr"] == how["lr"]) & (rows["epochs"] == how["epochs"])]
    figure, (axis,) = grid(1, height=5)  # of which the legend takes a third
    chosen = name_of(advice.preparation)
    for _, alike in rows.groupby(list(chosen), sort=False, dropna=False):
        way = of_name(alike.iloc[0].to_dict())
        later = alike[alike["split"] > 0]  # the first split chose what is compared
        alike = later if len(later) else alike
        mean, half = interval(alike["val_accuracy"], overlap=advice.overlap)
        axis.errorbar(
            alike["aie"].mean(),
            mean,
            yerr=None if np.isnan(half) else half,
            fmt="s" if name_of(way) == chosen else "o",
            ms=8 if name_of(way) == chosen else 5,
            capsize=3,
            label=in_words(way),
        )
    low, high = axis.get_ylim()  # of intervals that may leave 0 to 1
    axis.set(ylim=(max(low, -0.02), min(high, 1.02)))
    axis.set(xlabel="energy left (AIE)", ylabel="validation accuracy")
    figure.legend(loc="outside upper center", ncols=1, frameon=False)
    return figure


def confusion_matrix(outcome: Outcome, final: Final) -> Figure:
    """Draw how many test images of each class (rows) a model takes for which class (columns)."""
    classes, told = outcome.classes, final.logits.argmax(dim=1).cpu()
    matrix = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(matrix, (outcome.task.test.labels.cpu().numpy(), told.numpy()), 1)
    side = 2 + 0.35 * len(classes)
    figure, (axis,) = grid(1, width=side, height=side)
    table = pd.DataFrame(matrix, index=classes, columns=classes)
    sns.heatmap(table, annot=True, fmt="d", cmap="Blues", cbar=False, vmin=0, ax=axis)
    axis.set(xlabel="predicted", ylabel="true")
    return figure
