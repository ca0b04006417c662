"""The feature measures: their values where features stay, scale, turn or vanish."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from taskhead.method.adaptation import linear_cka, measure, scatter

COORDINATE = st.floats(0.01, 100).map(lambda x: x - 50)
FEATURES = arrays(float, (6, 3), elements=COORDINATE).map(torch.tensor)


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@given(FEATURES)
def test_features_that_stay_have_distance_zero_and_cosine_one(z: torch.Tensor):
    stayed = measure(z, z)
    assert stayed.euclidean == 0
    assert stayed.cosine == close(1)
    assert stayed.dot == close(float((z**2).sum(1).mean()))
    assert stayed.norm == stayed.z0_norm


@given(FEATURES, FEATURES)
def test_values_are_the_means_that_numpy_gives(z0: torch.Tensor, zT: torch.Tensor):
    a, b = z0.numpy(), zT.numpy()
    norms = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    dots = np.einsum("nh,nh->n", a, b)
    measured = measure(z0, zT)
    assert measured.euclidean == close(np.linalg.norm(b - a, axis=1).mean())
    assert measured.cosine == close((dots / (norms[0] * norms[1])).mean())
    assert measured.dot == close(dots.mean())
    assert (measured.z0_norm, measured.norm) == (close(norms[0].mean()), close(norms[1].mean()))


@given(FEATURES, st.floats(0.1, 10))
def test_scaling_moves_along_the_feature(z: torch.Tensor, factor: float):
    start, scaled = measure(z, z), measure(z, factor * z)
    assert scaled.cosine == close(1)
    assert scaled.norm == close(factor * start.norm)
    assert scaled.dot == close(factor * start.dot)
    assert scaled.euclidean == close(abs(factor - 1) * start.norm)


@given(FEATURES, FEATURES, st.integers(0, 1000))
def test_rotating_both_sides_changes_nothing(z0: torch.Tensor, zT: torch.Tensor, seed: int):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn = torch.tensor(turn)
    turned, still = measure(z0 @ turn, zT @ turn), measure(z0, zT)
    assert vars(turned) == {name: close(value) for name, value in vars(still).items()}


@given(FEATURES, FEATURES)
def test_sides_may_be_exchanged(z0: torch.Tensor, zT: torch.Tensor):
    there, back = measure(z0, zT), measure(zT, z0)
    assert (there.euclidean, there.dot) == (close(back.euclidean), close(back.dot))
    assert (there.cosine, there.norm) == (close(back.cosine), back.z0_norm)


def test_zero_vectors_count_with_cosine_zero():
    z0, zT = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    assert vars(measure(z0, zT)) == {
        "euclidean": 2.5,
        "cosine": 0.5,
        "dot": 12.5,
        "norm": 5.0,
        "z0_norm": 2.5,
        "z0_squared_norm": 12.5,
        "relative_euclidean": math.inf,
    }


@pytest.mark.parametrize(
    ("z0", "zT", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"got \(2, 3\) and \(3, 2\)"),
        (torch.zeros(3), torch.zeros(3), r"shape \(N, h\)"),
        (torch.zeros(0, 3), torch.zeros(0, 3), "N > 0"),
        (torch.zeros(2, 3), torch.full((2, 3), math.inf), "NaN or infinity"),
    ],
)
def test_features_that_do_not_compare_are_refused(z0, zT, message):
    with pytest.raises(ValueError, match=message):
        measure(z0, zT)


@given(FEATURES, FEATURES)
def test_no_change_of_the_dot_product_is_the_mean_squared_norm(z0: torch.Tensor, zT: torch.Tensor):
    assert measure(z0, z0).dot == close(measure(z0, zT).z0_squared_norm)
    assert measure(z0, 3 * z0).relative_euclidean == close(2)


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_cka_sees_no_rotation_scale_or_shift(seed: int, factor: float):
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)).double()
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    assert linear_cka(z, factor * z @ torch.tensor(turn) + 7) == pytest.approx(1, abs=1e-6)


def test_cka_of_independent_features_is_small_and_symmetric():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2000, 4, generator=generator) for _ in range(2))
    assert linear_cka(x, y) < 0.01
    assert linear_cka(x, x + y) == pytest.approx(linear_cka(x + y, x))


@given(FEATURES)
def test_scatter_within_and_between_add_up_to_all(z: torch.Tensor):
    within, between = scatter(z, torch.tensor([0, 1, 0, 1, 2, 2]))
    assert within + between == close(float(((z - z.mean(dim=0)) ** 2).sum(dim=1).mean()))
    apart, alike = scatter(z, torch.arange(6)), scatter(z, torch.zeros(6).long())
    assert apart[0] == 0
    assert alike[1] == pytest.approx(0, abs=1e-9)
