"""A rate of head probing from the data: half of what the curvature of the loss allows."""

import torch
from torch import Tensor

RMS = 10.0  # root mean square that features are scaled to; below it the bias outruns the weights


def probing_rate(views: Tensor, labels: Tensor, n_classes: int) -> tuple[float, float]:
    r"""Return a rate of head probing, and the factor on the features for which it is meant.

    With z' the scaled features, :math:`\lambda` the largest eigenvalue of the second moment of
    [z', 1], and :math:`\mu` the one of :math:`\mathrm{diag}(\pi) - \pi\pi^T` at the shares
    :math:`\pi` of the classes, the Hessian of the mean cross-entropy at predictions :math:`\pi` is
    at most :math:`\lambda\mu`. The rate is :math:`1 / (2 \lambda\mu)`. It knows nothing of the
    noise of small batches and of momentum: `probe_head` halves it until the energy falls. (A bound
    by that noise, (1 - momentum) times the batch size over the mean of :math:`\|[z', 1]\|^2`, is
    lower on most features and only slows probing down.)

    Shapes are (V, N, h) of the views to probe on, and (N,) of the labels.
    """
    features = views.flatten(0, 1).cpu().double()
    scale = RMS / max(float(features.square().mean().sqrt()), 1e-12)
    inputs = torch.cat([scale * features, torch.ones_like(features[:, :1])], dim=1)
    curvature = torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1]
    shares = torch.bincount(labels.cpu(), minlength=n_classes).double() / len(labels)
    spread = torch.linalg.eigvalsh(shares.diag() - shares.outer(shares))[-1]
    return 1 / (2 * float(spread) * float(curvature)), scale
