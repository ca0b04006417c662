"""How far the rate of probing from the data is from the best constant one."""

import pandas as pd

from taskhead.report.series import by_series, done

AUTO = "auto"


def steps_to_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Return steps of probing down to each level of the energy, from a `probing_rate` table.

    One row per series and level, from the lowest up: the steps at the rate from the data, the
    fewest that a constant rate takes, that rate, and the ratio of the steps. Steps are means over
    seeds; a constant rate counts where it comes down to the level for all of them.
    """
    reached = done(table).dropna(subset="energy")
    rows = []
    for name, index in _series(reached).items():
        runs = reached.loc[index].assign(rate=lambda rows: rows["hp_lr"].astype(str))
        steps = runs.pivot_table("probed_steps", "energy", "rate")
        counts = runs.pivot_table("probed_steps", "energy", "rate", aggfunc="size")
        steps = steps.where(counts == runs["seed"].nunique())
        constant = steps.drop(columns=AUTO)
        best, rates = constant.min(axis=1), constant.idxmin(axis=1)
        columns = {"steps": steps[AUTO], "best constant": best, "its rate": rates}
        rows.append(pd.DataFrame({"series": name, **columns, "ratio": steps[AUTO] / best}))
    return pd.concat(rows).reset_index(names="energy")


def in_short(steps: pd.DataFrame) -> pd.DataFrame:
    """Return by series, from `steps_to_levels`, how many levels it has, and how the ratios lie."""
    by_name = steps.groupby("series", sort=False)["ratio"]
    return pd.DataFrame(
        {
            "levels": by_name.size(),
            "within twice the steps": by_name.agg(lambda ratios: (ratios <= 2).sum()),
            "ratio at the highest level": by_name.last(),
            "ratio at the lowest": by_name.first(),
        }
    ).rename_axis(None)


def _series(table: pd.DataFrame) -> dict[str, pd.Index]:
    named = by_series(table.drop(columns="hp_lr"))
    return {name: rows.index for name, rows in named.items()}
