"""The bound on how far features move: constants, and which quantity orders runs best."""

from dataclasses import fields

import numpy as np
import pandas as pd

from taskhead.experiments.run import ProbingRun
from taskhead.report.names import titled
from taskhead.report.series import NO_PROBING, by_series, done, interval, stops

GRADIENT = "feature_gradient_norm"
ALIKE = 0.005  # difference of rank correlations that two decimals do not show
POOR = 0.5  # rank correlation below which runs are not ordered well
QUANTITIES = {
    "aie": "AIE",
    "norm_times_aie": "head norm times AIE",
    GRADIENT: "gradient at the features",
}


def with_quantities(sweep: pd.DataFrame, gradients: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of `energy_sweep` with the quantities that may bound their distance.

    `gradients` is a table of `initial_gradients`, from which the gradient that reaches features
    comes, by the keys of probing. Only runs that are done and stand in both tables are kept.
    """
    keys = [each.name for each in fields(ProbingRun)]
    known = gradients[[*keys, GRADIENT]]
    joined = done(sweep).drop(columns=GRADIENT, errors="ignore").merge(known, on=keys)
    return joined.assign(norm_times_aie=joined["last_layer_norm"] * joined["aie"])


def constants(runs: pd.DataFrame) -> pd.Series:
    """Return for each quantity the least c with distance <= c * quantity in all runs."""
    return pd.Series({name: (runs["euclidean"] / runs[name]).max() for name in QUANTITIES})


def bounds(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the quantities of `with_quantities` as bounds on the distance, by series.

    `constant` is the least c with distance <= c * quantity in all runs, and `bound ÷ distance` the
    median over runs of c * quantity / distance. `order` is the rank correlation of quantity and
    distance over the stops of a seed, mean over seeds with the half width of its 95 percent
    interval; `order, probed` leaves heads without probing out.
    """
    rows = {}
    for series, runs in by_series(table).items():
        c, orders = constants(runs), rank_correlations(runs)
        probed = rank_correlations(runs[stops(runs) != NO_PROBING])
        for name, label in QUANTITIES.items():
            behind = "" if name == "aie" else _said(orders["aie"] - orders[name])
            looseness = (c[name] * runs[name] / runs["euclidean"]).median()
            rows[series, label] = {
                "constant": f"{c[name]:.3g}",
                "bound ÷ distance (median)": f"{looseness:.1f}",
                "order": _said(orders[name]),
                "order, probed": _said(probed[name]),
                "order of AIE minus this one": behind,
            }
    index = pd.MultiIndex.from_tuples(rows, names=["series", "quantity"])
    return pd.DataFrame(list(rows.values()), index=index)


def said_of_the_order(table: pd.DataFrame) -> str:
    """Say of every series which quantity orders the runs best, or that some do so alike."""
    lines = []
    for series, runs in by_series(table).items():
        orders = rank_correlations(runs)
        means = orders.mean().sort_values(ascending=False)
        best, second = means.index[:2]
        alike = means.index[means > means[best] - ALIKE]
        if len(alike) > 1:
            names = " and ".join(QUANTITIES[name] for name in alike)
            said = f"{names if len(alike) < len(means) else 'all three'} order runs alike"
        else:
            mean, half = interval(orders[best] - orders[second])
            clear = "clearly" if mean > half else "though not clearly"
            said = f"{QUANTITIES[best]} orders runs best, {clear}"
        poor = "; none orders them well" if means[best] < POOR else ""
        lines.append(f"- **{titled(series)}:** {said}{poor} (rank correlation {means[best]:.2f}).")
    return "\n".join(lines)


def rank_correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rank correlation of each quantity (columns) with the distance, by seed."""
    by_seed = {seed: part.rank() for seed, part in runs.groupby("seed")[["euclidean", *QUANTITIES]]}
    orders = {seed: part.corrwith(part["euclidean"]) for seed, part in by_seed.items()}
    return pd.DataFrame(orders).T[list(QUANTITIES)]


def _said(values: pd.Series) -> str:
    mean, half = interval(values)
    return f"{mean:.2f} ± {half:.2f}" if np.isfinite(half) else f"{mean:.2f}"
