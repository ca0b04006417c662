"""What the first screen of the book says: the answer, and the distances behind it."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taskhead.report import rules
from taskhead.report.choices import chosen_stop
from taskhead.report.claims import CLAIMS
from taskhead.report.panels import COLORS, curve, grid, label_at_the_end
from taskhead.report.series import NO_PROBING, by_series, done, ends, relative, stops

NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "pacs": "PACS",
    "minilm": "MiniLM",
    "trec": "TREC",
    "subj": "Subj",
    "solar-cells": "solar cells",
}


def title(series: str) -> str:
    """Return the name of a series as people write it: "ImageNet → PACS (photo)"."""
    setting, *domain = series.split(" ", 1)
    places = [NAMES.get(place, place) for place in setting.split("-to-")]
    return " ".join([" → ".join(places), *domain])


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


def costs(table: pd.DataFrame) -> str:
    """Say what either end of probing costs against the stop that validation chooses, at most.

    In points of test accuracy, with 95 percent intervals over seeds, unadjusted; and in which
    series an end was better than that stop, with an interval that excludes zero.
    """
    compared = {title(name): chosen_stop(runs) for name, runs in by_series(table).items()}
    rows = pd.concat(compared).reset_index(names=["series", "end"])
    unprobed = rows["compared with"] == NO_PROBING
    lost = rows.loc[rows["difference"] < -rows["half width"], "series"].unique()
    where = f" ({', '.join(lost)})" if len(lost) else ""
    return (
        f"Against the stop that validation chooses, no probing costs up to "
        f"{_most(rows[unprobed])} points of test accuracy, probing to the end up to "
        f"{_most(rows[~unprobed])}. In {len(lost)} of {len(compared)} series{where} one of the two "
        "was better than that stop."
    )


def _most(rows: pd.DataFrame) -> str:
    row = rows.sort_values("difference").iloc[-1]
    most, half = 100 * row["difference"], 100 * row["half width"]
    return f"{most:.1f} ± {half:.1f} ({row['series']})"


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
    for color, (name, runs) in zip(
        sns.color_palette(COLORS, len(lines)), lines.items(), strict=True
    ):
        curve(axis, runs, "aie", "euclidean", color=color, label=title(name))
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="energy left when finetuning starts (AIE)")
    axis.set_ylabel(r"distance $\|z_T - z_0\| / \|z_0\|$")
    label_at_the_end(axis)
    return figure
