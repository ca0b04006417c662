"""Runs of the two-layer linear model: one batch of runs is one call, and one write to disk."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from taskhead.experiments.inputs import Found, Inputs, Unit
from taskhead.experiments.run import STRICT, Count, Name, Scale, Seed
from taskhead.method import linear
from taskhead.method.lazy import lazy_bound, lazy_limit

N_SAMPLES = 10
PROBE_LR = 0.1
LAZY_WIDTH = 40
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LinearRun:
    """A head of `width` features and scale `init_scale`, probed for `tau` steps, then finetuned."""

    setting: Name
    preset: Name
    width: Count
    init_scale: Scale
    tau: Annotated[int, Field(ge=0)]
    seed: Seed


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LazyRun:
    """A head of norm ||v|| that leaves the residual `energy` * y on every sample, finetuned."""

    setting: Name
    preset: Name
    head_norm: Positive
    energy: Positive
    seed: Seed


def compute_linear(inputs: Inputs, unit: Unit) -> Found:
    """Probe and finetune the linear model, all runs of one width at once.

    The N = 10 inputs are orthonormal (X X^T = I), targets are +1 and -1 in equal number, entries
    of B_0 have variance 1 / h, and those of v_0 have standard deviation init_scale / sqrt(h). The
    AIE of the squared loss is the mean of |y - q_0|, measures are means over samples.
    """
    batch, width, start = unit.runs, unit.runs[0].width, time.perf_counter()
    X, y, B0, v0 = _problems(batch, width, feature_scale=width**-0.5)
    taus = np.array([run.tau for run in batch])
    v0 = v0 * np.array([run.init_scale for run in batch])[:, None]
    v = linear.probe(X, y, B0, v0, tau=taus, lr=PROBE_LR)
    tuned = linear.flow(X, y, B0, v)
    z0, zT = X @ B0.swapaxes(-1, -2), X @ tuned.B_T.swapaxes(-1, -2)
    z0_norm, zT_norm, dot = _norm(z0), _norm(zT), (z0 * zT).sum(-1)
    measures = {
        "aie": np.abs(y - (z0 @ v[..., None])[..., 0]).mean(-1),
        "last_layer_norm": _norm(v),
        "euclidean": _norm(zT - z0).mean(-1),
        "cosine": (dot / (z0_norm * zT_norm)).mean(-1),
        "dot": dot.mean(-1),
        "norm": zT_norm.mean(-1),
        "z0_norm": z0_norm.mean(-1),
        "final_residual": np.abs(tuned.residual).max(-1),
        "conserved_drift": tuned.conserved_drift,
    }
    return _rows(batch, measures, time.perf_counter() - start)


def compute_lazy(inputs: Inputs, unit: Unit) -> Found:
    """Compare exact flow and lazy limit at set energies, all runs of one head norm at once.

    Entries of B_0 have standard deviation 1/2. With h = 40 features and N = 10 samples there is a
    head of any norm above the least one that leaves the residual e = energy * y on every sample:
    the least-squares head for (1 - energy) y, plus a vector orthogonal to all features.

    Changes are means over samples, divided so that heads of all norms compare: `euclidean` by
    |y| / ||v||, `dot_change` and `squared_norm_change` (against ||z_0||^2) by y^2 / ||v||^2. Errors
    against the limit and their bounds are the largest over samples, divided likewise.
    """
    batch, head_norm, start = unit.runs, unit.runs[0].head_norm, time.perf_counter()
    X, y, B0, free = _problems(batch, LAZY_WIDTH, feature_scale=0.5)
    energies = np.array([run.energy for run in batch])[:, None]
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
    problem = (y, energies * y, v, z0)
    lazy, bound = lazy_limit(*problem), lazy_bound(*problem)
    squared = (z0**2).sum(-1)
    found = {
        "euclidean": (_norm(zT - z0), lazy.euclidean, bound.euclidean),
        "dot_change": ((z0 * zT).sum(-1) - squared, lazy.dot - squared, bound.dot),
        "squared_norm_change": (
            (zT**2).sum(-1) - squared,
            lazy.norm**2 - squared,
            bound.squared_norm,
        ),
    }
    measures: dict[str, np.ndarray] = {"conserved_drift": tuned.conserved_drift}
    for name, (flow, limit, most) in found.items():
        scale = head_norm if name == "euclidean" else head_norm**2
        measures[name] = flow.mean(-1) * scale
        measures[f"lazy_{name}"] = limit.mean(-1) * scale
        measures[f"{name}_error"] = np.abs(flow - limit).max(-1) * scale
        measures[f"{name}_bound"] = most.max(-1) * scale
    return _rows(batch, measures, time.perf_counter() - start)


def draw_problem(seed: int, width: int, *, feature_scale: float) -> tuple[np.ndarray, ...]:
    """Return X (N, N), y (N,), B_0 (h, N) and v_0 (h,) at init_scale 1, drawn from a seed.

    `feature_scale` is the deviation of B_0's entries.
    """
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(rng.normal(size=(N_SAMPLES, N_SAMPLES)))[0]
    y = rng.permutation(np.repeat([1.0, -1.0], N_SAMPLES // 2))
    B0 = rng.normal(size=(width, N_SAMPLES)) * feature_scale
    return X, y, B0, rng.normal(size=width) / np.sqrt(width)


def _problems(runs: Sequence, width: int, *, feature_scale: float) -> tuple[np.ndarray, ...]:
    """Return the problems of R runs stacked: X (R, N, N), y (R, N), B_0 (R, h, N), v_0 (R, h)."""
    seeds = [run.seed for run in runs]
    drawn = {seed: draw_problem(seed, width, feature_scale=feature_scale) for seed in set(seeds)}
    stacked = zip(*(drawn[seed] for seed in seeds), strict=True)
    return tuple(np.stack(arrays) for arrays in stacked)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def _rows(batch: Sequence, measures: Mapping[str, np.ndarray], wall_s: float) -> Found:
    """Give each run its measures; the wall time is shared equally."""
    done, rest = {"outcome": "done", "reason": None}, {"wall_s": wall_s / len(batch)}
    rows = [{k: float(values[i]) for k, values in measures.items()} for i in range(len(batch))]
    return [(run, [done | row | rest]) for run, row in zip(batch, rows, strict=True)]
