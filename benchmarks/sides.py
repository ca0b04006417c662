"""The baseline set up for a run of ours, and what a whole sweep costs it."""

from collections.abc import Sequence

import torch
from loky import cpu_count
from torch import nn
from torchvision import transforms

from benchmarks.baseline import B0, B1, Baseline, Recipe
from benchmarks.measure import Shares, Times, extended, total
from taskhead.experiments.run import Run
from taskhead.models.torchvision import Normalise
from taskhead.tasks.task import Task

TINY = 16  # pixels; for smaller images loader processes cost more than they save


def recipe(run: Run, backbone: nn.Module) -> Recipe:
    """Return a run's rates and the normalisation that the backbone begins with, if any."""
    if run.hp_lr == "auto":
        raise ValueError("the baseline needs a probing rate; give hp_lr")
    first, normalise = next(backbone.children()), None
    if isinstance(first, Normalise):
        mean, std = ((first.get_buffer(n).flatten() / 255).tolist() for n in ("mean", "std"))
        normalise = transforms.Normalize(mean, std)
    return Recipe(
        hp_lr=run.hp_lr,
        ft_lr=run.ft_lr,
        normalise=normalise,
        batch_size=run.batch_size,
        weight_decay=run.weight_decay,
        augment=run.augment is not None,
        workers=cpu_count() if (run.image_size or 0) > TINY else 0,
    )


def baselines(
    task: Task, backbone: nn.Module, recipe: Recipe, device: torch.device
) -> dict[str, Baseline]:
    """Return both variants of the baseline by name."""
    layers = list(backbone.children())  # the baseline normalises in a transform
    plain = nn.Sequential(*layers[1:]) if isinstance(layers[0], Normalise) else backbone
    return {variant.name: Baseline(task, plain, recipe, variant, device) for variant in (B0, B1)}


def sweep_cost(times: Times, name: str, runs: Sequence[Run], shares: Shares) -> list[float]:
    """Return the baseline's cost of all runs of a sweep, for each repetition."""
    costs = [extended(times, f"{name} FT", shares, run.ft_epochs) for run in runs]
    return total(probing_cost(times, name, runs, shares), *costs)


def probing_cost(times: Times, name: str, runs: Sequence[Run], shares: Shares) -> list[float]:
    """Return the baseline's cost of probing all runs, each from scratch, for each repetition."""
    return total(*(extended(times, f"{name} HP", shares, run.tau) for run in runs if run.tau))
