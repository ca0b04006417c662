"""Verdicts on the paper's claims, by fixed rules over a results table."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import stats

from taskhead.experiments.run import Run, field_names
from taskhead.method.checks import check_choice

TRENDS = {
    "euclidean": "grows",
    "cosine": "falls",
    "dot": "rises, then falls",
    "norm": "rises, then falls",
}
POINT = 0.01  # of accuracy
NOT_RECORDED = "not recorded"
OTHER_DOMAIN = "test_accuracy on "  # begins the columns of domains that were not trained on
_NOT_NAMED = ("setting", "domain", "seed", "tau")  # name a series in another way, or lie within it

# How far a recorded run may be from the same run on another CPU: relative, but for accuracies.
TOLERANCE = {"aie": 0.01, **dict.fromkeys(TRENDS, 0.1), "test_accuracy": 0.05}


def interval(values: Sequence[float] | pd.Series) -> tuple[float, float]:
    """Return the mean and the half width of its 95 percent confidence interval (Student's t).

    The half width is NaN for fewer than two values.
    """
    series = pd.Series(values, dtype=float)
    half = stats.t.ppf(0.975, len(series) - 1) * series.sem() if len(series) > 1 else math.nan
    return float(series.mean()), float(half)


def by_series(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each series by name, in the order of the table.

    A series is one setting and target domain. Whatever else varies within these, but for seed and
    tau, parts it further and is named, as in "digits, eps = 0.1".
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
    """Return "key = value", with "none" for a value that is not given or empty."""
    return f"{key} = {'none' if pd.isna(value) or value == '' else value}"


def done(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs that are done; what others measured means nothing."""
    return table[table["outcome"] == "done"]


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
                if row["verdict"] != NOT_RECORDED
                else NOT_RECORDED
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
    Only runs that are done count, at every tau at which all seeds have one. A measure that some of
    them lack, as those recorded before it existed, is "not recorded".

    One row per measure holds the claim, values at least, peak and greatest energy (means over
    seeds), AIE at the peak, the statistic that decides with its half width, and the verdict.

    Raises `ValueError` if no tau is left.
    """
    table = _judged(table)
    energies = _seeds_by_tau(table, "aie")
    energies = energies[energies.mean().sort_values().index]
    aie = energies.mean()
    rows = []
    for name, claim in TRENDS.items():
        if name not in table or table[name].isna().any():
            rows.append({"measure": name, "claim": claim, "verdict": NOT_RECORDED})
            continue
        curves = _seeds_by_tau(table, name)[aie.index]
        mean = curves.mean()
        peak = int(mean.idxmax())  # pyright: ignore[reportArgumentType]
        if claim == "rises, then falls":
            heights = _heights_at_peak(curves)
            higher = [interval(heights - curves[end]) for end in (aie.index[0], aie.index[-1])]
            statistic, half = min(higher, key=lambda difference: difference[0] - difference[1])
            holds = peak not in (aie.index[0], aie.index[-1]) and statistic - half > 0
        else:
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
    percent confidence interval above zero. The runs that count are those of `feature_trends`.

    One row per end of the grid holds the chosen tau, its AIE and test accuracy, the end's tau and
    test accuracy, the mean difference, its half width, and the verdict on this comparison.
    """
    table = _judged(table)
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
    """Return mean test accuracies by target domain and tau, one column per domain tested on.

    Runs of a setting without domains stand under "all images".
    """
    tested = done(table).assign(domain=lambda runs: runs["domain"].fillna("all images"))
    others = {c: c.removeprefix(OTHER_DOMAIN) for c in map(str, tested) if OTHER_DOMAIN in c}
    tested = tested[["domain", "tau", "aie", "test_accuracy", *others]].rename(columns=others)
    for domain, accuracies in tested.groupby("domain")["test_accuracy"]:
        tested.loc[accuracies.index, domain] = accuracies
    return tested.drop(columns="test_accuracy").groupby(["domain", "tau"], sort=False).mean()


def smallest_sufficient(table: pd.DataFrame, searched: str) -> pd.DataFrame:
    """Choose a value of the column `searched` on validation accuracy alone.

    It is "ft_lr" for a `rate_search` table, "ft_epochs" for one of `length_search`. The validation
    accuracy after the last epoch is averaged over preparations for every seed. Of the values whose
    runs are all done, the smallest is chosen whose mean over seeds is within one point of the best.

    One row per value holds its runs, those not done, the validation accuracy of the others, its
    standard error over seeds, and whether the value is chosen.
    """
    check_choice("column", searched, table.columns)
    values = table.assign(missed=table["outcome"] != "done").groupby(searched)["missed"]
    accuracies = done(table).groupby([searched, "seed"])["last_val_accuracy"].mean()
    by_value = accuracies.groupby(searched)
    values = pd.DataFrame({"runs": values.size(), "not done": values.sum()}).assign(
        val_accuracy=by_value.mean(), standard_error=by_value.sem().fillna(0)
    )
    stable = values[values["not done"] == 0]
    enough = stable["val_accuracy"] >= stable["val_accuracy"].max() - POINT
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


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that are done at every tau at which all seeds have one."""
    kept = done(table)
    seeds = kept.groupby("tau")["seed"].nunique()
    kept = kept[kept["tau"].isin(seeds.index[seeds == table["seed"].nunique()])]
    if kept.empty:
        counts = ", ".join(f"{n} {name}" for name, n in table["outcome"].value_counts().items())
        raise ValueError(
            f"at no tau of {', '.join(by_series(table))} all seeds have a run that is done "
            f"({counts}); lower the rates"
        )
    return kept


def _seeds_by_tau(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the column as a table of seeds (rows) and taus (columns) without missing values."""
    check_choice("column", column, table.columns)
    return table.pivot(index="seed", columns="tau", values=column).dropna(axis="columns")
