"""The baseline set up for a setting, and what a whole sweep costs it."""

from collections.abc import Callable
from functools import partial

import torch
from loky import cpu_count
from torch import nn

from benchmarks.baseline import B0, B1, Baseline, Recipe
from benchmarks.measure import Shares, Times, extended, shares_of, total
from taskhead.backbones import CHECKPOINT_MEAN, CHECKPOINT_STD, Normalise
from taskhead.data import Task
from taskhead.presets import EnergySweep
from taskhead.settings import DIGITS, NetworkSetting


def recipe(setting: NetworkSetting) -> Recipe:
    """Return the setting's rates and its normalisation, which the digits do without."""
    grey = setting.name == DIGITS.name
    return Recipe(
        hp_lr=setting.hp_lr,
        ft_lr=setting.ft_lr,
        mean=(0.0,) if grey else CHECKPOINT_MEAN,
        std=(1.0,) if grey else CHECKPOINT_STD,
        batch_size=setting.batch_size,
        weight_decay=setting.weight_decay,
        augment=setting.augment != "none",
        workers=0 if grey else cpu_count(),  # for 64 pixels processes cost more than they save
    )


def baselines(
    task: Task, backbone: nn.Module, setting: NetworkSetting, device: torch.device
) -> dict[str, Baseline]:
    """Return both variants of the baseline by name."""
    plain = without_normalisation(backbone)
    return {
        variant.name: Baseline(task, plain, recipe(setting), variant, device)
        for variant in (B0, B1)
    }


def without_normalisation(backbone: nn.Module) -> nn.Module:
    """Return the backbone without its normalisation, which the baseline does in a transform."""
    layers = list(backbone.children())
    return nn.Sequential(*layers[1:]) if isinstance(layers[0], Normalise) else backbone


def sweep_shares(
    name: str, side: Baseline, head: nn.Module, shares: Shares
) -> dict[str, Callable[[], object]]:
    """Name the shares of probing and of finetuning from which a sweep's cost is extended."""
    probing = shares_of(f"{name} HP", partial(side.probe, head), shares)
    return probing | shares_of(f"{name} FT", partial(side.finetune, head), shares)


def sweep_cost(times: Times, name: str, grid: EnergySweep, shares: Shares) -> list[float]:
    """Return the baseline's cost of all seeds and domains of a sweep, for each repetition."""
    one_seed = total(
        *(extended(times, f"{name} HP", shares, tau) for tau in grid.taus),
        *[extended(times, f"{name} FT", shares, grid.ft_epochs)] * len(grid.taus),
    )
    return [len(grid.seeds) * len(grid.domains) * cost for cost in one_seed]
