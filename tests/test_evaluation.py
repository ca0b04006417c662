"""Scores: calibration by hand, and a fresh head on features."""

import pytest
import torch
from torch import nn

from taskhead.method.evaluation import (
    accuracy,
    calibration_error,
    evaluate,
    fresh_probe_accuracy,
    predict,
)


def logits_of(confidences: list[float]) -> torch.Tensor:
    p = torch.tensor(confidences)
    return torch.stack([p, 1 - p], dim=1).log()


@pytest.mark.parametrize(
    ("confidences", "labels", "expected"),
    [
        ([0.8] * 5, [0, 0, 0, 0, 1], 0.0),
        ([0.8] * 5, [0, 0, 1, 1, 1], 0.4),
        ([0.9, 0.9, 0.6, 0.6], [0, 0, 1, 1], (0.1 + 0.6) / 2),
        ([0.7, 0.9], [0, 1], (0.3 + 0.9) / 2),
    ],
)
def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy(
    confidences, labels, expected
):
    error = calibration_error(logits_of(confidences), torch.tensor(labels))
    assert error == pytest.approx(expected, abs=1e-6)


def test_scores_are_those_of_the_network_in_eval_mode_and_its_mode_is_restored():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(12, 3)).train()
    images, labels = torch.rand(9, 3, 2, 2), torch.arange(9) % 3
    logits = network[2](images.flatten(1)).detach()
    assert torch.equal(predict(network, images), logits)
    share, loss = evaluate(network, (images, labels))
    assert share == accuracy(logits, labels)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))
    assert network.training


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_and_empty_data_are_refused(label: int):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ValueError, match=str(label)):
        evaluate(network, (torch.rand(2, 3, 2, 2), torch.tensor([0, label])))
    with pytest.raises(ValueError, match="empty"):
        evaluate(network, (torch.rand(0, 3, 2, 2), torch.zeros(0).long()))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_fresh_probe_tells_separable_features_from_noise(scale: float):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    noise = torch.randn(200, 8, generator=generator)
    told = scale * (noise + 6 * torch.eye(4, 8)[labels])
    train, test = slice(0, 100), slice(100, 200)
    scores = [
        fresh_probe_accuracy(z[train], labels[train], z[test], labels[test])
        for z in (told, scale * noise)
    ]
    assert scores[0] > 0.98
    assert scores[1] < 0.5
