"""How far features moved: z_0 before finetuning against z_T after it."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity


@dataclass(frozen=True)
class Adaptation:
    """Means over samples of the four feature measures of the paper, and of the starting norm."""

    euclidean: float
    cosine: float
    dot: float
    norm: float
    z0_norm: float


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
        below 1e-12 are raised to 1e-12 in the cosine's denominator.

    Raises
    ------
    ValueError
        If the shapes differ, are not (N, h) with N > 0, or a feature is not finite.
    """
    if z0.shape != zT.shape or z0.ndim != 2 or len(z0) == 0:
        raise ValueError(
            f"z0 and zT must share one shape (N, h) with N > 0, "
            f"got {tuple(z0.shape)} and {tuple(zT.shape)}"
        )
    z0, zT = z0.cpu().double(), zT.cpu().double()  # no float64 on Apple's GPUs
    if not bool((z0.isfinite() & zT.isfinite()).all()):
        raise ValueError("features hold NaN or infinity; the measures are not defined")
    return Adaptation(
        euclidean=float((zT - z0).norm(dim=1).mean()),
        cosine=float(cosine_similarity(z0, zT, dim=1, eps=1e-12).clamp(-1, 1).mean()),
        dot=float((z0 * zT).sum(dim=1).mean()),
        norm=float(zT.norm(dim=1).mean()),
        z0_norm=float(z0.norm(dim=1).mean()),
    )
