"""The rate of probing from the data: from its curvature, whatever the features' scale."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from taskhead.method.rates import RMS, probing_rate

VIEWS = torch.randn(2, 60, 5, generator=torch.Generator().manual_seed(0)) + 1
LABELS = torch.arange(60) % 3


def test_rate_is_half_the_inverse_of_the_curvature_at_uniform_predictions():
    rate, scale = probing_rate(VIEWS, LABELS, 3)
    inputs = scale * VIEWS.flatten(0, 1)
    assert float(inputs.square().mean().sqrt()) == pytest.approx(RMS, rel=1e-5)

    def loss(parameters: torch.Tensor) -> torch.Tensor:
        weight, bias = parameters[:15].reshape(3, 5), parameters[15:]
        return cross_entropy(inputs.double() @ weight.T + bias, LABELS.repeat(2))

    hessian = torch.autograd.functional.hessian(loss, torch.zeros(18, dtype=torch.float64))
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert rate == pytest.approx(1 / (2 * largest), rel=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_scale_of_the_features_is_taken_out(factor: float):
    rate, scale = probing_rate(VIEWS, LABELS, 3)
    again = probing_rate(factor * VIEWS, LABELS, 3)
    assert again == pytest.approx((rate, scale / factor), rel=1e-4)


def test_features_that_are_zero_have_a_rate():
    rate, _ = probing_rate(torch.zeros(1, 6, 2), torch.arange(6) % 2, 2)
    assert 0 < rate < float("inf")
