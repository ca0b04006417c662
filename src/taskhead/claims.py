"""Verdicts on the paper's claims, by fixed rules over a results table."""

import math
from collections.abc import Sequence

import pandas as pd
from scipy import stats

from taskhead.checks import check_choice
from taskhead.tasks import NO_DOMAIN

TRENDS = {
    "euclidean": "grows",
    "cosine": "falls",
    "dot": "rises, then falls",
    "norm": "rises, then falls",
}

# How far a recorded run may be from the same run on another CPU: relative, but for accuracies.
TOLERANCE = {
    "aie": 0.01,
    "euclidean": 0.1,
    "cosine": 0.1,
    "dot": 0.1,
    "norm": 0.1,
    "test_accuracy": 0.05,
}


def interval(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Return the mean and the half width of its 95 percent confidence interval (Student's t).

    The half width is NaN for fewer than two values.
    """
    series = pd.Series(values, dtype=float)
    half = stats.t.ppf(0.975, len(series) - 1) * series.sem() if len(series) > 1 else math.nan
    return float(series.mean()), float(half)


def by_series(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each setting and target domain by name, in the order of the table."""
    groups = table.groupby(["setting", "domain"], sort=False)
    return {
        str(setting) if domain == NO_DOMAIN else f"{setting} ({domain})": rows
        for (setting, domain), rows in groups  # pyright: ignore[reportGeneralTypeIssues]
    }


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Judge every series of `energy_sweep` tables, one row each: the four trends and the optimum.

    A cell holds the verdict of `feature_trends` with its statistic and half width, or that of
    `best_in_between` on both ends together.
    """
    rows = {}
    for name, runs in by_series(table).items():
        trends, ends = feature_trends(runs), best_in_between(runs)
        rows[name] = {
            "seeds": runs["seed"].nunique(),
            **{
                f"{measure} {row['claim']}": f"{row['verdict']} "
                f"({row['statistic']:.3g} ± {round(row['half width'], 9):.2g})"
                for measure, row in trends.iterrows()
            },
            "best in between": together(ends["verdict"]),
        }
    return pd.DataFrame(rows).T


def feature_trends(table: pd.DataFrame) -> pd.DataFrame:
    """Judge how the four feature measures follow the initial energy in an `energy_sweep` table.

    "grows" and "falls": the rank correlation (Spearman) of the measure with the AIE over the tau
    grid, taken for every seed, has a 95 percent confidence interval over seeds that lies wholly
    on the claimed side of zero. "rises, then falls": the peak of the mean curve lies inside the
    grid, and exceeds both ends by a paired difference over seeds whose 95 percent confidence
    interval lies wholly above zero; each seed's peak is the one of the mean curve of the other
    seeds, so that no seed both chooses and judges it. Otherwise the verdict is "not shown".
    Diverged runs are left out, and with them every tau at which some seed diverged.

    Returns
    -------
    DataFrame
        One row per measure: claim, values at least, peak and greatest energy (means over seeds),
        AIE at the peak, the statistic that decides with its half width, and the verdict.

    Raises
    ------
    ValueError
        If no tau is left.
    """
    table = _without_diverged(table)
    by_tau = {name: _seeds_by_tau(table, name) for name in ("aie", *TRENDS)}
    aie = by_tau["aie"].mean().sort_values()
    rows = []
    for name, claim in TRENDS.items():
        curves = by_tau[name][aie.index]
        mean = curves.mean()
        peak = int(mean.idxmax())  # pyright: ignore[reportArgumentType]
        if claim == "rises, then falls":
            heights = _heights_at_peak(curves)
            higher = [interval(heights - curves[end]) for end in (aie.index[0], aie.index[-1])]
            statistic, half = min(higher, key=lambda difference: difference[0] - difference[1])
            holds = peak not in (aie.index[0], aie.index[-1]) and statistic - half > 0
        else:
            energies = by_tau["aie"][aie.index]
            ranks = [stats.spearmanr(energies.loc[s], curves.loc[s])[0] for s in curves.index]
            statistic, half = interval(ranks)
            holds = (statistic if claim == "grows" else -statistic) - half > 0
        rows.append(
            {
                "measure": name,
                "claim": claim,
                "at least energy": mean.iloc[0],
                "at peak": mean[peak],
                "at greatest energy": mean.iloc[-1],
                "AIE at peak": aie[peak],
                "statistic": statistic,
                "half width": half,
                "verdict": "holds" if holds else "not shown",
            }
        )
    return pd.DataFrame(rows).set_index("measure")


def best_in_between(table: pd.DataFrame, *, judged_on: str = "test_accuracy") -> pd.DataFrame:
    """Judge whether finetuning from mild probing beats both ends of the tau grid.

    The tau with the highest mean validation accuracy is chosen; its test accuracy, or another
    column it is `judged_on`, is compared with that of the first and the last tau, paired over
    seeds. The claim holds if the chosen tau lies inside the grid and both differences have a 95
    percent confidence interval above zero. Diverged runs are treated as in `feature_trends`.

    Returns
    -------
    DataFrame
        One row per end of the grid: chosen tau, its AIE and test accuracy, the end's tau and test
        accuracy, the mean difference, its half width, and the verdict on this comparison.
    """
    table = _without_diverged(table)
    test, aie = _seeds_by_tau(table, judged_on), _seeds_by_tau(table, "aie")
    chosen = _seeds_by_tau(table, "val_accuracy").mean().idxmax()
    rows = []
    for end in (test.columns[0], test.columns[-1]):
        difference, half = interval(test[chosen] - test[end])
        rows.append(
            {
                "chosen tau": chosen,
                "AIE": aie[chosen].mean(),
                "test accuracy": test[chosen].mean(),
                "compared with tau": end,
                "its test accuracy": test[end].mean(),
                "difference": difference,
                "half width": half,
                "verdict": "holds" if chosen != end and difference - half > 0 else "not shown",
            }
        )
    return pd.DataFrame(rows)


def accuracy_by_domain(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean test accuracies by target domain and tau, one column per domain tested on."""
    others = table["ood_by_domain"].map(
        lambda text: {
            name: float(value)
            for name, value in (part.split("=") for part in text.split() if "=" in part)
        }
    )
    tested = pd.concat(
        [
            table[["domain", "tau", "aie"]],
            pd.DataFrame(others.tolist(), index=table.index),
        ],
        axis=1,
    )
    for domain in table["domain"].unique():
        own = table["domain"] == domain
        tested.loc[own, domain] = table.loc[own, "test_accuracy"]
    return tested.groupby(["domain", "tau"], sort=False).mean()


def smallest_sufficient(table: pd.DataFrame, searched: str) -> pd.DataFrame:
    """Choose a value of the column `searched` on validation accuracy alone.

    It is "ft_lr" for a `rate_search` table, "ft_epochs" for one of `length_search`. The validation
    accuracy of a value is averaged over the tau grid for every seed. Of the values at which no run
    diverged, the smallest is chosen whose mean over seeds is within one standard error of the best.

    Returns
    -------
    DataFrame
        One row per value: runs, diverged runs, validation accuracy, its standard error over seeds,
        and whether the value is chosen.
    """
    check_choice("column", searched, table.columns)
    values = table.groupby(searched).agg(
        runs=("status", "size"),
        diverged=("status", lambda status: int((status == "diverged").sum())),
    )
    by_seed = table.groupby([searched, "seed"])["val_accuracy"].mean().groupby(searched)
    values = values.assign(val_accuracy=by_seed.mean(), standard_error=by_seed.sem().fillna(0))
    stable = values[values["diverged"] == 0]
    best = stable.nlargest(1, "val_accuracy")
    enough = stable["val_accuracy"] >= float((best["val_accuracy"] - best["standard_error"]).sum())
    return values.assign(chosen=values.index == stable.index[enough].min())


def _heights_at_peak(curves: pd.DataFrame) -> pd.Series:
    """Return each seed's value at the tau where the mean curve of the other seeds peaks."""
    if len(curves) < 2:
        return pd.Series(math.nan, index=curves.index)
    return pd.Series(
        {seed: curves.loc[seed, curves.drop(seed).mean().idxmax()] for seed in curves.index}
    )


def together(verdicts: pd.Series) -> str:
    """Return one verdict for a claim that holds only if all its parts do."""
    return "holds" if (verdicts == "holds").all() else "not shown"


def _without_diverged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of every tau at which no seed diverged."""
    kept = table[~table["tau"].isin(table.loc[table["status"] == "diverged", "tau"])]
    if kept.empty:
        raise ValueError("at every tau some seed diverged; lower ft_lr or hp_lr of the setting")
    return kept


def _seeds_by_tau(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the column as a table of seeds (rows) and taus (columns) without missing values."""
    check_choice("column", column, table.columns)
    return table.pivot(index="seed", columns="tau", values=column).dropna(axis="columns")
