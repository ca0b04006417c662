"""A whole energy sweep on both sides: ours as a user runs it, the baseline from shares of it."""

from dataclasses import replace
from functools import partial
from itertools import product
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.baseline import Recipe
from benchmarks.measure import Shares, alternate, bend, flops, peak_flops, warm_up
from benchmarks.sides import baselines, recipe, sweep_cost, sweep_shares
from benchmarks.work import Work
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import Plan, make_plan
from taskhead.experiments.results import compute_study
from taskhead.method.adaptation import measure
from taskhead.method.evaluation import evaluate
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.heads import make_head
from taskhead.method.probing import Stop, probe_head
from taskhead.tasks.task import Task


def sweep(
    grid: dict[str, Any],
    options: dict[str, Any],
    device: torch.device,
    shares: Shares,
    repetitions: int,
    *,
    least: float,
) -> Work:
    """Time a sweep on both sides: ours as a whole, the baseline from shares of its epochs."""
    plan = make_plan("energy_sweep", device=device.type, options=options, **grid)
    run, runs = plan.runs[0], plan.runs
    start = load(plan.inputs, run)
    task, backbone = start.task, start.backbone
    head = make_head(start.z0.shape[1], task.n_classes, init_scale=run.init_scale)
    shared = recipe(run, backbone)
    sides = baselines(task, backbone, shared, device)
    off, gap = difference(shared, task, backbone, head)

    workers = 1 if run.preset == "smoke" else None  # what is over at once needs no helpers

    def ours() -> None:
        with TemporaryDirectory() as results:
            engine = {"results": results, "device": device.type, "workers": workers}
            compute_study("energy_sweep", **engine, **grid, **options)

    calls: dict[str, Any] = {"ours": ours}
    for name, side in sides.items():
        calls |= sweep_shares(name, side, head, shares)
    parts = [part for side in sides.values() for part in (side.probe, side.finetune)]
    warm = warm_up(*(partial(part, head, 1) for part in parts))
    times = alternate(calls, repetitions)
    theirs = {name: sweep_cost(times, name, runs, shares) for name in sides}
    straight = ", ".join(
        bend(times, f"B1 {part}", shares, partial(work, head))
        for part, work in (("HP", sides["B1"].probe), ("FT", sides["B1"].finetune))
    )
    return Work(
        work=f"energy sweep, {run.backbone}, {len(task.train):,} images of {run.image_size} px, "
        f"batches of {run.batch_size}, {len({run.seed for run in runs})} seeds, "
        f"{len({run.tau for run in runs})} taus x {run.ft_epochs} FT epochs",
        least=least,
        ours=times["ours"],
        baseline=theirs["B1"],
        b0=theirs["B0"],
        floor=_operations(plan, task, backbone) / peak_flops(device),
        difference=off,
        accuracy_gap=gap,
        warm_up=warm,
        how=f"baseline: {shares[0]} and {shares[1]} epochs of HP and of FT, extended ({straight}); "
        "one seed and one head stand for all; ours reads its images and starts its processes "
        "within the time, the baseline has its images in memory and its loaders running; compared "
        "after an epoch of HP and two of FT without augmentation: feature measures in fp32, test "
        "accuracies of both variants",
    )


def difference(
    shared: Recipe, task: Task, backbone: nn.Module, head: nn.Module
) -> tuple[float, float]:
    """Probe and finetune on both sides without augmentation.

    Return the largest relative difference of a feature measure, and that of test accuracies.
    """
    z0, device = extract_features(backbone, task.train.images), task.train.labels.device
    options = {"lr": shared.hp_lr, "batch_size": shared.batch_size}
    after = Stop(tau=1)
    probed = probe_head(z0[None], task.train.labels, head, [after], fresh=z0[None], **options)
    tuned = finetune(
        backbone,
        probed[after].head,
        task.train,
        task.val,
        epochs=2,
        lr=shared.ft_lr,
        batch_size=shared.batch_size,
        weight_decay=shared.weight_decay,
    )
    ours = measure(*(extract_features(b, task.val.images) for b in (backbone, tuned.last[0])))
    sides = baselines(task, backbone, replace(shared, augment=False), device)
    theirs = {name: side.finetune(side.probe(head, 1), 2) for name, side in sides.items()}
    in_fp32 = list(theirs) if device.type == "cpu" else ["B0"]
    pairs = [
        (value, getattr(theirs[name][0], measured))
        for name, (measured, value) in product(in_fp32, vars(ours).items())
    ]
    test_accuracy, _ = evaluate(tuned.best, task.test)
    return (
        max(abs(own / their - 1) for own, their in pairs),
        max(abs(test_accuracy - accuracy) for _, accuracy in theirs.values()),
    )


def _operations(plan: Plan, task: Task, backbone: nn.Module) -> float:
    """Count the operations of finetuning and of the validation of every epoch in a sweep."""
    images, run = task.train.images[:8], plan.runs[0]
    epoch = flops(backbone, images, training=True) * len(task.train)
    epoch += flops(backbone, images, training=False) * len(task.val)
    return epoch * run.ft_epochs * len(plan.runs)
