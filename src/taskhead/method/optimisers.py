"""Optimisers of finetuning, and how their rates rise and fall."""

from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.optim import lr_scheduler

OptimiserName = Literal["sgd", "adamw"]
Decay = Literal["cosine", "linear"]
OPTIMISERS, DECAYS = get_args(OptimiserName), get_args(Decay)


def make_groups(
    network: nn.Sequential, *, lr: float, head_lr: float, early_lr: float
) -> list[dict[str, Any]]:
    """Return the trained parameters of a network of backbone and head, in groups by their rate.

    `early_lr` is that of the first half of the backbone's parameters, in the order in which it
    defines them.
    """
    backbone, head = ([p for p in part.parameters() if p.requires_grad] for part in network)
    half = len(backbone) // 2 if early_lr != lr else 0
    rates = {early_lr: backbone[:half], lr: backbone[half:]}
    groups = [{"params": each, "lr": rate} for rate, each in rates.items() if each]
    return [*groups, {"params": head, "lr": head_lr}]


def make_optimiser(
    name: OptimiserName, groups: list[dict[str, Any]], *, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum, or AdamW, which takes no momentum, for these groups."""
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    return torch.optim.SGD(
        groups, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0, fused=True
    )


def make_schedule(
    optimiser: torch.optim.Optimizer, steps: int, *, decay: Decay, warmup: float
) -> lr_scheduler.LRScheduler:
    """Return a schedule: rates rise for a share `warmup` of all steps, then fall to zero."""
    rising = round(warmup * steps)
    falls = max(steps - rising, 1)
    if decay == "cosine":
        falling = lr_scheduler.CosineAnnealingLR(optimiser, falls)
    else:
        falling = lr_scheduler.LinearLR(optimiser, 1.0, 0.0, falls)
    if not rising:
        return falling
    first = lr_scheduler.LinearLR(optimiser, 1 / (rising + 1), 1.0, rising)
    return lr_scheduler.SequentialLR(optimiser, [first, falling], [rising])
