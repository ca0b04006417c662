"""A rate of head probing from the data: as large as curvature and noise of the gradient allow."""

import torch
from torch import Tensor

RMS = 10.0  # root mean square that features are scaled to; below it the bias outruns the weights


def probing_rate(
    views: Tensor, labels: Tensor, n_classes: int, *, batch_size: int, momentum: float
) -> tuple[float, float]:
    r"""Return a rate of head probing, and the factor on the features for which it is meant.

    With z' the scaled features, :math:`\lambda` the largest eigenvalue of the second moment of
    [z', 1], and :math:`\mu` the one of :math:`\mathrm{diag}(\pi) - \pi\pi^T` at the shares
    :math:`\pi` of the classes, the Hessian of the mean cross-entropy at predictions :math:`\pi` is
    at most :math:`\lambda\mu`, and the rate :math:`1 / (2 \lambda \mu)`. With minibatches of B
    images and momentum m it is at most :math:`(1 - m) B / E\|[z', 1]\|^2`, as single images must
    not throw the head about.

    Parameters
    ----------
    views
        Features (V, N, h) to probe on.
    labels
        Their int64 classes (N,), of `n_classes`.
    batch_size, momentum
        Of probing.
    """
    features = views.flatten(0, 1).cpu().double()
    scale = RMS / max(float(features.square().mean().sqrt()), 1e-12)
    inputs = torch.cat([scale * features, torch.ones_like(features[:, :1])], dim=1)
    curvature = torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1]
    shares = torch.bincount(labels.cpu(), minlength=n_classes).double() / len(labels)
    spread = torch.linalg.eigvalsh(shares.diag() - shares.outer(shares))[-1]
    rate = 1 / (2 * float(spread) * float(curvature))
    if batch_size < len(labels):
        noise = float(inputs.square().sum(dim=1).mean())
        rate = min(rate, (1 - momentum) * batch_size / noise)
    return rate, scale
