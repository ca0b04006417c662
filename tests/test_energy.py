"""The energy ||e_y - p||: exact values, range, and what leaves it unchanged."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from problems import floor_of_smoothing, probe_at_taus
from torch.nn.functional import one_hot

from taskhead.method.energy import (
    average_initial_energy,
    feature_gradients,
    per_sample_energy,
)
from taskhead.method.evaluation import accuracy
from taskhead.method.heads import make_head

LABELS = torch.tensor([0, 1, 2, 3, 0])
LOGITS = arrays(float, (5, 4), elements=st.floats(-1e3, 1e3)).map(torch.tensor)


@pytest.mark.parametrize("n_classes", [2, 5, 10])
def test_uniform_prediction_leaves_the_same_energy_on_every_sample(n_classes: int):
    energy = per_sample_energy(torch.full((n_classes, n_classes), 3.7), torch.arange(n_classes))
    assert energy.tolist() == pytest.approx([math.sqrt((n_classes - 1) / n_classes)] * n_classes)


def test_zero_head_that_is_not_probed_has_the_energy_of_uniform_prediction():
    features = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(7)
    (start,) = probe_at_taus(features, targets, make_head(3, 10, init_scale=0), taus=[0], lr=0.1)
    aie = average_initial_energy(start(features), targets)
    assert aie == pytest.approx(math.sqrt(9 / 10), abs=1e-15)
    assert aie == pytest.approx(0.9487, abs=5e-5)


def test_gradient_that_reaches_features_is_the_error_sent_back_through_the_head():
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    head = make_head(3, 4).double()
    errors = one_hot(LABELS, 4) - head(features).softmax(dim=1)
    expected = (-errors @ head[0].weight).detach()
    torch.testing.assert_close(feature_gradients(head, features, LABELS), expected)


@pytest.mark.parametrize(("eps", "floor"), [(0, 0), (0.1, 0.0949), (0.2, 0.190), (0.3, 0.285)])
def test_fitting_smoothed_labels_exactly_leaves_the_floor(eps: float, floor: float):
    targets = torch.arange(10)
    smoothed = (1 - eps) * one_hot(targets, 10).double() + eps / 10
    left = average_initial_energy(smoothed.clamp(min=1e-300).log(), targets)
    assert left == pytest.approx(floor_of_smoothing(eps, 10), abs=1e-12)
    assert left == pytest.approx(floor, abs=5e-4)


@pytest.mark.parametrize("eps", [0.1, 0.3])
def test_probing_to_convergence_on_smoothed_labels_leaves_the_floor(eps: float):
    features, targets = torch.eye(4).double(), torch.arange(4)
    head = make_head(4, 4).double()
    *_, long, longer = probe_at_taus(features, targets, head, taus=[0, 300, 400], lr=4, eps=eps)
    left = [average_initial_energy(head(features), targets) for head in (long, longer)]
    assert left == pytest.approx([floor_of_smoothing(eps, 4)] * 2, abs=1e-10)


@given(LOGITS)
def test_energy_lies_between_zero_and_the_square_root_of_two(logits: torch.Tensor):
    energy = per_sample_energy(logits, LABELS)
    assert energy.min() >= 0
    assert energy.max() <= math.sqrt(2) * (1 + 1e-15)
    assert average_initial_energy(logits, LABELS) == pytest.approx(float(energy.mean()))


def test_both_ends_of_the_range_are_reached():
    certain = 1e4 * one_hot(torch.tensor([0, 1]), 2)
    assert per_sample_energy(certain, torch.tensor([0, 0])).tolist() == [0, math.sqrt(2)]


@given(LOGITS, st.floats(-100, 100), st.permutations(range(4)), st.permutations(range(5)))
def test_shift_and_relabelling_and_order_do_not_matter(logits, shift, classes, samples):
    energy = per_sample_energy(logits, LABELS)
    torch.testing.assert_close(per_sample_energy(logits + shift, LABELS), energy)
    renamed = per_sample_energy(logits[:, classes], torch.tensor(classes).argsort()[LABELS])
    torch.testing.assert_close(renamed, energy)
    torch.testing.assert_close(per_sample_energy(logits[samples], LABELS[samples]), energy[samples])


def test_accuracy_is_the_share_of_largest_logits_on_target():
    assert accuracy(torch.eye(4)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 3])) == 0.75


@pytest.mark.parametrize(
    ("logits", "targets", "error", "message"),
    [
        (torch.zeros(5), LABELS, ValueError, r"shape \(N, K\), got \(5,\)"),
        (torch.zeros(4, 4), LABELS, ValueError, "4 rows of logits but 5 targets"),
        (torch.zeros(5, 3), LABELS, ValueError, r"0 \.\. 2 for 3 classes, got values from 0 to 3"),
        (torch.zeros(5, 4), LABELS - 1, ValueError, "from -1 to 2"),
        (torch.zeros(0, 4), LABELS[:0], ValueError, "the data is empty"),
        (torch.full((5, 4), math.nan), LABELS, ValueError, "NaN or infinity"),
        (torch.zeros(5, 4), LABELS.double(), TypeError, "vector of integers"),
    ],
)
def test_input_without_an_energy_is_refused(logits, targets, error, message):
    with pytest.raises(error, match=message):
        average_initial_energy(logits, targets)
