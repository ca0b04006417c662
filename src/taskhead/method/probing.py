"""Head probing (HP): train task heads on the features of a backbone that stays as it is."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from taskhead.method.batches import LabelledImages, shuffled_batches
from taskhead.method.checks import (
    as_features,
    as_labels,
    as_taus,
    check_choice,
    check_eps,
    check_positive,
    check_training_set,
)
from taskhead.method.features import last_blocks
from taskhead.method.heads import StackedHeads, last_layer

BN_MODES = ("eval", "train")


def probe_heads(
    features: Tensor,
    targets: Tensor,
    heads: Sequence[nn.Module],
    *,
    taus: Sequence[int],
    lr: float,
    eps: Sequence[float],
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    seed: int = 0,
) -> Iterator[tuple[int, list[nn.Module]]]:
    """Probe copies of H heads side by side, and yield tau and copies of them at every tau.

    SGD with Nesterov momentum at a constant rate, so the heads at tau equal those of a run stopped
    at tau; on CPU they do so bit for bit. A head comes out as if it had been probed alone, up to
    rounding. Heads train in train mode and are yielded in eval mode. Once probing has diverged,
    their parameters are NaN or infinite.

    Parameters
    ----------
    features, targets
        Cached features z_0, shape (N, h), and integer classes, shape (N,), on one device.
    heads
        Of one shape, as `make_head` returns them; a single one may be any module that maps features
        (N, h) to logits (N, K). They are not changed.
    taus
        Strictly increasing numbers of epochs, at least 0.
    lr, momentum, weight_decay, batch_size
        Of the optimiser. Without momentum there is no Nesterov step either.
    eps
        Label smoothing of each head, in [0, 1).
    seed
        Seed of the batch order and of dropout; the global random state is not changed.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter, the features or the labels are out of range, or the heads not alike.
    """
    features, targets, taus = as_features(features), as_labels(targets), as_taus(taus)
    features = features.to(last_layer(heads[0]).weight.dtype) if heads else features
    for each in eps:
        check_eps(each)
    if not len(heads) == len(eps) > 0:
        raise ValueError(f"give one eps for each head, got {len(heads)} heads and {len(eps)} eps")
    check_training_set(features, targets, last_layer(heads[0]).out_features)
    alone, device = len(heads) == 1, features.device
    model = (copy.deepcopy(heads[0]) if alone else StackedHeads(heads)).to(device)
    smoothing = torch.tensor(eps, dtype=features.dtype, device=device).reshape(
        () if alone else (-1, 1, 1)
    )
    optimiser = _sgd(model.parameters(), lr, momentum, weight_decay)
    for tau, batches in _epochs(model, len(targets), taus, batch_size, seed, device):
        if batches is None:
            standing = model.unstack() if isinstance(model, StackedHeads) else [model]
            yield tau, [copy.deepcopy(head).eval() for head in standing]
            continue
        for batch in batches:
            inputs, labels = features[batch], targets[batch]
            if not alone:
                inputs, labels = inputs.expand(len(heads), -1, -1), labels.expand(len(heads), -1)
            logits = model(inputs)
            optimiser.zero_grad()
            logits.backward(_loss_gradient(logits.detach(), labels, smoothing))
            optimiser.step()


def probe_through_backbone(
    backbone: nn.Module,
    head: nn.Module,
    data: LabelledImages,
    *,
    taus: Sequence[int],
    lr: float,
    eps: float = 0.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    bn_mode: str = "eval",
    trained_blocks: int = 0,
    seed: int = 0,
) -> Iterator[tuple[int, nn.Module, nn.Module]]:
    """Probe a head with the backbone in the loop; yield tau and copies of both at every tau.

    The head is trained as in `probe_heads`. In `bn_mode` "train", which is what the authors' code
    does, each batch is normalised by its own statistics and moves the running ones; in "eval" the
    backbone stays as it is, and the head is that of `probe_heads` up to rounding. The last
    `trained_blocks` blocks of the backbone, drawn anew before, are trained together with the head,
    in train mode, as their statistics start from nothing.
    """
    taus = as_taus(taus)
    check_choice("bn_mode", bn_mode, BN_MODES)
    check_eps(eps)
    backbone = copy.deepcopy(backbone).requires_grad_(False).train(bn_mode == "train")
    head = copy.deepcopy(head)
    blocks = last_blocks(backbone, trained_blocks) if trained_blocks else []
    for block in blocks:
        block.requires_grad_(True).train()
    trained = nn.ModuleList([*blocks, head])
    optimiser = _sgd(trained.parameters(), lr, momentum, weight_decay)
    device = data.labels.device
    moving = nn.ModuleList([backbone, head]) if bn_mode == "train" else trained
    for tau, batches in _epochs(moving, len(data), taus, batch_size, seed, device):
        if batches is None:
            yield tau, copy.deepcopy(backbone).requires_grad_(True), copy.deepcopy(head).eval()
            continue
        for batch in batches:
            logits = head(backbone(data.images[batch]))
            loss = cross_entropy(logits, data.labels[batch], label_smoothing=eps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def has_batchnorm(module: nn.Module) -> bool:
    """Say whether a module holds a BatchNorm layer."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def _epochs(
    model: nn.Module,
    n: int,
    taus: Sequence[int],
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Iterator[tuple[int, Iterator[Tensor] | None]]:
    """Yield (tau, None) where a snapshot is due, and before that (epoch, its batches)."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    generator, merge = torch.Generator().manual_seed(seed), has_batchnorm(model)
    for epoch in range(taus[-1] + 1):
        if epoch in taus:
            yield epoch, None
        if epoch < taus[-1]:
            batches = shuffled_batches(n, batch_size, generator, device, merge_single=merge)
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(seed + epoch)
                yield epoch, iter(batches)


def _sgd(parameters: Iterator, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    check_positive("lr", lr)
    return torch.optim.SGD(
        parameters, lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )


def _loss_gradient(logits: Tensor, targets: Tensor, eps: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy by the logits: p - e_y over the batch size.

    Logits (..., B, K), targets (..., B); `eps`, which broadcasts with the logits, smooths e_y.
    """
    gradient = logits.softmax(dim=-1) - eps / logits.shape[-1]
    gradient.scatter_add_(-1, targets.unsqueeze(-1), (eps - 1).expand(*targets.shape, 1))
    return gradient / targets.shape[-1]
