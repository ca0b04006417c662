"""Head preparation: all that is done to a task head before finetuning, and what it leaves."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from taskhead.method.batches import LabelledImages, as_labelled
from taskhead.method.checks import check_eps, check_positive, check_samples, check_training_set
from taskhead.method.energy import accuracy, average_initial_energy
from taskhead.method.features import extract_features, reinitialise_last_blocks
from taskhead.method.heads import last_layer_norm, make_head
from taskhead.method.probing import probe_heads, probe_through_backbone

EXPLODED = 30.0  # times the loss of guessing, log K


@dataclass(frozen=True)
class HeadPreparation:
    """How a head is prepared.

    Parameters
    ----------
    tau
        Epochs of head probing, at least 0.
    eps
        Label smoothing in probing, in [0, 1); it leaves an energy of eps * sqrt((K - 1) / K).
    hidden
        Units of the hidden layers, as (512,); empty for a linear head.
    init_scale
        Factor on the initial weights of the last layer, at least 0; 0 starts at uniform
        predictions.
    reinitialised_blocks
        Last blocks of the backbone's last stage that are drawn anew and probed with the head.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range.
    """

    tau: int
    eps: float = 0.0
    hidden: tuple[int, ...] = ()
    init_scale: float = 1.0
    reinitialised_blocks: int = 0

    def __post_init__(self) -> None:
        """Cast integers of NumPy and check the ranges."""
        object.__setattr__(self, "hidden", tuple(int(units) for units in self.hidden))
        for name in ("tau", "reinitialised_blocks"):
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
            object.__setattr__(self, name, int(value))
        check_eps(self.eps)
        check_positive("init_scale", self.init_scale, zero=True)


@dataclass(frozen=True)
class Prepared:
    """A prepared head, the backbone it stands on, and what both score before finetuning.

    `aie`, `train_accuracy` and `train_loss` are taken on the training images as they are, in eval
    mode, with hard labels; the validation measures are None where no validation data were given.
    Accuracies lie in [0, 1], losses are cross-entropies in nats.

    `outcome` is "done"; "diverged" if the head gives NaN or infinity, in which case measures are
    NaN; or "collapsed" if probing has driven the validation loss above 30 times log K. `reason`
    says what was seen.
    """

    preparation: HeadPreparation
    backbone: nn.Module
    head: nn.Module
    aie: float
    last_layer_norm: float
    train_accuracy: float
    train_loss: float
    val_accuracy: float | None
    val_loss: float | None
    outcome: Literal["done", "diverged", "collapsed"] = "done"
    reason: str | None = None

    @property
    def tau(self) -> int:
        """Return the epochs of probing."""
        return self.preparation.tau


def prepare_heads(
    backbone: nn.Module,
    train: Any,
    preparations: Sequence[HeadPreparation],
    *,
    lr: float,
    val: Any = None,
    batch_size: int = 128,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> list[Prepared]:
    """Prepare a head in each of several ways, by SGD with Nesterov momentum at a constant rate.

    Preparations that differ only in `tau` share one trajectory; those that differ in `eps` and
    `init_scale` as well are probed side by side. The backbone is not changed: it is run in eval
    mode, once, and heads are probed on its features.

    Parameters
    ----------
    backbone
        Maps a batch of images to features (N, h).
    train, val
        `LabelledImages`, a pair of tensors (images, labels), or a map-style `Dataset`.
    preparations
        What to prepare; the result has their order.
    lr, batch_size, momentum, weight_decay
        Of probing.
    seed
        Of the heads' initial weights, the batch order and re-initialised blocks.
    device
        Where to compute; that of the data if it is None.

    Raises
    ------
    ValueError, TypeError
        If the data, the backbone's output or a hyper-parameter is out of range.
    """
    data = as_labelled(train)
    device = torch.device(device) if device else data.labels.device
    data, held_out = data.to(device), None if val is None else as_labelled(val).to(device)
    parts = [data] if held_out is None else [data, held_out]
    n_classes = max(int(part.labels.max()) if len(part) else 0 for part in parts) + 1
    check_training_set(data.images, data.labels, n_classes)
    options = {
        "lr": lr,
        "batch_size": batch_size,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "seed": seed,
    }
    prepared: dict[HeadPreparation, Prepared] = {}
    plain = [p for p in preparations if not p.reinitialised_blocks]
    if plain:
        backbone = copy.deepcopy(backbone).to(device)
        features = [extract_features(backbone, part.images) for part in parts]
        for each, part in zip(features, parts, strict=True):
            check_samples(each, part.labels, n_classes)
        for hidden in dict.fromkeys(p.hidden for p in plain):
            alike = [p for p in plain if p.hidden == hidden]
            trajectories = list(dict.fromkeys(replace(p, tau=0) for p in alike))
            heads = [new_head(features[0], n_classes, start, seed) for start in trajectories]
            for tau, standing in probe_heads(
                features[0],
                data.labels,
                heads,
                taus=sorted({p.tau for p in alike}),
                eps=[start.eps for start in trajectories],
                **options,
            ):
                for start, head in zip(trajectories, standing, strict=True):
                    preparation = replace(start, tau=tau)
                    if preparation in alike:
                        scored = _score(preparation, backbone, head, features, parts)
                        prepared[preparation] = scored
    partial = [p for p in preparations if p.reinitialised_blocks]
    for start in dict.fromkeys(replace(p, tau=0) for p in partial):
        alike = [p for p in partial if replace(p, tau=0) == start]
        for scored in _prepare_partial(backbone, parts, n_classes, alike, options):
            prepared[scored.preparation] = scored
    return [prepared[preparation] for preparation in preparations]


def _prepare_partial(
    backbone: nn.Module,
    parts: Sequence[LabelledImages],
    n_classes: int,
    alike: Sequence[HeadPreparation],
    options: dict[str, Any],
) -> Iterator[Prepared]:
    """Re-initialise the last blocks of a copy and probe them together with the head."""
    start, seed = alike[0], options["seed"]
    backbone = copy.deepcopy(backbone).to(parts[0].labels.device)
    reinitialise_last_blocks(backbone, start.reinitialised_blocks, seed=seed)
    head = new_head(extract_features(backbone, parts[0].images[:2]), n_classes, start, seed)
    for tau, standing, probed in probe_through_backbone(
        backbone,
        head,
        parts[0],
        taus=sorted({p.tau for p in alike}),
        eps=start.eps,
        trained_blocks=start.reinitialised_blocks,
        **options,
    ):
        features = [extract_features(standing, part.images) for part in parts]
        yield _score(replace(start, tau=tau), standing, probed, features, parts)


def new_head(
    features: Tensor, n_classes: int, preparation: HeadPreparation, seed: int
) -> nn.Sequential:
    """Return the head of a preparation as it is before probing, for features (N, h) like these."""
    head = make_head(
        features.shape[1],
        n_classes,
        hidden=preparation.hidden,
        init_scale=preparation.init_scale,
        seed=seed,
    )
    return head.to(features)


@torch.no_grad()
def _score(
    preparation: HeadPreparation,
    backbone: nn.Module,
    head: nn.Module,
    features: Sequence[Tensor],
    parts: Sequence[LabelledImages],
) -> Prepared:
    """Measure a head, in eval mode, on the features (N, h) of the training and validation parts."""
    logits = [head(each) for each in features]
    losses = [float(cross_entropy(q, part.labels)) for q, part in zip(logits, parts, strict=True)]
    shares = [accuracy(q, part.labels) for q, part in zip(logits, parts, strict=True)]
    sound = all(bool(q.isfinite().all()) for q in logits) and all(map(math.isfinite, losses))
    outcome, reason = "done", None
    if not sound:
        outcome, reason = "diverged", f"probing diverged (training loss {losses[0]})"
    elif preparation.tau and losses[-1] > EXPLODED * math.log(logits[0].shape[1]):
        outcome, reason = "collapsed", f"the probed head has a loss of {losses[-1]:.3g} nats"
    return Prepared(
        preparation=preparation,
        backbone=backbone,
        head=head,
        aie=average_initial_energy(logits[0], parts[0].labels) if sound else math.nan,
        last_layer_norm=last_layer_norm(head) if sound else math.nan,
        train_accuracy=shares[0] if sound else math.nan,
        train_loss=losses[0] if sound else math.nan,
        val_accuracy=shares[1] if len(parts) > 1 and sound else None,
        val_loss=losses[1] if len(parts) > 1 and sound else None,
        outcome=outcome,
        reason=reason,
    )
