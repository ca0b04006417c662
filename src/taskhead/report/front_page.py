"""What the first screen of the book says: the answer, and the distances behind it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from taskhead.report import replay, rules
from taskhead.report.claims import CLAIMS
from taskhead.report.names import BACKBONES, titled
from taskhead.report.panels import curve, distinct, grid, label_at_the_end
from taskhead.report.series import (
    NO_PROBING,
    by_series,
    done,
    ends,
    interval,
    relative,
    stops,
)


def answer(card: pd.DataFrame) -> str:
    """List the claims of the paper by what is decided on them in series of ten seeds."""
    judged = card[(card["seeds"] >= rules.SEEDS) & card["claim"].isin(CLAIMS.values())]
    count = judged["series"].nunique()
    cases = judged.groupby("claim", sort=False)["verdict"].value_counts().unstack(fill_value=0)
    lines, claims_left = [], cases.index
    for verdict in (rules.SUPPORTED, rules.CONTRADICTED):
        found: pd.Series = cases.get(verdict, pd.Series(0, index=cases.index))
        lines.append(f"- **{verdict.capitalize()}:** {_list(found[found > 0], count)}.")
        claims_left = claims_left[found[claims_left] == 0]
    return "\n".join([*lines, f"- **Not decided anywhere:** {'; '.join(claims_left)}."])


def _list(cases: pd.Series, count: int) -> str:
    said = [f"{claim} (in {n} of {count} series)" for claim, n in cases.items()]
    return "; ".join(said) or "nothing"


def costs(found: Mapping[str, pd.DataFrame]) -> str:
    """Say what either end of probing costs and gains against halfway down, and halfway at most.

    `found` are the accuracies of `replay.accuracies`. In points, with 95 percent intervals over
    seeds, unadjusted.
    """
    ends = {"Against halfway, no probing": NO_PROBING, "Probing to the end": replay.TO_THE_END}
    said = " ".join(f"{name} {_cost(found, way)}" for name, way in ends.items())
    most = replay.lost(found).loc[replay.HALFWAY].max()
    return (
        f"{said} Halfway is nowhere more than {most:.1f} points below the best of the ways that "
        "are compared."
    )


def _cost(found: Mapping[str, pd.DataFrame], way: str) -> str:
    """Say how much a way costs against halfway down in the median series, at most and at least."""
    gains = {
        name: interval((table[replay.HALFWAY] - table[way]).dropna())
        for name, table in found.items()
        if way in table
    }
    worst = max(gains, key=lambda name: gains[name][0])
    most, half = (100 * value for value in gains[worst])
    values = np.array([100 * gain for gain, _ in gains.values()])
    return (
        f"costs {np.median(values):.1f} points of test accuracy in the median series and up to "
        f"{most:.1f} ± {half:.1f} ({titled(worst)}); in {(values < 0).sum()} of {len(values)} "
        f"series it gains, by up to {max(-values.min(), 0):.1f}."
    )


def scopes(table: pd.DataFrame) -> dict[str, str]:
    """Return for each series its backbone, and on how many samples of each class it is trained."""
    return {
        name: f"{BACKBONES[runs['backbone'].iloc[0]]}, {runs['train_per_class'].iloc[0]} a class"
        for name, runs in by_series(table).items()
    }


def times_as_far(table: pd.DataFrame) -> dict[str, float]:
    """Return how many times as far features move without probing as after the longest probing."""
    ratios = {}
    for name, runs in by_series(relative(table)).items():
        mean = done(runs).assign(stop=stops).groupby("stop")["euclidean"].mean()
        first, last = ends(runs)
        ratios[name] = float(mean[first] / mean[last])
    return ratios


def distances(table: pd.DataFrame) -> Figure:
    """Draw the distance against AIE, one line per series, each with its name at its end.

    The distance is in norms of the pretrained features, on a logarithmic axis.
    """
    lines = by_series(relative(table))
    figure, (axis,) = grid(1)
    for look, (name, runs) in zip(distinct(lines), lines.items(), strict=True):
        curve(axis, runs, "aie", "euclidean", label=titled(name), **look)
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="energy left when finetuning starts (AIE)")
    axis.set_ylabel(r"distance $\|z_T - z_0\| / \|z_0\|$")
    label_at_the_end(axis)
    return figure
