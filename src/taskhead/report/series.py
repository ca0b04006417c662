"""Series of a table: which runs belong to one curve, and at which points of it they lie."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import stats

from taskhead.experiments.run import Run, field_names

NO_PROBING = "no probing"
_NOT_NAMED = ("setting", "domain", "seed", "tau", "energy")  # named otherwise, or within a series


def interval(
    values: Sequence[float] | pd.Series,
    *,
    points: int = 1,
    images: int | None = None,
    overlap: float = 0.0,
) -> tuple[float, float]:
    """Return the mean and the half width of its 95 percent confidence interval (Student's t).

    With several `points` of a curve the intervals hold for all of them at once (Bonferroni). For
    accuracies, the number of test `images` adds their variance to that over seeds. Values of splits
    that hold out images of one set are not independent: `overlap`, images held out for each one
    learnt from, widens their interval (Nadeau and Bengio, Machine Learning 52, 2003). The half
    width is NaN for fewer than two values.
    """
    series = pd.Series(values, dtype=float)
    mean, n = float(series.mean()), len(series)
    if n < 2:
        return mean, math.nan
    variance = float(series.var()) * (1 / n + overlap)
    variance += mean * (1 - mean) / images if images else 0
    return mean, float(stats.t.ppf(1 - 0.025 / points, n - 1)) * math.sqrt(variance)


def over_settings(effects: pd.Series) -> tuple[float, float]:
    """Return the mean and the half width of `interval`, NaN for fewer than three settings.

    The interval of two is so wide (12.7 standard errors) that it tells nothing.
    """
    mean, half = interval(effects)
    return mean, half if len(effects) > 2 else math.nan


def done(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs that are done; what others measured means nothing."""
    return table[table["outcome"] == "done"]


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with distance, dot product and norm relative to the features before.

    The distance is that of each sample over its ||z_0||, the dot product over the mean of
    ||z_0||^2, the norm over that of ||z_0||; so features of different networks compare, and for the
    last two 1 is no change.
    """
    return table.assign(
        euclidean=table["relative_euclidean"],
        dot=table["dot"] / table["z0_squared_norm"],
        norm=table["norm"] / table["z0_norm"],
    )


def by_series(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each series by name, in the order of the table.

    A series is one setting and target domain. Whatever else varies within these, but for seed and
    where probing stops, parts it further and is named, as in "digits, eps = 0.1".
    """
    keys = [key for key in field_names(Run) if key in table and key not in _NOT_NAMED]
    series: dict[str, pd.DataFrame] = {}
    groups: Any = table.groupby(["setting", "domain"], sort=False, dropna=False)
    for (setting, domain), rows in groups:
        name = setting if pd.isna(domain) else f"{setting} ({domain})"
        varied = [key for key in keys if rows[key].nunique(dropna=False) > 1]
        parts = rows.groupby(varied, sort=False, dropna=False) if varied else [((), rows)]
        for values, part in parts:
            series[", ".join([name, *map(name_value, varied, values)])] = part
    return series


def name_value(key: str, value: Any) -> str:
    """Return "key = value", with "none" for a value that is not given or empty.

    Layers and blocks are named in words, as in "hidden layers: 512 + 512" and "new blocks: 1".
    """
    text = "none" if pd.isna(value) or value == "" else str(value)
    words = {"hidden": "hidden layers", "reinitialised_blocks": "new blocks"}
    return f"{words[key]}: {text.replace(' ', ' + ')}" if key in words else f"{key} = {text}"


def stops(table: pd.DataFrame) -> pd.Series:
    """Return where probing of each row stopped, in words: an energy, a tau, or no probing."""
    energies = table["energy"] if "energy" in table else pd.Series(math.nan, index=table.index)
    return pd.Series(
        [
            f"energy {energy:g}"
            if pd.isna(tau)
            else NO_PROBING
            if tau == 0
            else f"tau = {int(tau)}"
            for tau, energy in zip(table["tau"], energies, strict=True)
        ],
        index=table.index,
    )


def ends(table: pd.DataFrame) -> list[str]:
    """Return the stops that end one series, those that are there: no probing, the longest probing.

    The longest is that of the most epochs asked for; where only energies were, the lowest.
    """
    names, by_tau = stops(table), table["tau"].astype(float).fillna(-1)
    longest: Any = by_tau.idxmax() if (by_tau > 0).any() else table["aie"].idxmin()
    return [*names[names == NO_PROBING][:1], *{names[longest]} - {NO_PROBING}]


def curves(table: pd.DataFrame, *columns: str) -> tuple[pd.DataFrame, ...]:
    """Return columns of one series as tables of seeds (rows) and stops, from least energy up.

    Only runs that are done count, at every stop at which all seeds have one.
    """
    kept = done(table).assign(stop=stops)
    counts = kept.groupby("stop")["seed"].nunique()
    whole = counts.index[counts == table["seed"].nunique()]
    kept = kept[kept["stop"].isin(whole)]
    order = kept.groupby("stop")["aie"].mean().sort_values().index
    return tuple(kept.pivot(index="seed", columns="stop", values=c)[order] for c in columns)
