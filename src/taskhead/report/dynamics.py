"""What `one_step` and `dynamics` tables show: slopes, factors and their ratios, and the end."""

import math
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from taskhead.experiments.settings import load_setting
from taskhead.report.series import NO_PROBING, by_series, curves, done, interval, stops

FACTORS = ("energy", "gain", "coherence", "kernel")
LENGTH = "length"
A_TENTH = 0.1


class Ratio(NamedTuple):
    """A ratio as geometric mean over seeds, and the ends of its 95 percent interval."""

    mean: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """Its interval as "0.45 to 0.64"; "" for a single seed."""
        return "" if math.isnan(self.low) else f"{self.low:.2f} to {self.high:.2f}"

    @property
    def side(self) -> str:
        """On which side of 1 the interval lies."""
        return "larger" if self.low > 1 else "smaller" if self.high < 1 else "no clear difference"


def slopes(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the slope of log error against log rate between neighbouring rates, by setting.

    The error is the mean length of what the prediction of one step misses. Slopes are means over
    stops, then over seeds, with the half width of their 95 percent interval; `share at 2` is the
    share of heads whose slope lies within 0.05 of 2, `least` and `largest` are over all heads.
    """
    rows = []
    for setting, runs in done(steps).assign(stop=stops).groupby("setting", sort=False):
        errors = runs.pivot(index=["seed", "stop"], columns="ft_lr", values="step_missed")
        logs = errors.map(math.log)
        for lower, upper in pairwise(errors.columns.to_numpy(dtype=float)):
            local = (logs[upper] - logs[lower]) / math.log(upper / lower)
            mean, half = interval(local.groupby("seed").mean())
            row = {"setting": setting, "rates": f"{lower:g} to {upper:g}"}
            share = ((local - 2).abs() < 0.05).mean()
            ends = {"least": local.min(), "largest": local.max()}
            rows.append(row | {"slope": mean, "half width": half, "share at 2": share, **ends})
    return pd.DataFrame(rows).set_index(["setting", "rates"])


def factors(steps: pd.DataFrame) -> pd.DataFrame:
    """Return the factors of the first step by setting and stop, least energy first.

    They are means over seeds and do not depend on the rate; `length` is the predicted length of the
    step for each unit of the rate, for every seed the product of the factors.
    """
    means = _by_head(steps).groupby(["setting", "stop"], sort=False).mean()
    return means.sort_values(["setting", "energy"])


def against_no_probing(steps: pd.DataFrame) -> dict[str, tuple[str, dict[str, Ratio]]]:
    """Compare heads without probing with probed ones, factor by factor, in every setting.

    For each setting there is the stop of the probed heads with the longest first step, and how many
    times as large the factors and the length are without probing. The ratios of the factors
    multiply to that of the length.
    """
    found = {}
    for setting, heads in _by_head(steps).groupby("setting", sort=False):
        logs = heads.droplevel("setting").map(math.log)
        longest = str(logs[LENGTH].groupby("stop").mean().drop(NO_PROBING).idxmax())
        differences = logs.xs(NO_PROBING, level="stop") - logs.xs(longest, level="stop")
        found[str(setting)] = (
            longest,
            {name: _ratio(differences[name]) for name in (*FACTORS, LENGTH)},
        )
    return found


def through_epochs(table: pd.DataFrame) -> pd.DataFrame:
    """Return where finetuning ends, by setting and stop, as means over seeds, least energy first.

    `half spent` is the first recorded epoch at which half of the energy, or less, is left, and
    `kernel kept` the last up to which the kernel has changed by less than half of its norm.
    """
    rows = done(table).assign(stop=stops)
    rows["step error"] = rows["step_missed"] / rows["step_true"]
    rows["distance"] = rows["relative_euclidean"]
    found = {}
    for (setting, stop), runs in rows.groupby(["setting", "stop"], sort=False):
        means = runs.groupby("epoch").mean(numeric_only=True)
        first, last = means.iloc[0], means.iloc[-1]
        half = means.index[means["energy_left"] <= first["energy_left"] / 2]
        found[setting, stop] = {
            "energy": first["energy_left"],
            "energy left": last["energy_left"],
            "half spent": half.min() if len(half) else math.nan,
            "kernel kept": means.index[(means["kernel_change"] < 0.5).cummin()].max(),
            **{name: last[name] for name in ("kernel_change", "kernel_cosine", "head_cosine")},
            "step error, first": first["step error"],
            "step error, last": last["step error"],
            "distance": last["distance"],
        }
    index = pd.MultiIndex.from_tuples(found, names=["setting", "stop"])
    return pd.DataFrame(list(found.values()), index=index).sort_values(["setting", "energy"])


def first_step_without_probing(steps: pd.DataFrame) -> pd.DataFrame:
    """Return how many times as large factors and length are without probing, by setting.

    Each is divided by that of the probed head whose first step is the longest, which the index
    names.
    """
    rows = {
        (setting, f"no probing ÷ {stop}", name): {
            "ratio": round(ratio.mean, 2),
            "95 percent interval": ratio.interval,
            "no probing is": ratio.side,
        }
        for setting, (stop, ratios) in against_no_probing(steps).items()
        for name, ratio in ratios.items()
    }
    index = pd.MultiIndex.from_tuples(rows, names=["setting", "ratio of", "factor"])
    return pd.DataFrame(list(rows.values()), index=index)


def distance_without_probing(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return how many times as far features end without probing, by series of `energy_sweep`.

    They are compared with the probed head that moves them furthest. Series in which one of the two
    is missing are left out.
    """
    rows = {}
    for series, runs in by_series(sweep).items():
        (distance,) = curves(runs, "relative_euclidean")
        probed = distance.drop(columns=NO_PROBING, errors="ignore").mean()
        if NO_PROBING in distance and len(probed):
            ratio = _ratio((distance[NO_PROBING] / distance[probed.idxmax()]).map(math.log))
            rows[series] = {
                "furthest probed head": probed.idxmax(),
                "times as far without probing": round(ratio.mean, 2),
                "95 percent interval": ratio.interval,
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("series")


def said_of_the_error(steps: pd.DataFrame) -> str:
    """Say of every setting up to which rate one step is predicted to within a tenth."""
    lines = []
    for setting, runs in done(steps).assign(stop=stops).groupby("setting", sort=False):
        share = (runs["step_missed"] / runs["step_true"]).groupby([runs["ft_lr"], runs["stop"]])
        worst = share.mean().groupby("ft_lr").max()
        within = worst.index[(worst < A_TENTH).cummin()]
        told = f"up to the rate {within.max():g}" if len(within) else "at no rate"
        beyond = [
            f" At {rate:g}, up to {100 * worst[rate]:.0f} percent of the step is missed."
            for rate in worst.index.difference(within)[:1]
        ]
        lines.append(
            f"- **{setting}:** Finetuning begins at the rate "
            f"{load_setting(str(setting)).values['ft_lr']:g}. From every head, one step is "
            f"predicted to within a tenth {told}.{''.join(beyond)}"
        )
    return "\n".join(lines)


def _ratio(logs: pd.Series) -> Ratio:
    mean, half = interval(logs)
    return Ratio(*(math.exp(each) for each in (mean, mean - half, mean + half)))


def _by_head(steps: pd.DataFrame) -> pd.DataFrame:
    """Return factors and length of each head, which all rates share, by setting, seed and stop."""
    heads = done(steps).assign(stop=stops, length=steps["step_predicted"] / steps["ft_lr"])
    heads = heads.drop_duplicates(["setting", "seed", "stop"]).set_index(
        ["setting", "seed", "stop"]
    )
    names = {f"step_{name}": name for name in FACTORS}
    return heads[[*names, LENGTH]].rename(columns=names)
