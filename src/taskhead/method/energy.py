"""The energy e_y - p that is left for feature adaptation when finetuning starts."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from taskhead.method.checks import as_labels, check_labels


def per_sample_energy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return the energy :math:`\|e_y - \mathrm{softmax}(q)\|_2` of every sample.

    Shapes are (N, K) of the logits q, and (N,) of targets, classes in 0 .. K - 1. The result has
    shape (N,), each energy in [0, sqrt(2)]; it is computed in float64 on the CPU.

    Raises `ValueError` if the logits are no matrix, are not finite, or do not match the targets,
    and `TypeError` if the targets are no integer vector.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits must have shape (N, K), got {tuple(logits.shape)}")
    targets = as_labels(targets)
    if len(logits) != len(targets):
        raise ValueError(f"{len(logits)} rows of logits but {len(targets)} targets")
    check_labels(targets, logits.shape[1])
    if not bool(logits.isfinite().all()):
        raise ValueError("logits hold NaN or infinity; the energy is not defined")
    logits, targets = logits.detach().cpu().double(), targets.cpu()  # no float64 on Apple's GPUs
    gap = one_hot(targets, logits.shape[1]) - logits.softmax(dim=1)
    return gap.norm(dim=1)


def average_initial_energy(logits: Tensor, targets: Tensor) -> float:
    """Return the average initial energy (AIE), the mean of `per_sample_energy`, in [0, sqrt(2)].

    The AIE belongs to the training set and to the head as it stands when finetuning starts.
    Shapes and errors are those of `per_sample_energy`.
    """
    return float(per_sample_energy(logits, targets).mean())


@torch.no_grad()
def mean_energy(head: nn.Module, views: Tensor, labels: Tensor) -> float:
    """Return the average energy of a head on features (E, N, h) of views of N labelled images.

    It is that of `average_initial_energy` in the precision of the features, for use in a loop; NaN
    where logits are not finite.
    """
    gap = head(views.flatten(0, 1)).softmax(dim=1)
    index = labels.repeat(len(views))[:, None]
    gap.scatter_add_(1, index, gap.new_full(index.shape, -1))
    return float(gap.norm(dim=1).mean())


def feature_gradients(head: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each sample's cross-entropy by its features, (N, h) as they are.

    It is what reaches a feature when finetuning starts: the error e_y - p sent back through the
    head, -V^T (e_y - p) for a linear one. Labels are int64 (N,).
    """

    def loss(features: Tensor) -> Tensor:
        return cross_entropy(head(features), labels, reduction="sum")

    return torch.func.grad(loss)(features)
