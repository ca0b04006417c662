"""What a network scores: accuracy, loss, calibration, and what a fresh head makes of features."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from taskhead.method.batches import as_labelled, forward_batches
from taskhead.method.checks import check_labels
from taskhead.method.features import eval_mode


@torch.no_grad()
def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (N, K) of images (N, ...) in eval mode."""
    with eval_mode(network):
        return torch.cat([network(batch) for batch in forward_batches(images)])


def evaluate(network: nn.Module, data: Any) -> tuple[float, float]:
    """Return accuracy in [0, 1] and mean cross-entropy, in nats, of a network in eval mode.

    `data` has any of the forms that `finetune` takes.
    """
    data = as_labelled(data)
    if not len(data):
        raise ValueError("the data is empty: there are no images")
    logits = predict(network, data.images)
    check_labels(data.labels, logits.shape[1])
    return accuracy(logits, data.labels), float(cross_entropy(logits, data.labels))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of samples, in [0, 1], whose largest logit (N, K) is the label (N,)."""
    return (logits.argmax(dim=1) == labels).sum().item() / len(labels)


def calibration_error(logits: Tensor, labels: Tensor, *, bins: int = 15) -> float:
    """Return the expected calibration error, in [0, 1], of logits (N, K) and labels (N,).

    Predictions are sorted into `bins` bins of equal width by the probability of the predicted
    class; the error is the mean over samples of the gap between accuracy and probability of a bin.
    Source: Guo et al. 2017, arXiv 1706.04599.
    """
    confidence, predicted = logits.cpu().double().softmax(dim=1).max(dim=1)
    right = (predicted == labels.cpu()).double()
    index = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add(0, index, right - confidence)
    return float(gaps.abs().sum()) / len(labels)


def fresh_probe_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor
) -> float:
    """Return the accuracy on test features (M, h) of a head fitted to training features (N, h).

    The head is scikit-learn's logistic regression with its default penalty, on features divided by
    their root mean square; it says what the features are worth, whatever head they came with.
    """
    from sklearn.linear_model import LogisticRegression

    scale = train.square().mean().sqrt().clamp(min=1e-12)
    seen, unseen = ((part / scale).cpu().double().numpy() for part in (train, test))
    head = LogisticRegression(max_iter=1000).fit(seen, train_labels.cpu().numpy())
    return float((head.predict(unseen) == test_labels.cpu().numpy()).mean())
