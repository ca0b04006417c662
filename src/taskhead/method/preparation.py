"""Prepare heads: probe them on a backbone's features, and measure the energy that they leave."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from taskhead.method.augmentation import Augment, as_augmentation
from taskhead.method.batches import LabelledImages, as_labelled
from taskhead.method.checks import (
    check_choice,
    check_module,
    check_samples,
    check_seed,
    check_trainable,
    check_training_set,
    check_whole,
)
from taskhead.method.features import BN_MODES, BnMode, extract_features, reinitialise_last_blocks
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.heads import make_head, rescale_inputs
from taskhead.method.prepared import EnergyNotReached, Prepared, Seen, count_classes, score, see
from taskhead.method.probing import probe_head
from taskhead.method.rates import probing_rate
from taskhead.method.seeds import stream
from taskhead.method.through_backbone import probe_through_backbone


def prepare_heads(
    backbone: nn.Module,
    train: Any,
    preparations: Sequence[HeadPreparation],
    *,
    val: Any = None,
    lr: float | Literal["auto"] = "auto",
    batch_size: int = 128,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    augment: str | Augment | None = None,
    views: int = 10,
    bn_mode: BnMode = "eval",
    dropout: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> list[Prepared]:
    """Prepare a head in each of several ways, by SGD with Nesterov momentum at a constant rate.

    Preparations that differ only in where they stop share one trajectory. The backbone is not
    changed: features of views of the training images are computed once, and heads are probed on
    them. Give `augment`, `bn_mode` and `batch_size` as to `finetune`: energy is energy as
    finetuning receives it.

    Parameters
    ----------
    backbone
        Maps a batch of images to features (N, h).
    train, val
        `LabelledImages`, a pair of tensors (images, labels), a map-style `Dataset` or a
        `DataLoader`.
    preparations
        What to prepare; the result has their order.
    lr
        Rate of probing, or "auto" for one from the data (`probing_rate`), which is halved until the
        energy falls.
    batch_size, momentum, weight_decay
        Of probing.
    augment
        The augmentation of finetuning: the name "crop-flip", a callable of images and a generator,
        or None.
    views
        Views of each image to probe on; they take views * N * h numbers of memory. 0 probes on
        the images as they are. Ten others serve to measure the energy, fewer where N is above
        5,000. Without augmentation there is one view.
    bn_mode, dropout
        The BatchNorm mode of finetuning, and whether dropout and stochastic depth act in it.
    seed
        Of the heads' initial weights, the batch order, the views and re-initialised blocks.
    device
        Where to compute; that of the data if it is None.

    Raises
    ------
    ValueError, TypeError
        If the data, the backbone's output or a hyper-parameter is out of range.
    EnergyNotReached
        If an energy is above where the head starts, or below what probing leaves; it names both.
    """
    check_module("backbone", backbone)
    check_trainable("backbone", backbone, frozen=True)
    check_seed(seed)
    check_whole("views", views)
    preparations = as_preparations("preparations", preparations)
    data = as_labelled(train)
    device = torch.device(device) if device else data.labels.device
    parts = [part.to(device) for part in (data, *([] if val is None else [as_labelled(val)]))]
    n_classes = count_classes(parts)
    check_training_set(parts[0].images, parts[0].labels, n_classes)
    for held_out in parts[1:]:
        check_samples(held_out.images, held_out.labels, n_classes)
    check_choice("bn_mode", bn_mode, BN_MODES)
    recipe = _Recipe(
        lr,
        batch_size,
        momentum,
        weight_decay,
        as_augmentation(augment),
        views,
        bn_mode,
        dropout,
        seed,
    )
    network = copy.deepcopy(backbone).to(device)
    seen: Seen | None = None
    prepared: dict[HeadPreparation, Prepared] = {}
    for start in dict.fromkeys(replace(each, tau=0, energy=None) for each in preparations):
        alike = [each for each in preparations if replace(each, tau=0, energy=None) == start]
        if start.reinitialised_blocks:
            found = _prepare_jointly(network, parts, alike, recipe)
        else:
            seen = seen or see(network, parts, **recipe.sight)
            found = _prepare(network, parts, alike, recipe, seen)
        prepared |= {each.preparation: each for each in found}
    result = [prepared[each] for each in preparations]
    if not all(each.reached for each in result):
        raise EnergyNotReached(result)
    return result


def as_preparations(name: str, given: Sequence[HeadPreparation]) -> list[HeadPreparation]:
    """Return preparations as a list; raise `TypeError` that calls them `name` if they are none."""
    listed = list(given) if isinstance(given, Iterable) else []
    if not listed or not all(isinstance(each, HeadPreparation) for each in listed):
        raise TypeError(f"{name} must be a list of HeadPreparation, got {given!r}")
    return listed


def new_head(
    features: Tensor, n_classes: int, preparation: HeadPreparation, seed: int
) -> nn.Sequential:
    """Return the head of a preparation as it is before probing, for features (N, h) like these."""
    head = make_head(
        features.shape[1],
        n_classes,
        hidden=preparation.hidden,
        init=preparation.init,
        init_scale=preparation.init_scale,
        seed=stream(seed, "head"),
    )
    return head.to(features)


@dataclass(frozen=True)
class _Recipe:
    """How heads are probed, as `prepare_heads` describes it."""

    lr: float | Literal["auto"]
    batch_size: int
    momentum: float
    weight_decay: float
    augment: Augment | None
    views: int
    bn_mode: BnMode
    dropout: bool
    seed: int

    @property
    def optimiser(self) -> dict[str, Any]:
        names = ("batch_size", "momentum", "weight_decay")
        return {name: getattr(self, name) for name in names}

    @property
    def sight(self) -> dict[str, Any]:
        names = ("augment", "bn_mode", "dropout", "batch_size", "views", "seed")
        return {name: getattr(self, name) for name in names}


def _prepare(
    network: nn.Module,
    parts: Sequence[LabelledImages],
    alike: Sequence[HeadPreparation],
    recipe: _Recipe,
    seen: Seen,
) -> Iterator[Prepared]:
    """Probe along one trajectory, for preparations that differ only in where they stop."""
    labels, n_classes = parts[0].labels, count_classes(parts)
    head = new_head(seen.views[0], n_classes, alike[0], recipe.seed)
    lr, scale = recipe.lr, 1.0
    if lr == "auto":
        lr, scale = probing_rate(seen.views, labels, n_classes)
    found = probe_head(
        scale * seen.views,
        labels,
        rescale_inputs(head, 1 / scale),
        [each.stop for each in alike],
        fresh=scale * seen.fresh,
        lr=lr,
        halve=recipe.lr == "auto",
        eps=alike[0].eps,
        seed=stream(recipe.seed, "probing"),
        **recipe.optimiser,
    )
    for each in alike:
        probed = found[each.stop]
        probed = replace(probed, head=rescale_inputs(probed.head, scale))
        yield score(each, network, probed, seen, parts)


def _prepare_jointly(
    network: nn.Module,
    parts: Sequence[LabelledImages],
    alike: Sequence[HeadPreparation],
    recipe: _Recipe,
) -> Iterator[Prepared]:
    """Draw the last blocks of a copy anew and probe them together with the head."""
    start, blocks = alike[0], alike[0].reinitialised_blocks
    if recipe.lr == "auto":
        raise ValueError("a rate for re-initialised blocks is not known from the data; give lr")
    if recipe.dropout:
        raise ValueError("re-initialised blocks are probed without dropout; leave dropout off")
    network, train = copy.deepcopy(network), parts[0]
    reinitialise_last_blocks(network, blocks, seed=stream(recipe.seed, "blocks"))
    features = extract_features(network, train.images[:2])
    head = new_head(features, count_classes(parts), start, recipe.seed)
    by_tau = {each.tau: each for each in alike}
    for standing, probed in probe_through_backbone(
        network,
        head,
        train,
        taus=sorted(tau for tau in by_tau if tau is not None),
        lr=recipe.lr,
        augment=recipe.augment,
        eps=start.eps,
        trained_blocks=blocks,
        seed=stream(recipe.seed, "probing"),
        **recipe.optimiser,
    ):
        seen = see(standing, parts, **recipe.sight | {"views": 0})
        yield score(by_tau[int(probed.epochs)], standing, probed, seen, parts)
