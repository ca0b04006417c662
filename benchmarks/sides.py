"""The two sides set up for a setting: ours as the command runs it, the baseline and its cost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from loky import ProcessPoolExecutor, cpu_count
from torch import nn
from torchvision import transforms

from benchmarks.baseline import B0, B1, Baseline, Recipe
from benchmarks.measure import Shares, Times, extended, shares_of, total
from taskhead.backbones import Normalise
from taskhead.data import Task
from taskhead.parallel import default_workers, keep_freed_memory
from taskhead.presets import EnergySweep
from taskhead.settings import NetworkSetting

TINY = 16  # pixels; for smaller images loader processes cost more than they save


def processes(device: torch.device) -> int:
    """Return how many processes the engine takes by default."""
    return default_workers(device) or cpu_count()


@contextmanager
def as_command(work: Callable[[], object]) -> Iterator[Callable[[], object]]:
    """Within this context, do the work in a process that keeps freed memory, as the command."""
    patient = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e12"}  # else loky ends a process that keeps memory
    with ProcessPoolExecutor(1, env=patient) as pool:
        pool.submit(_start_as_command).result()
        yield lambda: pool.submit(work).result()


def _start_as_command() -> None:
    """Import what this module needs, and keep freed memory."""
    keep_freed_memory()


def recipe(setting: NetworkSetting, backbone: nn.Module, image_size: int) -> Recipe:
    """Return the setting's rates and the normalisation that the backbone begins with, if any."""
    first, normalise = next(backbone.children()), None
    if isinstance(first, Normalise):
        mean, std = ((values.flatten() / 255).tolist() for values in (first.mean, first.std))
        normalise = transforms.Normalize(mean, std)
    return Recipe(
        hp_lr=setting.hp_lr,
        ft_lr=setting.ft_lr,
        normalise=normalise,
        batch_size=setting.batch_size,
        weight_decay=setting.weight_decay,
        augment=setting.augment != "none",
        workers=cpu_count() if image_size > TINY else 0,
    )


def baselines(
    task: Task, backbone: nn.Module, recipe: Recipe, device: torch.device
) -> dict[str, Baseline]:
    """Return both variants of the baseline by name."""
    plain = without_normalisation(backbone)
    return {variant.name: Baseline(task, plain, recipe, variant, device) for variant in (B0, B1)}


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


def probing_cost(times: Times, name: str, taus: Sequence[int], shares: Shares) -> list[float]:
    """Return the baseline's cost of probing from scratch for each tau, for each repetition."""
    return total(*(extended(times, name, shares, tau) for tau in taus if tau))


def sweep_cost(times: Times, name: str, grid: EnergySweep, shares: Shares) -> list[float]:
    """Return the baseline's cost of all seeds and domains of a sweep, for each repetition."""
    one_seed = total(
        probing_cost(times, f"{name} HP", grid.taus, shares),
        *[extended(times, f"{name} FT", shares, grid.ft_epochs)] * len(grid.taus),
    )
    return [len(grid.seeds) * len(grid.domains) * cost for cost in one_seed]
