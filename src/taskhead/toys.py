"""Runs of the two-layer linear model: one batch of runs is one call, and one write to disk."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby, product
from typing import Any

import numpy as np

from taskhead import linear
from taskhead.presets import LazyLimit, ToyLinear
from taskhead.records import Row

N_SAMPLES = 10
PROBE_LR = 0.1
LAZY_WIDTH = 40

TOY_LINEAR_COLUMNS: dict[str, type] = {
    "setting": str,
    "preset": str,
    "seed": int,
    "width": int,
    "init_scale": float,
    "tau": int,
    "aie": float,
    "head_norm": float,
    "euclidean": float,
    "cosine": float,
    "dot": float,
    "norm": float,
    "z0_norm": float,
    "final_residual": float,
    "drift": float,
    "wall_s": float,
}
TOY_LINEAR_KEY = ("setting", "preset", "width", "init_scale", "tau", "seed")

LAZY_LIMIT_COLUMNS: dict[str, type] = {
    "setting": str,
    "preset": str,
    "seed": int,
    "head_norm": float,
    "energy": float,
    "euclidean": float,
    "dot_change": float,
    "squared_norm_change": float,
    "lazy_euclidean": float,
    "lazy_dot_change": float,
    "lazy_squared_norm_change": float,
    "drift": float,
    "wall_s": float,
}
LAZY_LIMIT_KEY = ("setting", "preset", "head_norm", "energy", "seed")


def plan_toy_linear(setting: str, preset: str, scale: ToyLinear) -> list[dict[str, Any]]:
    """Return the keys of all runs of the `toy_linear` grid."""
    grid = product(scale.widths, scale.init_scales, scale.taus, scale.seeds)
    return [dict(zip(TOY_LINEAR_KEY, (setting, preset, *run), strict=True)) for run in grid]


def compute_toy_linear(runs: Sequence[Row]) -> Iterator[list[Row]]:
    """Probe and finetune the linear model; yield the rows of one width at a time.

    The N = 10 inputs are orthonormal (X X^T = I), targets are +1 and -1 in equal number, entries
    of B_0 have variance 1 / h, and those of v_0 have standard deviation init_scale / sqrt(h). The
    AIE of the squared loss is the mean of |y - q_0|, measures are means over samples.
    """
    for width, group in groupby(runs, lambda run: run["width"]):
        batch, start = list(group), time.perf_counter()
        X, y, B0, v0 = _problems(batch, width, feature_scale=width**-0.5)
        taus = np.array([run["tau"] for run in batch])
        v0 = v0 * np.array([run["init_scale"] for run in batch])[:, None]
        v = linear.probe(X, y, B0, v0, tau=taus, lr=PROBE_LR)
        tuned = linear.flow(X, y, B0, v)
        z0, zT = X @ B0.swapaxes(-1, -2), X @ tuned.B_T.swapaxes(-1, -2)
        z0_norm, zT_norm, dot = _norm(z0), _norm(zT), (z0 * zT).sum(-1)
        measures = {
            "aie": np.abs(y - (z0 @ v[..., None])[..., 0]).mean(-1),
            "head_norm": _norm(v),
            "euclidean": _norm(zT - z0).mean(-1),
            "cosine": (dot / (z0_norm * zT_norm)).mean(-1),
            "dot": dot.mean(-1),
            "norm": zT_norm.mean(-1),
            "z0_norm": z0_norm.mean(-1),
            "final_residual": np.abs(tuned.residual).max(-1),
            "drift": tuned.drift,
        }
        yield _rows(batch, measures, time.perf_counter() - start)


def plan_lazy_limit(setting: str, preset: str, scale: LazyLimit) -> list[dict[str, Any]]:
    """Return the keys of all runs of the `lazy_limit` grid."""
    grid = product(scale.head_norms, scale.energies, scale.seeds)
    return [dict(zip(LAZY_LIMIT_KEY, (setting, preset, *run), strict=True)) for run in grid]


def compute_lazy_limit(runs: Sequence[Row]) -> Iterator[list[Row]]:
    """Compare exact flow and lazy limit at a set energy; yield the rows of one head norm at a time.

    Entries of B_0 have standard deviation 1/2. With h = 40 features and N = 10 samples there is a
    head of any norm above the least one that leaves the residual e = energy * y on every sample:
    the least-squares head for (1 - energy) y, plus a vector orthogonal to all features.

    Changes are means over samples, divided so that heads of all norms compare: `euclidean` by
    |y| / ||v||, `dot_change` and `squared_norm_change` (against ||z_0||^2) by y^2 / ||v||^2.
    """
    for head_norm, group in groupby(runs, lambda run: run["head_norm"]):
        batch, start = list(group), time.perf_counter()
        X, y, B0, free = _problems(batch, LAZY_WIDTH, feature_scale=0.5)
        energies = np.array([run["energy"] for run in batch])[:, None]
        z0 = X @ B0.swapaxes(-1, -2)
        inverse = np.linalg.pinv(z0)
        fitted = (inverse @ ((1 - energies) * y)[..., None])[..., 0]
        free = free - (inverse @ (z0 @ free[..., None]))[..., 0]
        rest = head_norm**2 - (fitted**2).sum(-1, keepdims=True)
        if (rest <= 0).any():
            raise ValueError(
                f"head norm {head_norm} is below {np.sqrt((fitted**2).sum(-1).max()):.3g}, the "
                f"least that leaves energy {energies.min()}; raise it in the preset"
            )
        v = fitted + free * np.sqrt(rest / (free**2).sum(-1, keepdims=True))
        tuned = linear.flow(X, y, B0, v)
        zT = X @ tuned.B_T.swapaxes(-1, -2)
        lazy = linear.lazy_limit(y, energies * y, v, z0)
        squared = (z0**2).sum(-1)
        measures = {
            "euclidean": _norm(zT - z0).mean(-1) * head_norm,
            "dot_change": ((z0 * zT).sum(-1) - squared).mean(-1) * head_norm**2,
            "squared_norm_change": ((zT**2).sum(-1) - squared).mean(-1) * head_norm**2,
            "lazy_euclidean": lazy.euclidean.mean(-1) * head_norm,
            "lazy_dot_change": (lazy.dot - squared).mean(-1) * head_norm**2,
            "lazy_squared_norm_change": (lazy.norm**2 - squared).mean(-1) * head_norm**2,
            "drift": tuned.drift,
        }
        yield _rows(batch, measures, time.perf_counter() - start)


def draw_problem(seed: int, width: int, *, feature_scale: float) -> tuple[np.ndarray, ...]:
    """Return X (N, N), y (N,), B_0 (h, N) and v_0 (h,) at init_scale 1, drawn from a seed.

    `feature_scale` is the deviation of B_0's entries.
    """
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(rng.normal(size=(N_SAMPLES, N_SAMPLES)))[0]
    y = rng.permutation(np.repeat([1.0, -1.0], N_SAMPLES // 2))
    B0 = rng.normal(size=(width, N_SAMPLES)) * feature_scale
    return X, y, B0, rng.normal(size=width) / np.sqrt(width)


def _problems(runs: Sequence[Row], width: int, *, feature_scale: float) -> tuple[np.ndarray, ...]:
    """Return the problems of R runs stacked: X (R, N, N), y (R, N), B_0 (R, h, N), v_0 (R, h)."""
    seeds = [run["seed"] for run in runs]
    drawn = {seed: draw_problem(seed, width, feature_scale=feature_scale) for seed in set(seeds)}
    stacked = zip(*(drawn[seed] for seed in seeds), strict=True)
    return tuple(np.stack(arrays) for arrays in stacked)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def _rows(batch: Sequence[Row], measures: dict[str, np.ndarray], wall_s: float) -> list[Row]:
    """Join the runs' keys and measures; the wall time is shared equally."""
    return [
        {
            **run,
            **{name: float(values[i]) for name, values in measures.items()},
            "wall_s": wall_s / len(batch),
        }
        for i, run in enumerate(batch)
    ]
