"""Choices on validation accuracy: rates and lengths, and where to stop probing."""

import pandas as pd

from taskhead.method.checks import check_choice
from taskhead.report.series import curves, done, ends, interval, stops

POINT = 0.01  # of accuracy
OTHER_DOMAIN = "test_accuracy on "  # begins the columns of domains that were not trained on


def chosen_stop(table: pd.DataFrame, *, judged_on: str = "test_accuracy") -> pd.DataFrame:
    """Compare the stop with the best mean validation accuracy with both ends of a series.

    One row per end, no probing and the end of probing: the chosen stop, its AIE and accuracy in the
    column `judged_on`, the end and its accuracy, and the mean difference over seeds with the half
    width of its 95 percent interval. This describes the table; the claim is judged by thirds.

    Raises `ValueError` if at no stop all seeds have a run that is done.
    """
    aie, val, test = curves(table, "aie", "val_accuracy", judged_on)
    if aie.empty or not len(aie.columns):
        counts = ", ".join(f"{n} {name}" for name, n in table["outcome"].value_counts().items())
        raise ValueError(f"at no stop all seeds have a run that is done ({counts})")
    chosen, rows = val.mean().idxmax(), []
    for end in (end for end in ends(table) if end in aie):
        difference, half = interval(test[chosen] - test[end])
        rows.append(
            {
                "chosen": chosen,
                "AIE": aie[chosen].mean(),
                "accuracy": test[chosen].mean(),
                "compared with": end,
                "its accuracy": test[end].mean(),
                "difference": difference,
                "half width": half,
            }
        )
    return pd.DataFrame(rows)


def accuracy_by_domain(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean test accuracies by target domain and stop, one column per domain tested on.

    Runs of a setting without domains stand under "all images".
    """
    tested = done(table).assign(domain=lambda runs: runs["domain"].fillna("all images"))
    others = {c: c.removeprefix(OTHER_DOMAIN) for c in map(str, tested) if OTHER_DOMAIN in c}
    tested = tested.assign(stop=stops)
    tested = tested[["domain", "stop", "aie", "test_accuracy", *others]].rename(columns=others)
    for domain, accuracies in tested.groupby("domain")["test_accuracy"]:
        tested.loc[accuracies.index, domain] = accuracies
    return tested.drop(columns="test_accuracy").groupby(["domain", "stop"], sort=False).mean()


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
