"""Ways to prepare a head, judged by replay: what each would have cost in the recorded settings."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from taskhead.experiments.results import read_study
from taskhead.report.principles import SMALL_SCALE, like, scheme
from taskhead.report.series import NO_PROBING, by_series, curves, done, ends, over_settings

HALFWAY, CHOSEN = "probing halfway down", "the stop that validation prefers"
OWN_CHOICE = "the stop that validation prefers, seed by seed"
TO_THE_END = "probing to the end (LP-FT)"
SMALL = "no probing, head a tenth as large"
LEAST_SEEDS = 5


def accuracies(results: Path) -> dict[str, pd.DataFrame]:
    """Return for each series the test accuracy of every seed (rows) under each way (columns).

    No probing, halfway down, to the end, and the stop of the best mean validation accuracy are
    read off the sweep of the energy. Where they are recorded, rates in place of probing are read
    off `head_rate`, and a head of a tenth of the usual initial scale off `initial_head`. Halfway
    down is the level nearest to the middle between the lowest energy and that of no probing, or of
    a uniform guess if it is lower. A user has the validation accuracies of one seed: of stops that
    are best there alike, the mean counts. Series of fewer than five seeds are left out.
    """
    sweeps, *others = (
        read_study(name, results) for name in ("energy_sweep", "head_rate", "initial_head")
    )
    unprobed = pd.concat(others)
    found = {}
    for name, runs in by_series(sweeps).items() if len(sweeps) else ():
        aie, val, test = curves(runs, "aie", "val_accuracy", "test_accuracy")
        if len(test) < LEAST_SEEDS or NO_PROBING not in test:
            continue
        own = like(unprobed, runs) if len(unprobed) else unprobed
        energy, (_, longest) = aie.mean(), ends(runs)
        classes = pd.concat([runs, own])["n_classes"].max()
        start = np.fmin(energy[NO_PROBING], np.sqrt((classes - 1) / classes))
        middle = (start + energy.min()) / 2
        ways = {
            NO_PROBING: NO_PROBING,
            HALFWAY: (energy - middle).abs().idxmin(),
            TO_THE_END: longest,
            CHOSEN: val.mean().idxmax(),
        }
        table = pd.DataFrame({way: test[stop] for way, stop in ways.items() if stop in test})
        table[OWN_CHOICE] = test[val.eq(val.max(axis=1), axis=0)].mean(axis=1)
        for alike in by_series(own).values() if len(own) else ():
            if way := _way(alike.iloc[0]):
                table[way] = done(alike).set_index("seed")["test_accuracy"]
        found[name] = table
    return found


def _way(run: pd.Series) -> str | None:
    """Return what people call a run of `head_rate` or `initial_head`; None if nobody does so."""
    if run["init_scale"] == 1:
        return scheme(run)
    return SMALL if run["init_scale"] == SMALL_SCALE else None


def lost(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the regret of each way (rows) in each series (columns) of `accuracies`.

    It is how many points of mean test accuracy the way lies below the best way there, NaN where the
    series has no such way.
    """
    means = pd.DataFrame({name: table.mean() for name, table in found.items()})
    return 100 * (means.max() - means)


def regrets(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return mean rank and regret of every way over series.

    Ways of the same number of series stand together, the smallest regret first.

    The rank of a way is its place in a series, 1 being the best. Both are means over the series
    that have the way, the regret with the half width of its 95 percent interval, from three series
    on. "gain over halfway" is how many points more than probing halfway down a way has, series by
    series.
    """
    points = lost(found)
    ranks, gains = points.rank(), points.loc[HALFWAY] - points
    rows = {}
    for way in points.index:
        there = points.columns[points.loc[way].notna()]
        regret, regret_half = over_settings(points.loc[way, there])
        gain, gain_half = over_settings(gains.loc[way, there])
        rows[way] = {
            "mean rank": ranks.loc[way].mean(),
            "regret": regret,
            "regret ± 95 %": regret_half,
            "gain over halfway": gain,
            "gain ± 95 %": gain_half,
            "series": len(there),
        }
    return pd.DataFrame.from_dict(rows, orient="index").sort_values(
        ["series", "regret"], ascending=[False, True]
    )


def in_words(found: Mapping[str, pd.DataFrame]) -> str:
    """Say which way costs least, and which are told from halfway down.

    Of the ways that all series have, the stop that validation prefers over all seeds is left out,
    as nobody else has these seeds.
    """
    table = regrets(found).drop(CHOSEN, errors="ignore")
    table = table[table["series"] == len(found)]
    apart = table[table["gain over halfway"].abs() > table["gain ± 95 %"]]
    named = [
        f"{way} ({row['gain over halfway']:+.1f} ± {row['gain ± 95 %']:.1f} points)"
        for way, row in apart.iterrows()
    ]
    least = table.iloc[0]
    return (
        f"There are {len(found)} series. Of the ways that a user can follow, and that all series "
        f"have, *{table.index[0]}* has the smallest regret: {least['regret']:.1f} ± "
        f"{least['regret ± 95 %']:.1f} points. Clearly better or worse than probing halfway down, "
        f"at 95 percent: {', '.join(named) or 'none'}."
    )
