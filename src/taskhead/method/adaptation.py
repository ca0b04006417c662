"""How far features moved: z_0 before finetuning against z_T after it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from taskhead.method.checks import as_tensor


@dataclass(frozen=True)
class Adaptation:
    """Means over samples of the four feature measures of the paper, and what they start from.

    `relative_euclidean` is ||z_T - z_0|| / ||z_0||. Without any change the dot product is
    `z0_squared_norm`, the mean of ||z_0||^2, and the norm is `z0_norm`, the mean of ||z_0||.
    """

    euclidean: float
    cosine: float
    dot: float
    norm: float
    z0_norm: float
    z0_squared_norm: float
    relative_euclidean: float


def measure(z0: Tensor, zT: Tensor) -> Adaptation:
    """Measure the adaptation of features.

    Parameters
    ----------
    z0, zT
        Shape (N, h), features of the same samples before and after finetuning.

    Returns
    -------
    Adaptation
        Means over the N samples, computed in float64: `euclidean` ||z_T - z_0||, `cosine`
        similarity in [-1, 1], `dot` product z_T . z_0, `norm` ||z_T||, and `z0_norm` ||z_0||.
        A sample with a zero vector on either side has no angle and counts with cosine 0; norms
        below 1e-12 are raised to 1e-12 in the cosine's denominator. One with a zero z_0 makes
        `relative_euclidean` infinite or NaN.

    Raises
    ------
    ValueError
        If the shapes differ, are not (N, h) with N > 0, or a feature is not finite.
    """
    z0, zT = as_tensor("z0", z0), as_tensor("zT", zT)
    if z0.shape != zT.shape or z0.ndim != 2 or len(z0) == 0:
        raise ValueError(
            f"z0 and zT must share one shape (N, h) with N > 0, "
            f"got {tuple(z0.shape)} and {tuple(zT.shape)}"
        )
    z0, zT = z0.cpu().double(), zT.cpu().double()  # no float64 on Apple's GPUs
    if not bool((z0.isfinite() & zT.isfinite()).all()):
        raise ValueError("features hold NaN or infinity; the measures are not defined")
    distances, norms = (zT - z0).norm(dim=1), z0.norm(dim=1)
    return Adaptation(
        euclidean=float(distances.mean()),
        cosine=float(cosine_similarity(z0, zT, dim=1, eps=1e-12).clamp(-1, 1).mean()),
        dot=float((z0 * zT).sum(dim=1).mean()),
        norm=float(zT.norm(dim=1).mean()),
        z0_norm=float(norms.mean()),
        z0_squared_norm=float((norms**2).mean()),
        relative_euclidean=float((distances / norms).mean()),
    )


def linear_cka(z0: Tensor, zT: Tensor) -> float:
    r"""Return the linear centred kernel alignment of features (N, h) and (N, k) of N samples.

    With centred features X and Y it is :math:`\|X^T Y\|^2 / (\|X^T X\| \|Y^T Y\|)` (Frobenius),
    in [0, 1]: 1 if one is the other up to rotation and scale. It is computed in float64, and is NaN
    where all features on a side are equal.
    Source: Kornblith et al. 2019, arXiv 1905.00414.
    """
    x, y = (z.cpu().double() - z.cpu().double().mean(dim=0) for z in (z0, zT))
    return float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def scatter(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the scatter of features (N, h) within the classes of labels (N,), and between them.

    Within is the mean squared distance of a feature from the mean of its class, between that of the
    mean of its class from the mean of all. Their sum is the mean squared distance from the mean of
    all. Computed in float64.
    """
    features, labels = features.cpu().double(), labels.cpu()
    means = torch.zeros_like(features)
    for label in labels.unique():
        means[labels == label] = features[labels == label].mean(dim=0)
    within, between = features - means, means - features.mean(dim=0)
    return float((within**2).sum(dim=1).mean()), float((between**2).sum(dim=1).mean())


EXPLODED = 1000.0  # times the pretrained features' root mean square


def why_collapsed(z0: Tensor, zT: Tensor) -> str | None:
    """Say why features after finetuning mean nothing, or return None if they are sound.

    Shapes are those of `measure`. Features mean nothing if they are not finite, equal for all
    samples, zero for a sample so that its angle is undefined, or of a root mean square above 1,000
    times that of z_0.
    """
    for name, features in (("pretrained", z0), ("finetuned", zT)):
        values = features.detach().cpu().double()
        if not bool(values.isfinite().all()):
            return f"{name} features hold NaN or infinity"
        if len(values) > 1 and bool((values == values[0]).all()):
            return f"{name} features are equal for all {len(values)} images"
        if zeros := int((values == 0).all(dim=1).sum()):
            return f"{name} features are zero for {zeros} of {len(values)} images"
    before, after = (math.sqrt(float((z.detach().cpu().double() ** 2).mean())) for z in (z0, zT))
    if after > EXPLODED * before:
        return (
            f"features grew to {after / before:.3g} times their root mean square; lower the rates"
        )
    return None
