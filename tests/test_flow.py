"""Finetuning of the linear model by gradient flow: conserved, at rest, and lazy for large heads."""

import numpy as np
import pytest
from problems import problem

from taskhead.method import linear
from taskhead.method.lazy import lazy_bound, lazy_limit


def integrate(X, y, B, v, *, end: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the flow with the classical Runge-Kutta method and a fixed small step."""

    def velocity(B, v):
        pull = X.T @ (y - X @ B.T @ v)
        return np.outer(v, pull), B @ pull

    t = end / steps
    for _ in range(steps):
        B1, v1 = velocity(B, v)
        B2, v2 = velocity(B + t / 2 * B1, v + t / 2 * v1)
        B3, v3 = velocity(B + t / 2 * B2, v + t / 2 * v2)
        B4, v4 = velocity(B + t * B3, v + t * v3)
        B = B + t / 6 * (B1 + 2 * B2 + 2 * B3 + B4)
        v = v + t / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    return B, v


def head_with_energy(
    seed: int, *, energy: float | np.ndarray, norm: float
) -> tuple[np.ndarray, ...]:
    """Return a problem whose head has the norm and leaves the residual energy * y."""
    X, y, B0, free = problem(seed, n=4, d=4, h=12)
    Z, inverse = X @ B0.T, np.linalg.pinv(X @ B0.T)
    fitted = inverse @ ((1 - energy) * y)
    free = free - inverse @ (Z @ free)
    return X, y, B0, fitted + free * np.sqrt(norm**2 - fitted @ fitted) / np.linalg.norm(free)


@pytest.mark.parametrize(("n", "d", "h"), [(4, 4, 7), (3, 6, 2), (5, 5, 1)])
def test_overparameterised_flow_fits_and_conserves(n: int, d: int, h: int):
    X, y, B0, v0 = problem(0, n=n, d=d, h=h)
    tuned = linear.flow(X, y, B0, v0)
    assert np.abs(tuned.residual).max() < 1e-6
    assert tuned.conserved_drift < 1e-7
    np.testing.assert_allclose(tuned.residual, y - X @ tuned.B_T.T @ tuned.v_T, atol=1e-14)
    before = np.outer(v0, v0) - B0 @ B0.T
    after = np.outer(tuned.v_T, tuned.v_T) - tuned.B_T @ tuned.B_T.T
    np.testing.assert_allclose(after, before, atol=1e-7)


def test_flow_ends_where_a_fixed_step_integrator_ends():
    X, y, B0, v0 = problem(1, n=3, d=3, h=4)
    tuned = linear.flow(X, y, B0, v0)
    B, v = integrate(X, y, B0, v0, end=60, steps=6000)
    np.testing.assert_allclose(tuned.B_T, B, atol=1e-6)
    np.testing.assert_allclose(tuned.v_T, v, atol=1e-6)


def test_with_fewer_inputs_than_samples_least_squares_is_left():
    X, y, B0, v0 = problem(2, n=8, d=3, h=5)
    tuned = linear.flow(X, y, B0, v0)
    np.testing.assert_allclose(tuned.residual, y - X @ np.linalg.pinv(X) @ y, atol=1e-6)


def test_grid_in_one_call_equals_single_calls():
    scales = np.array([0.3, 3.0])
    problems = [problem(seed, n=4, d=4, h=6) for seed in range(2)]
    X, y, B0, v0 = (np.stack(arrays) for arrays in zip(*problems, strict=True))
    tuned = linear.flow(X, y, B0, scales[:, None, None] * v0)
    assert tuned.B_T.shape == (2, 2, 6, 4)
    assert tuned.conserved_drift.shape == (2, 2)
    for i, scale in enumerate(scales):
        for j, (X1, y1, B1, v1) in enumerate(problems):
            one = linear.flow(X1, y1, B1, scale * v1)
            np.testing.assert_allclose(tuned.B_T[i, j], one.B_T, atol=1e-6)
            np.testing.assert_allclose(tuned.v_T[i, j], one.v_T, atol=1e-6)


def test_smaller_tolerance_comes_closer_to_the_limit():
    X, y, B0, v0 = problem(3, n=4, d=4, h=6)
    rough, fine = (linear.flow(X, y, B0, v0, rtol=rtol) for rtol in (1e-3, 1e-10))
    assert np.abs(fine.residual).max() < 1e-8 < np.abs(rough.residual).max()
    assert fine.conserved_drift < 1e-9


def test_flow_that_starts_at_rest_stays():
    X, y, B0, v0 = problem(4, n=4, d=4, h=6)
    y = X @ B0.T @ v0
    tuned = linear.flow(X, y, B0, v0)
    np.testing.assert_allclose(tuned.B_T, B0, atol=1e-12)
    np.testing.assert_allclose(tuned.v_T, v0, atol=1e-12)


@pytest.mark.parametrize("energy", [0.5, 1.0, 1.6])
def test_flow_comes_to_the_lazy_limit_as_the_head_grows(energy: float):
    errors = []
    for norm in (16, 32, 64):
        X, y, B0, v = head_with_energy(5, energy=energy, norm=norm)
        z0 = X @ B0.T
        zT = X @ linear.flow(X, y, B0, v, rtol=1e-10).B_T.T
        lazy = lazy_limit(y, energy * y, v, z0)
        gap = [
            norm * (np.linalg.norm(zT - z0, axis=1) - lazy.euclidean),
            norm**2 * ((zT * z0).sum(1) - lazy.dot),
            norm**2 * ((zT**2).sum(1) - lazy.norm**2),
        ]
        errors.append(np.abs(gap).mean(axis=1))
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    np.testing.assert_allclose(ratios, 4, rtol=0.25)
    assert np.max(errors[-1]) < 0.02


def errors_and_bounds(seed: int, norm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return errors of the lazy limit for residuals of any kind, shape (3, N), and their bounds."""
    energy = np.random.default_rng(seed).uniform(-1, 2, 4)
    X, y, B0, v = head_with_energy(seed, energy=energy, norm=norm)
    z0 = X @ B0.T
    zT = X @ linear.flow(X, y, B0, v, rtol=1e-11).B_T.T
    lazy, bound = (of(y, energy * y, v, z0) for of in (lazy_limit, lazy_bound))
    errors = [
        np.linalg.norm(zT - z0, axis=1) - lazy.euclidean,
        (zT * z0).sum(1) - lazy.dot,
        (zT**2).sum(1) - lazy.norm**2,
    ]
    return np.abs(errors), np.array([bound.euclidean, bound.dot, bound.squared_norm])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("norm", [5, 10, 20, 40])
def test_errors_of_the_lazy_limit_stay_below_their_bounds(seed: int, norm: float):
    errors, bounds = errors_and_bounds(seed, norm)
    assert (errors <= bounds).all()
    assert bounds[0].max() < 100 * errors[0].max()


@pytest.mark.parametrize("seed", range(3))
def test_errors_fall_faster_than_the_changes_by_the_square_of_the_head(seed: int):
    norms = np.array([16.0, 32.0, 64.0])
    errors = [errors_and_bounds(seed, norm)[0].max(axis=1) for norm in norms]
    slopes = np.polyfit(np.log(norms), np.log(errors), 1)[0]
    np.testing.assert_allclose(slopes, [-3, -4, -4], atol=0.05)


def test_heads_too_small_for_the_proof_have_no_bound():
    bound = lazy_bound(np.ones(2), np.ones(2), np.ones(1), np.zeros((2, 1)))
    assert np.isinf([bound.euclidean, bound.dot, bound.squared_norm]).all()


@pytest.mark.parametrize("rtol", [0, 1, 1e-12])
def test_tolerance_out_of_range_is_refused(rtol: float):
    with pytest.raises(ValueError, match=r"rtol must be in \[1e-11, 1\)"):
        linear.flow(*problem(0, n=3, d=3, h=3), rtol=rtol)


@pytest.mark.parametrize("scale", [1e-10, 0.0])
def test_flow_that_rests_at_its_saddle_is_no_result(scale: float):
    X, y, B0, v0 = problem(1, n=3, d=3, h=4)
    with pytest.raises(RuntimeError, match="saddle"):
        linear.flow(X, y, scale * B0, scale * v0)
