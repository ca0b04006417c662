"""One step of finetuning from prepared heads, taken apart; nothing is finetuned further."""

import torch

from taskhead.experiments.inputs import Found, Inputs, Unit, load
from taskhead.experiments.measures import Finished, measure_probing
from taskhead.experiments.network_runs import prepare, trajectory
from taskhead.experiments.run import part_of
from taskhead.method.augmentation import as_augmentation
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.learning_dynamics import one_step_change
from taskhead.method.seeds import stream


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return a run with its row: the first step at its finetuning rate, on all training images.

    Each image stands in one view, as finetuning sees it. Features, the factors of their change and
    the change itself are those of these views.
    """
    (run,) = unit.runs
    start = load(inputs, run)
    head = prepare(inputs, trajectory(run), unit.preparations)[part_of(run, HeadPreparation)]
    row = {"outcome": head.outcome, "reason": head.reason, "backbone_sha256": start.sha256}
    row |= measure_probing(Finished(run, start, head))
    if head.outcome != "done":
        return [(run, [row])]
    train, augment = start.task.train, as_augmentation(run.augment)
    generator = torch.Generator().manual_seed(stream(run.seed, "finetuning"))
    seen = augment(train.images, generator) if augment else train.images
    step = one_step_change(
        head.backbone, head.head, seen, train.labels, lr=run.ft_lr, bn_mode=run.bn_mode
    )
    factors = ("energy", "gain", "coherence", "kernel")
    changes = {"predicted": step.predicted, "true": step.true, "missed": step.true - step.predicted}
    row |= {f"step_{name}": getattr(step, name) for name in factors}
    row |= {f"step_{name}": float(each.norm(dim=1).mean()) for name, each in changes.items()}
    return [(run, [row])]
