"""The rate of probing from the data: from curvature and noise, whatever the features' scale."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from taskhead.method.rates import RMS, probing_rate

VIEWS = torch.randn(2, 60, 5, generator=torch.Generator().manual_seed(0)) + 1
LABELS = torch.arange(60) % 3
WHOLE = {"batch_size": 60, "momentum": 0.9}


def test_rate_is_half_the_inverse_of_the_curvature_at_uniform_predictions():
    rate, scale = probing_rate(VIEWS, LABELS, 3, **WHOLE)
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
    rate, scale = probing_rate(VIEWS, LABELS, 3, **WHOLE)
    again = probing_rate(factor * VIEWS, LABELS, 3, **WHOLE)
    assert again == pytest.approx((rate, scale / factor), rel=1e-4)


def test_small_batches_and_momentum_lower_the_rate():
    rates = [
        probing_rate(VIEWS, LABELS, 3, batch_size=size, momentum=momentum)[0]
        for size, momentum in ((60, 0.9), (4, 0.9), (2, 0.9), (2, 0.95))
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[1:] == pytest.approx([4 * rates[3], 2 * rates[3], rates[3]])


def test_features_that_are_zero_have_a_rate():
    rate, _ = probing_rate(torch.zeros(1, 6, 2), torch.arange(6) % 2, 2, **WHOLE)
    assert 0 < rate < float("inf")
