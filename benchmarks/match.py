"""A piece of work set up for both sides, and whether they compute the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
from torch import nn

from benchmarks.baseline import Baseline, Recipe
from benchmarks.sides import baselines, recipe
from taskhead.experiments.inputs import Prerequisites
from taskhead.experiments.run import Run
from taskhead.method.adaptation import measure
from taskhead.method.evaluation import evaluate
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.heads import make_head
from taskhead.method.probing import Stop, probe_head
from taskhead.tasks.task import Task


@dataclass(frozen=True)
class Match:
    """One run's task, backbone, head and recipe, and both variants of the baseline for them.

    `difference` and `accuracy_gap` are those of the function `difference`.
    """

    run: Run
    task: Task
    backbone: nn.Module
    head: nn.Module
    recipe: Recipe
    sides: dict[str, Baseline]
    difference: float
    accuracy_gap: float

    def parts(self) -> dict[str, Callable[[int], object]]:
        """Return each variant's probing and finetuning, as functions of their epochs."""
        return {
            f"{name} {part}": partial(work, self.head)
            for name, side in self.sides.items()
            for part, work in (("HP", side.probe), ("FT", side.finetune))
        }


def set_up(run: Run, start: Prerequisites, task: Task, device: torch.device) -> Match:
    """Set up both sides for a run from its start, on its task or a part of it."""
    backbone = start.backbone
    head = make_head(start.z0.shape[1], task.n_classes, init_scale=run.init_scale)
    shared = recipe(run, backbone)
    sides = baselines(task, backbone, shared, device)
    off, gap = difference(shared, task, backbone, head)
    return Match(run, task, backbone, head, shared, sides, off, gap)


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
