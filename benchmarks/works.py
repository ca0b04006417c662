"""The two works: a whole energy sweep of digits, and one of ResNet-20, on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models

from benchmarks.baseline import Recipe
from benchmarks.measure import Shares, alternate, bend, flops, peak_flops, warm_up
from benchmarks.sides import baselines, recipe, sweep_cost, sweep_shares
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import Plan, make_plan
from taskhead.experiments.results import compute_study
from taskhead.method.adaptation import measure
from taskhead.method.evaluation import evaluate
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.heads import make_head
from taskhead.method.probing import Stop, probe_head
from taskhead.models.resnets import CifarResNet
from taskhead.tasks.task import Task

PRESETS = ("smoke", "laptop", "gpu")
REPETITIONS = {"smoke": 1, "laptop": 3, "gpu": 3}
DIGITS_TAUS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
AUTHORS_TAUS = [0, 1, 2, 4, 8, 16, 32, 50, 100, 199]


@dataclass(frozen=True)
class Work:
    """One piece of work; lists hold seconds, one for each repetition.

    `b0` and `baseline` are the two variants of the baseline. The target is a ratio of `baseline` to
    ours of at least `least`. `floor` is the least time that the arithmetic of the work takes at the
    machine's measured peak. `difference` is the largest relative difference between what both sides
    computed, `accuracy_gap` that of test accuracies in [0, 1]. `warm_up` are the seconds of a first
    round that is not counted.
    """

    work: str
    least: float
    ours: list[float]
    baseline: list[float]
    b0: list[float]
    floor: float
    difference: float
    accuracy_gap: float
    warm_up: float
    how: str


def digits_sweep(preset: str, device: torch.device) -> Work:
    """Run the energy sweep of digits at this preset."""
    shares = (2, 20) if preset == "smoke" else (20, 60)
    grid = {"setting": "digits", "preset": preset}
    options = {"hp_lr": 0.05, "tau": [0, 16] if preset == "smoke" else DIGITS_TAUS}
    return sweep(grid, options, device, shares, REPETITIONS[preset], least=4)


def image_sweep(preset: str, device: torch.device) -> Work:
    """Run an energy sweep of ResNet-20 on one seed, with the authors' batch size and taus.

    Preset smoke takes images and weights made here in place of CIFAR-100 and the public checkpoint.
    """
    least = 2 if device.type == "cpu" else 6
    options: dict[str, Any] = {"backbone": "resnet20", "image_size": 32, "batch_size": 128}
    options |= {"hp_lr": 0.03, "views": 0}  # as the baseline, which probes on clean features
    if preset != "smoke":
        grid = {"setting": "cifar10-to-cifar100", "preset": "laptop", "seeds": [0]}
        options |= {"train_per_class": 20 if preset == "gpu" else 5, "val_per_class": 5}
        options |= {"test_per_class": 5, "tau": AUTHORS_TAUS, "ft_epochs": 20}
        return sweep(grid, options, device, (2, 6), REPETITIONS[preset], least=least)
    return _made_sweep(options, CifarResNet(20), device, least=least)


def squeezenet_sweep(preset: str, device: torch.device) -> Work:
    """Run an energy sweep of SqueezeNet at 96 pixels on one seed, as `image_sweep` does."""
    options: dict[str, Any] = {"backbone": "squeezenet1_1", "hp_lr": 1e-3, "views": 0}
    if preset != "smoke":
        grid = {"setting": "imagenet-to-cifar10", "preset": "laptop", "seeds": [0]}
        options |= {"tau": AUTHORS_TAUS, "ft_epochs": 20}
        return sweep(grid, options, device, (2, 6), REPETITIONS[preset], least=1)
    network = models.squeezenet1_1(weights=None)
    return _made_sweep(options | {"image_size": 32}, network, device, least=1)


WORKS = {"digits-sweep": digits_sweep, "image-sweep": image_sweep}
ON_A_GPU = {"resnet20": image_sweep, "squeezenet": squeezenet_sweep}


def _made_sweep(
    options: dict[str, Any], network: nn.Module, device: torch.device, *, least: float
) -> Work:
    """Run a small sweep on images and weights made here."""
    with TemporaryDirectory() as folder:
        options |= {"data": made_images(Path(folder))}
        options |= {"weights": made_weights(Path(folder), network)}
        options |= {"train_per_class": 4, "tau": [0, 1], "ft_epochs": 3}
        grid = {"setting": "imagefolder", "preset": "smoke", "seeds": [0]}
        return sweep(grid, options, device, (1, 2), 1, least=least)


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


def made_images(folder: Path, classes: Sequence[int] = range(10)) -> str:
    """Write images of noise, each class around a brightness of its own; return their folder."""
    rng = np.random.default_rng(0)
    for label in classes:
        own = folder / "images" / str(label)
        own.mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 100, size=(32, 32, 3)) + 15 * label
            Image.fromarray(pixels.astype(np.uint8)).save(own / f"{number}.png")
    return str(folder / "images")


def made_weights(folder: Path, network: nn.Module) -> str:
    """Write weights of an untrained network whose features stay small; return their file."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    torch.save(network.state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")
