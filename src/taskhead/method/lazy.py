"""The lazy limit of the linear model: finetuning with a head that hardly moves, and its error.

Inputs are orthonormal (X X^T = I). Shapes, with any leading batch dimensions: targets y and initial
residuals e = y - Z_0 v (..., N), the head v (..., h), its features Z_0 (..., N, h).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # what NumPy takes for an array


@dataclass(frozen=True)
class LazyLimit:
    """Per-sample feature measures in the lazy limit; `norm` is ||z_T||."""

    euclidean: Array
    dot: Array
    norm: Array


@dataclass(frozen=True)
class LazyErrors:
    """Per-sample errors of the lazy limit, in ||z_T - z_0||, z_T . z_0 and ||z_T||^2."""

    euclidean: Array
    dot: Array
    squared_norm: Array


def lazy_limit(y: Array, e: Array, v: Array, z0: Array) -> LazyLimit:
    r"""Return the feature measures of finetuning in closed form when the head hardly moves.

    For orthonormal inputs (X X^T = I) and v constant, a sample with target y and initial residual
    e = y - v^T z_0 ends at z_T = z_0 + v e / ||v||^2. Hence the Euclidean change is |e| / ||v||,
    the dot product ||z_0||^2 + (y - e) e / ||v||^2 peaks at e = y / 2, and the squared norm
    ||z_0||^2 + (2 y e - e^2) / ||v||^2 peaks at e = y.

    Shapes are (..., N) of targets `y` and residuals `e`, (..., h) of the head `v`, and (..., N, h)
    of the features `z0`. Raises `ValueError` if a head is zero, for which there is no limit.
    """
    targets, energy, head, features = _as_arrays(y, e, v, z0)
    squared_head = (head**2).sum(-1)[..., None]
    start = (features**2).sum(-1)
    squared_norm = start + (2 * targets * energy - energy**2) / squared_head
    return LazyLimit(
        euclidean=np.abs(energy) / np.sqrt(squared_head),
        dot=start + (targets - energy) * energy / squared_head,
        norm=np.sqrt(np.maximum(squared_norm, 0)),
    )


def lazy_bound(y: Array, e: Array, v: Array, z0: Array) -> LazyErrors:
    r"""Bound how far exact gradient flow ends from the lazy limit, sample by sample.

    With a = ||v||, E = ||e||, Y = ||y|| and s = ||Z_0|| + 3 E / a (spectral norm), and where
    a^4 > 8 E (Y + E), the error of a feature is at most D = 2 s^2 E / a^3 along v and
    D' = 4 s E^2 / a^4 across it. So the errors are at most

    .. math::

        D + D', \quad
        |y - e| D / a + \|z_0\| D', \quad
        2 (|y| D / a + \|z_0\| D') + (D + D')^2,

    each about 1 / a^2 of the change itself. Elsewhere the bounds are infinite.

    Arguments and errors are those of `lazy_limit`. Source: the companion's own proof, on the page
    on the linear model.
    """
    targets, energy, head, features = _as_arrays(y, e, v, z0)
    a, E, Y = (np.linalg.norm(each, axis=-1)[..., None] for each in (head, energy, targets))
    s = np.linalg.norm(features, 2, axis=(-2, -1))[..., None] + 3 * E / a
    along, across = 2 * s**2 * E / a**3, 4 * s * E**2 / a**4
    lengths = np.linalg.norm(features, axis=-1) * across
    bounds = (
        along + across + 0 * energy,
        np.abs(targets - energy) * along / a + lengths,
        2 * (np.abs(targets) * along / a + lengths) + (along + across) ** 2,
    )
    valid = a**4 > 8 * E * (Y + E)
    return LazyErrors(*(np.where(valid, each, np.inf) for each in bounds))


def _as_arrays(*arrays: Array) -> list[np.ndarray]:
    targets, energy, head, features = (np.asarray(each, dtype=np.float64) for each in arrays)
    if np.any((head == 0).all(-1)):
        raise ValueError("v is zero; the lazy limit needs a head that is not zero")
    return [targets, energy, head, features]
