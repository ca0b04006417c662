"""A grid of probing times alone, on views as finetuning sees them, on both sides."""

from functools import partial
from typing import Any

import torch

from benchmarks.measure import Shares, alternate, bend, flops, peak_flops, shares_of, warm_up
from benchmarks.sides import baselines, probing_cost, recipe
from benchmarks.sweeps import difference
from benchmarks.work import Work
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import make_plan
from taskhead.experiments.run import part_of
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.heads import make_head
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import fresh_views


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
    task, backbone = start.task, start.backbone
    head = make_head(start.z0.shape[1], task.n_classes, init_scale=run.init_scale)
    shared = recipe(run, backbone)
    sides = baselines(task, backbone, shared, device)
    off, gap = difference(shared, task, backbone, head)

    def ours() -> None:
        prepare_heads(
            backbone,
            task.train,
            [part_of(each, HeadPreparation) for each in runs],
            lr=shared.hp_lr,
            batch_size=run.batch_size,
            augment=run.augment,
            views=run.views,
        )

    probes = {name: partial(side.probe, head, augment=True) for name, side in sides.items()}
    calls: dict[str, Any] = {"ours": ours}
    for name, probe in probes.items():
        calls |= shares_of(f"{name} HP", probe, shares)
    warm = warm_up(*(partial(probe, 1) for probe in probes.values()))
    times = alternate(calls, repetitions)
    theirs = {name: probing_cost(times, name, runs, shares) for name in probes}
    fresh = fresh_views(len(task.train))
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
        difference=off,
        accuracy_gap=gap,
        warm_up=warm,
        how=f"baseline: {shares[0]} and {shares[1]} epochs of HP on new views of the images, "
        f"extended ({bend(times, 'B1 HP', shares, probes['B1'])}); one seed and one head stand for "
        f"all; the floor is {views} passes through the backbone; compared as the sweep, without "
        "augmentation",
    )
