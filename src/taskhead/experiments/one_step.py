"""One step of finetuning from prepared heads, taken apart; nothing is finetuned further."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from taskhead.experiments import network_runs
from taskhead.experiments.inputs import Found, Inputs, Row, Unit, load
from taskhead.experiments.measures import Finished, measure_probing
from taskhead.experiments.network_runs import prepare, trajectory
from taskhead.experiments.run import Run, part_of
from taskhead.method.augmentation import as_augmentation
from taskhead.method.features import set_mode
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.kernel import linearise
from taskhead.method.learning_dynamics import OneStep, steps_from
from taskhead.method.seeds import stream

FACTORS = ("energy", "gain", "coherence", "kernel")


def units(runs: Sequence[Run]) -> list[Unit]:
    """Return runs that differ in the finetuning rate alone together, with all preparations."""
    alike = groupby(network_runs.units(runs), lambda unit: replace(unit.runs[0], ft_lr=1.0))
    groups = [list(group) for _, group in alike]
    return [Unit(tuple(each.runs[0] for each in group), group[0].preparations) for group in groups]


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return runs with their rows: the first step at their finetuning rates, on training images.

    All training images stand in one view, as finetuning sees them, and the whole backbone has one
    rate. Features, the factors of their change and the change itself are those of these views, in
    float64 where the device has it: the error of a prediction is small beside the features.

    Raises `ValueError` if finetuning is to smooth labels, as the factors are those of hard ones, to
    have other rates in parts, or to use another optimiser than SGD.
    """
    run = unit.runs[0]
    refuse_smoothing(run)
    for name in ("ft_head_lr", "ft_early_lr"):
        if rate := getattr(run, name):
            raise ValueError(f"a single step has one rate; {name} must not be given, got {rate}")
    if run.optimiser != "sgd":
        raise ValueError(f"a single step is one of SGD, got optimiser {run.optimiser!r}")
    start = load(inputs, run)
    prepared = prepare(inputs, trajectory(run), unit.preparations)[part_of(run, HeadPreparation)]
    row = {"outcome": prepared.outcome, "reason": prepared.reason, "backbone_sha256": start.sha256}
    row |= measure_probing(Finished(run, start, prepared))
    if prepared.outcome != "done":
        return [(each, [row]) for each in unit.runs]
    dtype = torch.float32 if inputs.device.type == "mps" else torch.float64
    backbone, head = (copy.deepcopy(each).to(dtype) for each in (prepared.backbone, prepared.head))
    images = one_view(run, start.task.train.images)
    if images.is_floating_point():
        images = images.to(dtype)
    set_mode(head, run.bn_mode, dropout=run.dropout)
    around = linearise(backbone, images, trainable=run.trainable, **mode(run))
    steps = steps_from(
        around, head, start.task.train.labels, lrs=[each.ft_lr for each in unit.runs]
    )
    return [(each, [row | row_of(step)]) for each, step in zip(unit.runs, steps, strict=True)]


def refuse_smoothing(run: Run) -> None:
    """Raise `ValueError` if the finetuning of a run smooths labels."""
    if run.ft_eps:
        raise ValueError(f"single steps have hard labels; ft_eps must be 0, got {run.ft_eps}")


def one_view(run: Run, images: Tensor) -> Tensor:
    """Return training images (N, ...) as an epoch of a run's finetuning sees them."""
    augment = as_augmentation(run.augment)
    generator = torch.Generator().manual_seed(stream(run.seed, "finetuning"))
    return augment(images, generator) if augment else images


def mode(run: Run) -> dict[str, Any]:
    """Return what `linearise` takes of a run."""
    return {"bn_mode": run.bn_mode, "dropout": run.dropout, "seed": run.seed}


def row_of(step: OneStep) -> Row:
    """Return the factors of a step, and the mean lengths of what it predicts, does and misses."""
    changes = {"predicted": step.predicted, "true": step.true, "missed": step.true - step.predicted}
    row = {f"step_{name}": getattr(step, name) for name in FACTORS}
    return row | {f"step_{name}": float(each.norm(dim=1).mean()) for name, each in changes.items()}
