"""The search behind a recommendation, on both sides."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from torchvision import models

from benchmarks.match import set_up
from benchmarks.measure import Shares, Times, extended, flops, peak_flops, time_both
from benchmarks.work import Work
from benchmarks.works import REPETITIONS, made_images, made_weights
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import Plan, make_plan
from taskhead.practice.recommend import END, recommend
from taskhead.practice.splits import Splits
from taskhead.tasks.task import Task

MINUTES = 10


def recommendation(preset: str, device: torch.device) -> Work:
    """Recommend a head preparation for 1,000 images of CIFAR-10 at 96 pixels, with SqueezeNet.

    Preset smoke takes small images and weights made here.
    """
    options: dict[str, Any] = {"backbone": "squeezenet1_1", "hp_lr": 1e-3, "batch_size": 32}
    if preset != "smoke":
        options |= {"train_per_class": 100}
        grid = {"setting": "imagenet-to-cifar10", "preset": "laptop", "seeds": [0]}
        plan = make_plan("energy_sweep", device=device.type, options=options, **grid)
        return _search(plan, device, (2, 6), REPETITIONS[preset])
    with TemporaryDirectory() as folder:
        options |= {"data": made_images(Path(folder)), "image_size": 32, "train_per_class": 4}
        options |= {"weights": made_weights(Path(folder), models.squeezenet1_1(weights=None))}
        grid = {"setting": "imagefolder", "preset": "smoke", "seeds": [0]}
        plan = make_plan("energy_sweep", device=device.type, options=options, **grid)
        return _search(plan, device, (1, 2), REPETITIONS[preset])


SEARCHES = {"recommendation": recommendation}


def _search(plan: Plan, device: torch.device, shares: Shares, repetitions: int) -> Work:
    """Time a search on both sides: ours as a whole, the baseline from shares of its epochs."""
    run = plan.runs[0]
    start = load(plan.inputs, run)
    backbone, images = start.backbone, start.task.train
    train, val = Splits(images, None, 1, 0)[0]
    task = Task(train, val, start.task.test, start.task.n_classes, {})
    match = set_up(run, start, task, device)
    found: list[pd.DataFrame] = []

    def ours() -> None:
        how = {"minutes": MINUTES, "augment": run.augment, "batch_size": run.batch_size}
        found.append(recommend(backbone, images, **how).evidence)

    times, warm = time_both({"ours": ours}, match.parts(), shares, repetitions)
    epoch = flops(backbone, train.images[:8], training=True) * len(train)
    epoch += flops(backbone, val.images[:8], training=False) * len(val)
    return Work(
        work=f"recommendation, {run.backbone}, {len(images):,} images of {run.image_size} px, "
        f"batches of {run.batch_size}, {len(found[0])} finetunings",
        least=3,
        ours=times["ours"],
        baseline=_cost(times, "B1", found, shares),
        b0=_cost(times, "B0", found, shares),
        floor=mean(rows["epochs"].sum() for rows in found) * epoch / peak_flops(device),
        difference=match.difference,
        accuracy_gap=match.accuracy_gap,
        warm_up=warm,
        how=f"the baseline does the finetunings that ours chose within {MINUTES} minutes; it "
        f"probes once for each split and label smoothing, {END} epochs, and keeps heads on the "
        f"way; {shares[0]} and {shares[1]} epochs of HP and of FT, extended",
    )


def _cost(times: Times, name: str, found: Sequence[pd.DataFrame], shares: Shares) -> list[float]:
    """Return the baseline's cost of the finetunings of each search, and of their heads."""
    costs = []
    for repetition, rows in enumerate(found):
        trajectories = len(rows[["split", "eps"]].drop_duplicates())
        probing = trajectories * extended(times, f"{name} HP", shares, END)[repetition]
        lines = (extended(times, f"{name} FT", shares, epochs) for epochs in rows["epochs"])
        costs.append(probing + sum(line[repetition] for line in lines))
    return costs
