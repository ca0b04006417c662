"""What acts: how far features move as a product of powers of what was varied."""

import numpy as np
import pandas as pd

from taskhead.report.series import done, interval

FACTORS = {"aie": "energy", "last_layer_norm": "head norm", "ft_lr": "finetuning rate"}


def powers(table: pd.DataFrame, measure: str = "euclidean") -> pd.DataFrame:
    """Fit log(measure) = sum of a_f log(f) over energy, head norm and finetuning rate, by seed.

    One row per factor holds its power a_f, mean over seeds with the half width of its 95 percent
    interval, and the share of the variance of log(measure) that the factor explains alone; the last
    row is the share that all explain together. Only runs that are done and have a head count.
    """
    fits, found = _fits(table, measure), {}
    for index, name in enumerate(FACTORS.values()):
        mean, half = interval([power[index] for power, _ in fits])
        alone = np.mean([shares[index] for _, shares in fits])
        found[name] = {"power": mean, "half width": half, "variance explained": alone}
    together = np.mean([shares[-1] for _, shares in fits])
    found["all three"] = {"variance explained": together}
    return pd.DataFrame(found).T


def seed_powers(table: pd.DataFrame, measure: str = "euclidean") -> pd.DataFrame:
    """Return the powers that `powers` averages, one row a seed, one column a factor."""
    return pd.DataFrame([power for power, _ in _fits(table, measure)], columns=[*FACTORS.values()])


def _fits(table: pd.DataFrame, measure: str) -> list[tuple[np.ndarray, list[float]]]:
    rows = done(table)
    rows = rows[rows["last_layer_norm"] > 0]
    return [_fit(np.log(part[[measure, *FACTORS]].to_numpy())) for _, part in rows.groupby("seed")]


def _fit(logs: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Return the powers of all factors together, and the share that each alone, and all explain."""
    y, factors = logs[:, 0] - logs[:, 0].mean(), logs[:, 1:] - logs[:, 1:].mean(axis=0)
    power = np.linalg.lstsq(factors, y, rcond=None)[0]
    shares = [
        1 - float(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum() / (y**2).sum())
        for x in (*(factors[:, [index]] for index in range(factors.shape[1])), factors)
    ]
    return power, shares
