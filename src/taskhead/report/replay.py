"""Ways to prepare a head, judged by replay: what each would have cost in the recorded settings."""

from pathlib import Path

import pandas as pd

from taskhead.experiments.results import read_study
from taskhead.report.principles import scheme
from taskhead.report.series import NO_PROBING, by_series, curves, done, ends, interval

HALFWAY, CHOSEN = "probing halfway down", "the stop that validation prefers"
TO_THE_END = "probing to the end (LP-FT)"
LEAST_SEEDS = 5


def accuracies(results: Path) -> dict[str, pd.DataFrame]:
    """Return for each series the test accuracy of every seed (rows) under each way (columns).

    No probing, halfway down, to the end, and the stop of the best mean validation accuracy are
    read off the sweep of the energy; rates in place of probing off `head_rate`, where there is one.
    Halfway down is the level nearest to the middle between the ends. Series of fewer than five
    seeds are left out.
    """
    sweeps, rates = (read_study(name, results) for name in ("energy_sweep", "head_rate"))
    found = {}
    for name, runs in by_series(sweeps).items() if len(sweeps) else ():
        aie, val, test = curves(runs, "aie", "val_accuracy", "test_accuracy")
        if len(test) < LEAST_SEEDS or NO_PROBING not in test:
            continue
        energy, (_, longest) = aie.mean(), ends(runs)
        middle = (energy[NO_PROBING] + energy.min()) / 2
        ways = {
            NO_PROBING: NO_PROBING,
            HALFWAY: (energy - middle).abs().idxmin(),
            TO_THE_END: longest,
            CHOSEN: val.mean().idxmax(),
        }
        table = pd.DataFrame({way: test[stop] for way, stop in ways.items() if stop in test})
        if len(rates):
            first = runs.iloc[0]
            own = rates[(rates["setting"] == first["setting"]) & rates["domain"].isna()]
            for alike in by_series(own).values() if len(own) else ():
                each = done(alike).set_index("seed")["test_accuracy"]
                table[scheme(alike.iloc[0])] = each
        found[name] = table
    return found


def regrets(results: Path) -> pd.DataFrame:
    """Return mean rank and regret of every way over the series, the smallest regret first.

    The regret of a way in a series is how many points of mean test accuracy it lies below the best
    way there; the rank is its place among the ways, 1 being the best. Both are means over the
    series that have the way, with the half width of the interval of the regret over them.
    """
    means = pd.DataFrame({name: table.mean() for name, table in accuracies(results).items()})
    lost, ranks = 100 * (means.max() - means), means.rank(ascending=False)
    rows = {}
    for way in means.index:
        mean, half = interval(lost.loc[way].dropna())
        series = int(lost.loc[way].notna().sum())
        rank = float(ranks.loc[way].mean())
        rows[way] = {"regret": mean, "half width": half, "mean rank": rank, "series": series}
    return pd.DataFrame(rows).T.sort_values("regret")
