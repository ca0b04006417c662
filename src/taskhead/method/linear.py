"""The two-layer linear model q = v^T B x with squared loss: head probing and finetuning, exactly.

Shapes, with any leading batch dimensions that broadcast: inputs X (..., N, d), targets y (..., N),
backbone B (..., h, d), head v (..., h), features Z = X B^T (..., N, h), residual r = y - Z v.
Everything is computed in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # what NumPy takes for an array


@dataclass(frozen=True)
class FlowResult:
    """The end of a gradient flow: shapes (..., h, d), (..., h), (..., N) and (...).

    `residual` is y - X B_T^T v_T; `conserved_drift` the largest absolute change of an entry of the
    matrix v v^T - B B^T, which the exact flow conserves.
    """

    B_T: Array
    v_T: Array
    residual: Array
    conserved_drift: Array


def probe(X: Array, y: Array, B0: Array, v0: Array, *, tau: Array, lr: Array) -> Array:
    r"""Return the head after `tau` full-batch gradient steps on 1/2 ||r||^2 with B_0 fixed.

    With the singular value decomposition Z_0 = U S W^T, step size eta and r_0 = y - Z_0 v_0,

    .. math:: v_\tau = v_0 + W \, \frac{1 - (1 - \eta S^2)^\tau}{S} \, U^T r_0,

    so the cost does not depend on tau.

    Shapes are those of the module's description. `tau`, whole, at least 0, or infinity, and the
    positive `lr` are scalars, or arrays that broadcast with the batch dimensions: tau of shape
    (T, 1) and S seeds give heads of shape (T, S, h).

    Raises `ValueError` if shapes do not match, tau or lr is out of range, an input is not finite,
    or tau is infinite while lr is too large for the steps to converge.
    """
    inputs, targets, backbone, head = _as_arrays(X, y, B0, v0)
    tau, lr = np.asarray(tau, dtype=np.float64), np.asarray(lr, dtype=np.float64)
    if np.any(tau < 0) or np.any(np.isfinite(tau) & (tau != np.floor(tau))) or np.isnan(tau).any():
        raise ValueError(f"tau must hold whole numbers of at least 0, or infinity, got {tau}")
    if not np.all(np.isfinite(lr) & (lr > 0)):
        raise ValueError(f"lr must be positive and finite, got {lr}")
    features = inputs @ _transpose(backbone)
    u, s, wt = np.linalg.svd(features, full_matrices=False)
    residual = targets - _apply(features, head)
    decay = 1 - lr[..., None] * s**2
    nonzero = s > s.max(-1, keepdims=True) * max(features.shape[-2:]) * np.finfo(np.float64).eps
    if np.any(np.isinf(tau)[..., None] & (np.abs(decay) >= 1) & nonzero):
        raise ValueError(
            f"probing with lr {lr} does not converge, so tau = inf has no limit; "
            f"lr must be below 2 / s_max^2 = {2 / s.max() ** 2:.3g}"
        )
    # Directions without features (s = 0) receive no gradient.
    gain = np.where(nonzero, (1 - decay ** tau[..., None]) / np.where(nonzero, s, 1), 0)
    update = _apply(_transpose(wt), gain * _apply(_transpose(u), residual))
    return head + update


def flow(X: Array, y: Array, B0: Array, v0: Array, *, rtol: float = 1e-8) -> FlowResult:
    r"""Finetune B and v together to the limit of gradient flow on 1/2 ||r||^2.

    Integrates dv/dt = B X^T r and dB/dt = v (X^T r)^T with SciPy's DOP853 until the gradient has
    fallen to a tenth of `rtol` times its scale. Each run of a batch has its own clock: its time is
    divided by an upper bound of its fastest rate, which changes the speed along a path, not the
    path.

    Shapes are those of the module's description. `rtol` is the relative tolerance of the limit, in
    [1e-11, 1); the solver steps with a hundredth of it.

    Raises `ValueError` if shapes do not match, an input is not finite, or rtol is out of range, and
    `RuntimeError` if the flow has not come to rest within the time limit, or rests at its saddle.
    """
    from scipy.integrate import solve_ivp

    if not 1e-11 <= rtol < 1:
        raise ValueError(f"rtol must be in [1e-11, 1), got {rtol}")
    inputs, targets, backbone, head = _as_arrays(X, y, B0, v0)
    batch = np.broadcast_shapes(
        inputs.shape[:-2], targets.shape[:-1], backbone.shape[:-2], head.shape[:-1]
    )
    h, d = backbone.shape[-2:]
    backbone = np.broadcast_to(backbone, (*batch, h, d))
    head = np.broadcast_to(head, (*batch, h))
    joint = np.concatenate([backbone, head[..., None]], axis=-1)
    # The flow stays in the span of the columns of (B_0, v_0), at most d + 1 of the h dimensions.
    basis, start = np.linalg.qr(joint)
    gram, aim = _transpose(inputs) @ inputs, _apply(_transpose(inputs), targets)
    input_scale = np.linalg.norm(inputs, 2, axis=(-2, -1))
    target_scale = np.linalg.norm(targets, axis=-1)

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        both = state.reshape(start.shape)
        B, v = both[..., :d], both[..., d]
        pull = aim - _apply(gram, _apply(_transpose(B), v))  # X^T r, shape (..., d)
        rate = input_scale**2 * np.einsum("...ij,...ij->...", both, both)
        pull /= (rate + np.linalg.norm(pull, axis=-1))[..., None]
        change = np.empty_like(both)
        np.multiply(v[..., :, None], pull[..., None, :], out=change[..., :d])
        change[..., d] = _apply(B, pull)
        return change.ravel()

    scale = max(float(np.abs(start).max()), float(np.sqrt(target_scale / input_scale).max()))

    def gradient_left(t: float, state: np.ndarray) -> float:
        return float(np.abs(velocity(t, state)).max()) - 0.1 * rtol * scale

    gradient_left.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    state = start.ravel()
    if gradient_left(0, state) > 0:
        solution = solve_ivp(
            velocity,
            (0, 1e5),
            state,
            method="DOP853",
            rtol=1e-2 * rtol,
            atol=1e-4 * rtol * scale,
            events=gradient_left,
            t_eval=[],
        )
        if solution.status != 1:
            raise RuntimeError(f"the flow did not come to rest: {solution.message}")
        state = solution.y_events[0][-1]
    end = basis @ state.reshape(start.shape)
    B, v = end[..., :d], end[..., d]
    residual = targets - _apply(inputs, _apply(_transpose(B), v))
    pull = np.linalg.norm(_apply(_transpose(inputs), residual), axis=-1)
    if np.any(pull > np.sqrt(rtol) * np.linalg.norm(aim, axis=-1)):
        raise RuntimeError(
            f"the flow rests at its saddle, where backbone and head are zero, and has fitted "
            f"nothing: their largest entry is {np.abs(start).max():.3g}; start from larger ones"
        )
    drift = np.abs(_conserved(B, v) - _conserved(backbone, head)).max((-2, -1))
    return FlowResult(B, v, residual, drift)


def _as_arrays(X: Array, y: Array, B0: Array, v0: Array) -> tuple[np.ndarray, ...]:
    arrays = tuple(_as_float64(a) for a in (X, y, B0, v0))
    inputs, targets, backbone, head = arrays
    shapes = f"X {inputs.shape}, y {targets.shape}, B0 {backbone.shape}, v0 {head.shape}"
    if inputs.ndim < 2 or targets.ndim < 1 or backbone.ndim < 2 or head.ndim < 1:
        raise ValueError(
            f"need X (..., N, d), y (..., N), B0 (..., h, d), v0 (..., h), got {shapes}"
        )
    if 0 in inputs.shape:
        raise ValueError(f"the data is empty: {shapes}")
    if (
        inputs.shape[-2] != targets.shape[-1]
        or inputs.shape[-1] != backbone.shape[-1]
        or backbone.shape[-2] != head.shape[-1]
    ):
        raise ValueError(f"N, d or h differ between {shapes}")
    for name, array in zip(("X", "y", "B0", "v0"), arrays, strict=True):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
    return arrays


def _as_float64(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _transpose(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)


def _apply(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (matrix @ vector[..., None])[..., 0]


def _conserved(B: np.ndarray, v: np.ndarray) -> np.ndarray:
    return v[..., :, None] * v[..., None, :] - B @ _transpose(B)
