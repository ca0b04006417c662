"""A prepared head: what finetuning sees of it, and what it scores before finetuning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from taskhead.method.batches import LabelledImages
from taskhead.method.checks import check_samples
from taskhead.method.energy import average_initial_energy, feature_gradients
from taskhead.method.evaluation import accuracy
from taskhead.method.features import extract_features
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.heads import last_layer_norm
from taskhead.method.probing import Probed
from taskhead.method.seeds import stream
from taskhead.method.views import extract_views

EXPLODED = 30.0  # times the loss of guessing, log K
_VIEWS = 10  # of an image, on which the energy is measured
_ROWS = 50_000  # of features in memory, beyond which there are fewer


@dataclass(frozen=True)
class Prepared:
    """A prepared head, the backbone it stands on, and what both score before finetuning.

    `aie` is the average initial energy over views of the training images that probing did not see,
    in the mode of finetuning: the energy that finetuning receives. `aie_clean` is that over the
    images as they are; both use hard labels. `feature_gradient_norm` is the mean norm of the
    gradient of the loss by the features of the former views: the energy sent through the head.
    `train_accuracy` and `train_loss` belong to the images as they are; the validation measures are
    None where no validation data were given. Accuracies lie in [0, 1], losses are cross-entropies
    in nats.

    Probing took `steps` steps, which are `tau` epochs, at the rate `lr`. With the rate "auto" it is
    meant for features of a root mean square of 10.

    `outcome` is "done"; "unreached" if the head starts below the energy asked for, or probing does
    not go down to it; "diverged" if the head gives NaN or infinity, in which case measures are NaN;
    or "collapsed" if probing has driven the validation loss above 30 times log K. `reason` says
    what was seen.
    """

    preparation: HeadPreparation
    backbone: nn.Module
    head: nn.Module
    tau: float
    steps: int
    lr: float
    aie: float = math.nan
    aie_clean: float = math.nan
    last_layer_norm: float = math.nan
    feature_gradient_norm: float = math.nan
    train_accuracy: float = math.nan
    train_loss: float = math.nan
    val_accuracy: float | None = None
    val_loss: float | None = None
    outcome: Literal["done", "unreached", "diverged", "collapsed"] = "done"
    reason: str | None = None

    @property
    def reached(self) -> bool:
        """Say whether probing came to the energy asked for."""
        return self.outcome != "unreached"


class EnergyNotReached(ValueError):
    """An energy that the head starts below, or that probing does not go down to.

    `prepared` holds all heads of the call, those with the outcome "unreached" among them.
    """

    def __init__(self, prepared: list[Prepared]) -> None:
        """Take the heads; the message is the reason of the first that was not reached."""
        self.prepared = prepared
        super().__init__(next(each.reason for each in prepared if not each.reached))


@dataclass(frozen=True)
class Seen:
    """Features: views to probe on (V, N, h), fresh ones (E, N, h), and of the images as they are.

    `clean` holds those (N, h) of the training images, and of the validation images if given.
    """

    views: Tensor
    fresh: Tensor
    clean: list[Tensor]


def see(
    network: nn.Module,
    parts: Sequence[LabelledImages],
    *,
    views: int,
    seed: int,
    **sight: Any,
) -> Seen:
    """Extract the features of training images, and validation images if given, that probing needs.

    `views` of 0 probes on the images as they are. `sight` holds what `extract_views` takes:
    `augment`, `bn_mode`, `dropout` and `batch_size`.
    """
    clean = [extract_features(network, part.images) for part in parts]
    for features, part in zip(clean, parts, strict=True):
        check_samples(features, part.labels, count_classes(parts), "features of the backbone")
    probed, fresh = (
        extract_views(network, parts[0].images, count=count, seed=stream(seed, purpose), **sight)
        if count
        else clean[0][None]
        for count, purpose in ((views, "views"), (views_that_fit(len(parts[0])), "energy"))
    )
    return Seen(probed, fresh, clean)


def views_that_fit(n_images: int) -> int:
    """Return how many views of each image have room in memory: ten, fewer above 5,000 images."""
    return max(1, min(_VIEWS, _ROWS // n_images))


@torch.no_grad()
def score(
    preparation: HeadPreparation,
    backbone: nn.Module,
    probed: Probed,
    seen: Seen,
    parts: Sequence[LabelledImages],
) -> Prepared:
    """Measure a probed head on what finetuning will see, and on the images as they are."""
    head, labels = probed.head, parts[0].labels
    logits = [head(features) for features in seen.clean]
    views, view_labels = seen.fresh.flatten(0, 1), labels.repeat(len(seen.fresh))
    fresh = head(views)
    losses = [float(cross_entropy(q, part.labels)) for q, part in zip(logits, parts, strict=True)]
    shares = [accuracy(q, part.labels) for q, part in zip(logits, parts, strict=True)]
    prepared = Prepared(preparation, backbone, head, probed.epochs, probed.steps, probed.lr)
    if not all(bool(q.isfinite().all()) for q in (*logits, fresh)) or math.inf in losses:
        reason = f"probing diverged (training loss {losses[0]}, rate {probed.lr:.3g})"
        missing = math.nan if len(parts) > 1 else None
        return replace(
            prepared, outcome="diverged", reason=reason, val_accuracy=missing, val_loss=missing
        )
    outcome, reason = "done", None
    if probed.reason:
        outcome, reason = "unreached", probed.reason
    elif probed.steps and losses[-1] > EXPLODED * math.log(logits[0].shape[1]):
        outcome, reason = "collapsed", f"the probed head has a loss of {losses[-1]:.3g} nats"
    return replace(
        prepared,
        aie=average_initial_energy(fresh, view_labels),
        aie_clean=average_initial_energy(logits[0], labels),
        last_layer_norm=last_layer_norm(head),
        feature_gradient_norm=float(feature_gradients(head, views, view_labels).norm(dim=1).mean()),
        train_accuracy=shares[0],
        train_loss=losses[0],
        val_accuracy=shares[1] if len(parts) > 1 else None,
        val_loss=losses[1] if len(parts) > 1 else None,
        outcome=outcome,
        reason=reason,
    )


def count_classes(parts: Sequence[LabelledImages]) -> int:
    """Return K, one more than the greatest label of the training and validation images."""
    return max(int(part.labels.max()) if len(part) else 0 for part in parts) + 1
