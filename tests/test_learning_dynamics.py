"""One step taken apart: exact where theory is, of second order elsewhere, factors that multiply."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from taskhead.method.batches import LabelledImages
from taskhead.method.energy import average_initial_energy, feature_gradients
from taskhead.method.first_step import first_step
from taskhead.method.heads import make_head
from taskhead.method.learning_dynamics import one_step_change

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(24, 3, 6, 6, generator=GENERATOR).double()
LABELS = torch.arange(24) % 3


def network(norm: bool) -> nn.Module:
    torch.manual_seed(1)
    middle = [nn.BatchNorm2d(8)] if norm else []
    layers = [nn.Conv2d(3, 8, 3), *middle, nn.Tanh(), nn.Conv2d(8, 16, 3), nn.Tanh()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()


def test_linear_features_move_by_kernel_times_direction_times_energy():
    """For z = B x the kernel is <x_n, x_m>, and first order is exact."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(108, 5, bias=False)).double()
    head = make_head(5, 3).double()
    step = one_step_change(backbone, head, IMAGES, LABELS, lr=0.1)
    x = IMAGES.flatten(1)
    directions = step.errors @ head[0].weight.detach()
    torch.testing.assert_close(step.directions, directions)
    torch.testing.assert_close(step.predicted, 0.1 / 24 * (x @ x.T) @ directions)
    torch.testing.assert_close(step.true, step.predicted)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_error_of_the_prediction_falls_with_the_square_of_the_rate(norm: bool, bn_mode: str):
    rates, errors = np.logspace(-4, -1, 10), []
    for lr in rates:
        step = one_step_change(
            network(norm), make_head(16, 3).double(), IMAGES, LABELS, lr=lr, bn_mode=bn_mode
        )
        errors.append(float((step.true - step.predicted).norm()))
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert abs(slope - 2) < 0.05


def test_error_is_of_second_order_with_dropout_too():
    backbone, head = nn.Sequential(network(True), nn.Dropout(0.3)), make_head(16, 3).double()
    errors = []
    for lr in (1e-3, 1e-2):
        step = one_step_change(backbone, head, IMAGES, LABELS, lr=lr, dropout=True, seed=3)
        errors.append(float((step.true - step.predicted).norm()))
    assert math.log10(errors[1] / errors[0]) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("trainable", ["bias", "lora-2"])
def test_step_moves_what_finetuning_trains(trainable: str):
    if trainable.startswith("lora"):
        pytest.importorskip("peft")
    backbone, head = network(True).eval(), make_head(16, 3).double()
    options = {"lr": 0.1, "trainable": trainable, "seed": 4}
    step = one_step_change(backbone, head, IMAGES, LABELS, **options)
    stepped = first_step(backbone, head, LabelledImages(IMAGES, LABELS), **options)
    with torch.no_grad():
        torch.testing.assert_close(step.true, stepped(IMAGES) - backbone(IMAGES))
    whole = one_step_change(backbone, head, IMAGES, LABELS, lr=0.1)
    assert step.true.norm() < 0.9 * whole.true.norm()
    assert float((step.true - step.predicted).norm() / step.true.norm()) < 0.01


@pytest.mark.parametrize("hidden", [(), (7,)])
def test_true_step_is_that_of_finetuning_and_factors_multiply_to_its_prediction(hidden):
    backbone, head = network(True).eval(), make_head(16, 3, hidden=hidden).double()
    step = one_step_change(backbone, head, IMAGES, LABELS, lr=0.5)
    data = LabelledImages(IMAGES, LABELS)
    stepped = first_step(backbone, head, data, lr=0.5)
    with torch.no_grad():
        torch.testing.assert_close(step.true, stepped(IMAGES) - backbone(IMAGES))
        energy = average_initial_energy(head(backbone(IMAGES)), LABELS)
    assert step.energy == pytest.approx(float(energy))
    product = step.lr * step.energy * step.gain * step.coherence * step.kernel
    assert product == pytest.approx(float(step.predicted.norm(dim=1).mean()), rel=1e-12)
    assert 0 < step.coherence <= 1
    gradients = feature_gradients(head, backbone(IMAGES).detach(), LABELS)
    torch.testing.assert_close(step.directions, -gradients)


def test_coherence_is_one_where_all_samples_of_a_class_are_sent_the_same_way():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(108, 5, bias=False)).double()
    zero = make_head(5, 3, init_scale=0).double()
    with torch.no_grad():
        zero[0].weight.copy_(torch.randn(3, 5, generator=GENERATOR).double())
        backbone[1].weight.zero_()
    step = one_step_change(backbone, zero, IMAGES, LABELS, lr=0.1)
    assert step.coherence == pytest.approx(1)
    assert step.energy == pytest.approx(math.sqrt(2 / 3))


def test_nothing_is_changed_and_a_rate_of_zero_is_refused():
    backbone, head = network(True).train(), make_head(16, 3).double()
    before = {name: each.clone() for name, each in backbone.state_dict().items()}
    one_step_change(backbone, head, IMAGES, LABELS, lr=0.1, bn_mode="train")
    assert all(torch.equal(each, before[name]) for name, each in backbone.state_dict().items())
    assert backbone.training
    with pytest.raises(ValueError, match="lr must be finite and positive, got 0"):
        one_step_change(backbone, head, IMAGES, LABELS, lr=0)
    with pytest.raises(ValueError, match="labels must lie in 0"):
        one_step_change(backbone, head, IMAGES, LABELS + 1, lr=0.1)
