"""One step of finetuning, taken apart: kernel, direction and energy behind the feature change."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vjp
from torch.nn.functional import one_hot

from taskhead.method.checks import check_positive, check_samples
from taskhead.method.features import BnMode, set_mode
from taskhead.method.heads import last_layer
from taskhead.method.kernel import Linearised, linearise
from taskhead.method.seeds import seeded


@dataclass(frozen=True)
class OneStep:
    """What one step of full-batch gradient descent does to features z of N samples.

    `predicted` (N, h) is the change to first order in the rate, and `true` (N, h) what the step
    does. `errors` (N, K) are e_y - p, whose norms are the energies; `directions` (N, h) are these
    sent through the head, V^T (e_y - p) for a linear one. To first order sample n moves by
    lr / N times the sum over all samples m of K(n, m) directions_m, where K is the kernel of the
    backbone's gradients.

    The mean length of `predicted` is exactly lr * energy * gain * coherence * kernel. `energy` is
    the mean norm of the errors; `gain` the mean norm of the directions over it; `coherence` the
    length of the mean direction of a class over the mean length, averaged over samples: 1 if all
    samples of a class are sent the same way; `kernel` what is left, features moved per length of
    the directions that do not cancel within a class.
    """

    predicted: Tensor
    true: Tensor
    errors: Tensor
    directions: Tensor
    labels: Tensor
    lr: float

    @property
    def energy(self) -> float:
        """Return the mean norm of e_y - p, in [0, sqrt(2)]."""
        return float(self.errors.norm(dim=1).mean())

    @property
    def gain(self) -> float:
        """Return how much longer the head makes the errors."""
        return float(self.directions.norm(dim=1).mean()) / self.energy

    @property
    def coherence(self) -> float:
        """Return how far the directions of a class agree, in [0, 1]."""
        sums = torch.zeros(int(self.labels.max()) + 1, self.directions.shape[1]).to(self.directions)
        sums = sums.index_add(0, self.labels, self.directions)
        return float(sums.norm(dim=1).sum() / self.directions.norm(dim=1).sum())

    @property
    def kernel(self) -> float:
        """Return the length that features move for each length of coherent direction."""
        moved = float(self.predicted.norm(dim=1).mean())
        return moved / (self.lr * self.energy * self.gain * self.coherence)


def one_step_change(
    backbone: nn.Module,
    head: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    lr: float,
    bn_mode: BnMode = "eval",
    dropout: bool = False,
    trainable: str = "all",
    seed: int = 0,
) -> OneStep:
    """Return the predicted and the true feature change of one step of gradient descent.

    The step minimises the mean cross-entropy of all N images (N, ...) with int64 labels (N,) at the
    rate `lr`, without momentum, and moves the parameters of the backbone that require a gradient.
    The kernel is never formed: its product with the directions is one backward pass and its
    transpose. Backbone and head are not changed.
    Source: the decomposition of Ren et al. 2023; the factors are the companion's own.

    Parameters
    ----------
    backbone, head
        Map images to features (N, h), and these to logits (N, K).
    images, labels
        The batch, as finetuning would see it: the caller augments.
    lr
        Positive.
    bn_mode, dropout, trainable
        Those of `finetune`. In "train" all N images are one batch of BatchNorm.
    seed
        Of the draw of dropout, the same before and after the step, and of adapters.

    Raises
    ------
    ValueError, TypeError
        If the rate is not positive, labels do not fit, or no parameter requires a gradient.
    """
    mode: dict[str, Any] = {"bn_mode": bn_mode, "dropout": dropout}
    check_positive("lr", lr)
    check_samples(images, labels, last_layer(head).out_features)
    head = copy.deepcopy(head)
    set_mode(head, **mode)
    start = linearise(backbone, images, **mode, trainable=trainable, seed=seed)
    with seeded(seed):
        return next(steps_from(start, head, labels, lrs=[lr]))


def steps_from(
    start: Linearised, head: nn.Module, labels: Tensor, *, lrs: Iterable[float]
) -> Iterator[OneStep]:
    """Yield what one step from linearised features does at each rate; see `one_step_change`."""
    logits, through_head = vjp(head, start.z)[:2]
    errors = one_hot(labels, logits.shape[1]) - logits.detach().softmax(dim=1)
    directions = through_head(errors)[0].detach()
    ascent = start.pull(directions / len(labels))
    velocity = start.push(ascent)
    for lr in lrs:
        true = start.moved({name: lr * each for name, each in ascent.items()})
        yield OneStep(lr * velocity, true, errors, directions, labels, lr)
