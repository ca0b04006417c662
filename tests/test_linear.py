"""The two-layer linear model: head probing and lazy limit. The flow has a file of its own."""

import math

import numpy as np
import pytest
import torch
from problems import problem
from scipy.linalg import expm

from taskhead.method import linear
from taskhead.method.lazy import lazy_limit


def descend(X, y, B0, v0, *, tau: int, lr: float) -> np.ndarray:
    """Take tau steps of gradient descent, one by one."""
    v, Z = v0.copy(), X @ B0.T
    for _ in range(tau):
        v += lr * Z.T @ (y - Z @ v)
    return v


def safe_rate(X, B0) -> float:
    return 1 / float(np.linalg.norm(X @ B0.T, 2)) ** 2


@pytest.mark.parametrize(("n", "d", "h"), [(4, 6, 9), (6, 6, 6), (8, 5, 3), (8, 3, 5)])
@pytest.mark.parametrize("tau", [0, 1, 2, 57])
def test_closed_form_equals_the_loop(n: int, d: int, h: int, tau: int):
    X, y, B0, v0 = problem(0, n=n, d=d, h=h)
    lr = safe_rate(X, B0)
    v = linear.probe(X, y, B0, v0, tau=tau, lr=lr)
    np.testing.assert_allclose(v, descend(X, y, B0, v0, tau=tau, lr=lr), rtol=1e-10, atol=1e-12)


def test_dependent_features_are_probed_like_any_others():
    X, y, B0, v0 = problem(1, n=6, d=4, h=5)
    B0[1], B0[2] = 2 * B0[0], 0
    v = linear.probe(X, y, B0, v0, tau=30, lr=safe_rate(X, B0))
    np.testing.assert_allclose(v, descend(X, y, B0, v0, tau=30, lr=safe_rate(X, B0)), rtol=1e-10)
    endless = linear.probe(X, y, B0, v0, tau=math.inf, lr=safe_rate(X, B0))
    Z = X @ B0.T
    np.testing.assert_allclose(endless, v0 + np.linalg.pinv(Z) @ (y - Z @ v0), rtol=1e-9)


def test_features_that_are_zero_leave_the_head_as_it_is():
    X, y, B0, v0 = problem(0, n=3, d=3, h=4)
    np.testing.assert_array_equal(linear.probe(X, y, 0 * B0, v0, tau=math.inf, lr=1), v0)


def test_endless_probing_is_the_limit_of_long_probing():
    X, y, B0, v0 = problem(2, n=4, d=4, h=8)
    endless = linear.probe(X, y, B0, v0, tau=math.inf, lr=safe_rate(X, B0))
    long = linear.probe(X, y, B0, v0, tau=10**6, lr=safe_rate(X, B0))
    np.testing.assert_allclose(long, endless, rtol=1e-8)
    np.testing.assert_allclose(X @ B0.T @ endless, y, rtol=1e-9, atol=1e-12)


def test_with_fewer_features_than_samples_the_floor_is_the_part_of_y_outside_their_span():
    X, y, B0, v0 = problem(3, n=10, d=10, h=4)
    v = linear.probe(X, y, B0, v0, tau=math.inf, lr=safe_rate(X, B0))
    Q, _ = np.linalg.qr(X @ B0.T)
    outside = y - Q @ (Q.T @ y)
    np.testing.assert_allclose(y - X @ B0.T @ v, outside, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(outside) > 0.1


def test_small_steps_follow_gradient_flow():
    X, y, B0, v0 = problem(4, n=5, d=5, h=3)
    Z, time = X @ B0.T, 0.7
    expected = expm(-time * Z @ Z.T) @ (y - Z @ v0)
    errors = []
    for steps in (10**3, 10**4):
        v = linear.probe(X, y, B0, v0, tau=steps, lr=time / steps)
        errors.append(np.abs(y - Z @ v - expected).max())
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.05)


def test_grid_of_tau_and_seeds_in_one_call_equals_single_calls():
    problems = [problem(seed, n=5, d=5, h=7) for seed in range(3)]
    batch = [np.stack(arrays) for arrays in zip(*problems, strict=True)]
    taus, lr = np.array([0, 3, 50, math.inf]), 0.01
    heads = linear.probe(*batch, tau=taus[:, None], lr=lr)
    assert heads.shape == (4, 3, 7)
    for i, tau in enumerate(taus):
        for j, single in enumerate(problems):
            one = linear.probe(*single, tau=tau, lr=lr)
            np.testing.assert_allclose(heads[i, j], one, rtol=1e-12, atol=1e-14)


def test_tensors_are_taken_for_arrays():
    given = problem(0, n=3, d=3, h=4)
    tensors = tuple(map(torch.tensor, given))
    ours, theirs = (linear.probe(*arrays, tau=5, lr=0.1) for arrays in (tensors, given))
    np.testing.assert_array_equal(ours, theirs)


def test_lazy_limit_is_the_measured_change_of_its_features():
    X, y, B0, v = problem(5, n=4, d=4, h=6)
    z0 = X @ B0.T
    e = y - z0 @ v
    zT = z0 + np.outer(e, v) / (v @ v)
    lazy = lazy_limit(y, e, v, z0)
    np.testing.assert_allclose(zT @ v, y)
    np.testing.assert_allclose(lazy.euclidean, np.linalg.norm(zT - z0, axis=1))
    np.testing.assert_allclose(lazy.dot, (zT * z0).sum(1))
    np.testing.assert_allclose(lazy.norm, np.linalg.norm(zT, axis=1))


@pytest.mark.parametrize("y", [1.0, -1.0])
def test_lazy_dot_product_peaks_at_half_the_target_and_norm_at_the_target(y: float):
    v = np.array([3.0, 4.0])
    e = y * np.linspace(0, 2, 41)
    # The norm along v follows from y - e; what is orthogonal to v is free.
    z0 = np.outer((y - e) / 25, v) + np.array([-0.8, 0.6])
    start = (z0**2).sum(-1)
    lazy = lazy_limit(np.full(41, y), e, v, z0)
    assert e[np.argmax(lazy.dot - start)] == pytest.approx(y / 2)
    assert e[np.argmax(lazy.norm**2 - start)] == pytest.approx(y)
    np.testing.assert_allclose(np.diff(lazy.euclidean), 0.05 / 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau": -1}, "tau must hold whole numbers"),
        ({"tau": 0.5}, "tau must hold whole numbers"),
        ({"tau": math.nan}, "tau must hold whole numbers"),
        ({"lr": 0}, "lr must be positive"),
        ({"lr": math.inf}, "lr must be positive"),
        ({"lr": 1e3, "tau": math.inf}, "does not converge.*lr must be below"),
        ({"y": np.ones(5)}, r"N, d or h differ between X \(4, 4\), y \(5,\)"),
        ({"v0": np.ones(5)}, "N, d or h differ"),
        ({"X": np.ones((0, 4)), "y": np.ones(0)}, "the data is empty"),
        ({"X": np.ones(4)}, r"need X \(\.\.\., N, d\)"),
        ({"y": np.array([1, 1, math.nan, 1])}, "y holds NaN or infinity"),
    ],
)
def test_problems_without_an_answer_are_refused(change: dict, message: str):
    X, y, B0, v0 = problem(0, n=4, d=4, h=6)
    given = {"X": X, "y": y, "B0": B0, "v0": v0, "tau": 3, "lr": 0.1} | change
    with pytest.raises(ValueError, match=message):
        linear.probe(**given)


def test_lazy_limit_needs_a_head():
    with pytest.raises(ValueError, match="v is zero"):
        lazy_limit(np.ones(2), np.ones(2), np.zeros(3), np.ones((2, 3)))
