"""A whole energy sweep on both sides: ours as a user runs it, the baseline from shares of it."""

from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.match import set_up
from benchmarks.measure import Shares, bend, flops, peak_flops, time_both, total
from benchmarks.sides import sweep_cost
from benchmarks.work import Work
from taskhead.experiments import measures, network_runs
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import Plan, make_plan
from taskhead.experiments.results import compute_study
from taskhead.tasks.task import Task

# Measures of a row that the baseline does not take itself.
OTHERS = [
    measures.measure_representation,
    measures.measure_head_change,
    measures.measure_first_step,
    measures.measure_fresh_probe,
    measures.measure_last_epoch,
]


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
    match = set_up(run, start, start.task, device)
    workers = 1 if run.preset == "smoke" else None  # what is over at once needs no helpers

    def ours() -> None:
        with TemporaryDirectory() as results:
            engine = {"results": results, "device": device.type, "workers": workers}
            compute_study("energy_sweep", **engine, **grid, **options)

    finished = network_runs.finish(plan.inputs, network_runs.units([run])[0])

    def others() -> None:
        for measure in OTHERS:
            measure(finished)

    parts = match.parts()
    times, warm = time_both({"ours": ours, "others": others}, parts, shares, repetitions)
    more = [len(runs) * seconds for seconds in times["others"]]
    theirs = {name: total(sweep_cost(times, name, runs, shares), more) for name in match.sides}
    straight = ", ".join(bend(times, name, shares, parts[name]) for name in ("B1 HP", "B1 FT"))
    return Work(
        work=f"energy sweep, {run.backbone}, {len(match.task.train):,} images of "
        f"{run.image_size} px, batches of {run.batch_size}, "
        f"{len({run.seed for run in runs})} seeds, {len({run.tau for run in runs})} taus x "
        f"{run.ft_epochs} FT epochs",
        least=least,
        ours=times["ours"],
        baseline=theirs["B1"],
        b0=theirs["B0"],
        floor=_operations(plan, match.task, match.backbone) / peak_flops(device),
        difference=match.difference,
        accuracy_gap=match.accuracy_gap,
        warm_up=warm,
        how=f"baseline: {shares[0]} and {shares[1]} epochs of HP and of FT, extended ({straight}); "
        "one seed and one head stand for all; ours reads its images and starts its processes "
        "within the time, the baseline has its images in memory and its loaders running; measures "
        "of a row that the baseline lacks are added to it at the time that ours need; compared "
        "after an epoch of HP and two of FT without augmentation: feature measures in fp32, test "
        "accuracies of both variants",
    )


def _operations(plan: Plan, task: Task, backbone: nn.Module) -> float:
    """Count the operations of finetuning and of the validation of every epoch in a sweep."""
    images, run = task.train.images[:8], plan.runs[0]
    epoch = flops(backbone, images, training=True) * len(task.train)
    epoch += flops(backbone, images, training=False) * len(task.val)
    return epoch * run.ft_epochs * len(plan.runs)
