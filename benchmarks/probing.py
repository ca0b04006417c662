"""A grid of probing times alone, on views as finetuning sees them, on both sides."""

from functools import partial
from typing import Any

import torch

from benchmarks.match import set_up
from benchmarks.measure import Shares, bend, flops, peak_flops, time_both
from benchmarks.sides import probing_cost
from benchmarks.work import Work
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import make_plan
from taskhead.experiments.run import part_of
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import views_that_fit


def probing(
    grid: dict[str, Any],
    options: dict[str, Any],
    device: torch.device,
    shares: Shares,
    repetitions: int,
    *,
    least: float,
) -> Work:
    """Time the probing of a sweep: ours with its features of views, the baseline from shares.

    The baseline sends an augmented view of each image through the backbone in every epoch.
    """
    plan = make_plan("energy_sweep", device=device.type, options=options, **grid)
    run, runs = plan.runs[0], plan.runs
    start = load(plan.inputs, run)
    match = set_up(run, start, start.task, device)
    task, backbone = match.task, match.backbone

    def ours() -> None:
        prepare_heads(
            backbone,
            task.train,
            [part_of(each, HeadPreparation) for each in runs],
            lr=match.recipe.hp_lr,
            batch_size=run.batch_size,
            augment=run.augment,
            views=run.views,
        )

    probes = {
        f"{name} HP": partial(side.probe, match.head, augment=True)
        for name, side in match.sides.items()
    }
    times, warm = time_both({"ours": ours}, probes, shares, repetitions)
    theirs = {name: probing_cost(times, name, runs, shares) for name in match.sides}
    fresh = views_that_fit(len(task.train))
    views = run.views + fresh
    operations = views * flops(backbone, task.train.images[:8], training=False) * len(task.train)
    return Work(
        work=f"probing alone, {run.backbone}, {len(task.train):,} images of {run.image_size} px, "
        f"batches of {run.batch_size}, {len({run.tau for run in runs})} taus, {run.views} views, "
        f"and {fresh} others for the energy",
        least=least,
        ours=times["ours"],
        baseline=theirs["B1"],
        b0=theirs["B0"],
        floor=operations / peak_flops(device),
        difference=match.difference,
        accuracy_gap=match.accuracy_gap,
        warm_up=warm,
        how=f"baseline: {shares[0]} and {shares[1]} epochs of HP on new views of the images, "
        f"extended ({bend(times, 'B1 HP', shares, probes['B1 HP'])}); one seed and one head stand "
        f"for all; the floor is {views} passes through the backbone; compared as the sweep, "
        "without augmentation",
    )
