"""Measures of a network run: each is a function that returns columns of its row."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from taskhead.experiments.images import RIGHT
from taskhead.experiments.inputs import Prerequisites, Row
from taskhead.experiments.run import ProbingRun, Run
from taskhead.method.adaptation import linear_cka, measure, scatter
from taskhead.method.augmentation import as_augmentation
from taskhead.method.evaluation import (
    accuracy,
    calibration_error,
    evaluate,
    fresh_probe_accuracy,
    predict,
)
from taskhead.method.features import extract_features
from taskhead.method.finetuning import FinetuneResult
from taskhead.method.first_step import first_step
from taskhead.method.prepared import Prepared


@dataclass(frozen=True)
class Finished:
    """What a run came to.

    `result` and `zT`, the features (N, h) of the validation images after the last epoch, are None
    where finetuning was not reached or did not end well. `began` is when finetuning did, on the
    clock of `time.perf_counter`.
    """

    run: ProbingRun
    start: Prerequisites
    prepared: Prepared
    result: FinetuneResult | None = None
    zT: Tensor | None = None
    outcome: str = "done"
    reason: str | None = None
    began: float | None = None


def measure_probing(done: Finished) -> Row:
    """Measure the prepared head on the training images, and its accuracy in validation."""
    head = done.prepared
    if head.outcome == "diverged":
        return {}
    return {
        "n_classes": done.start.task.n_classes,
        "aie": head.aie,
        "aie_clean": head.aie_clean,
        "last_layer_norm": head.last_layer_norm,
        "feature_gradient_norm": head.feature_gradient_norm,
        "probed_epochs": head.tau,
        "probed_steps": head.steps,
        "probed_lr": head.lr,
        "probe_train_accuracy": head.train_accuracy,
        "probe_train_loss": head.train_loss,
        "probe_val_accuracy": head.val_accuracy,
    }


def measure_adaptation(done: Finished) -> Row:
    """Compare z_0 of the pretrained backbone with z_T after the last epoch, in validation."""
    return vars(measure(done.start.z0, done.zT)) if done.zT is not None else {}


def measure_representation(done: Finished) -> Row:
    """Compare z_0 and z_T as wholes, and the scatter of their classes, in validation."""
    z0, zT, labels = done.start.z0, done.zT, done.start.task.val.labels
    if zT is None:
        return {}
    (z0_within, z0_between), (within, between) = (scatter(z, labels) for z in (z0, zT))
    return {
        "cka": linear_cka(z0, zT),
        "within_scatter": within,
        "between_scatter": between,
        "z0_within_scatter": z0_within,
        "z0_between_scatter": z0_between,
    }


def measure_head_change(done: Finished) -> Row:
    """Measure how far z_T - z_0 moves the logits of the prepared head: ||V_0 (z_T - z_0)||."""
    if done.zT is None:
        return {}
    with torch.no_grad():
        change = done.prepared.head(done.zT) - done.prepared.head(done.start.z0)
    return {"logit_change": float(change.norm(dim=1).mean())}


def measure_first_step(done: Finished) -> Row:
    """Measure how far the first step of full-batch descent moves features, in validation."""
    if done.zT is None or not isinstance(done.run, Run):
        return {}
    run, head = done.run, done.prepared
    stepped = first_step(
        head.backbone,
        head.head,
        done.start.task.train,
        lr=run.ft_lr,
        label_smoothing=run.ft_eps,
        augment=as_augmentation(run.augment),
        bn_mode=run.bn_mode,
        dropout=run.dropout,
        batch_size=run.batch_size,
        trainable=run.trainable,
        seed=run.seed,
    )
    before, after = (
        extract_features(each, done.start.task.val.images) for each in (head.backbone, stepped)
    )
    return {"first_step": float((after - before).norm(dim=1).mean())}


def measure_fresh_probe(done: Finished) -> Row:
    """Measure what a fresh head makes of z_T, on the target task and on the source task."""
    if done.result is None:
        return {}
    tasks = {"fresh_probe_accuracy": done.start.task, "source_probe_accuracy": done.start.source}
    backbone, row = done.result.last[0], {}
    for name, task in tasks.items():
        if task:
            z, unseen = (extract_features(backbone, p.images) for p in (task.train, task.test))
            row[name] = fresh_probe_accuracy(z, task.train.labels, unseen, task.test.labels)
    return row


def measure_last_epoch(done: Finished) -> Row:
    """Evaluate the last epoch, with its loss (NLL) and calibration error (ECE) in test.

    `right` says of each test image whether it was told right; it goes to a file beside the table.
    """
    if done.result is None:
        return {}
    test = done.start.task.test
    logits = predict(done.result.last, test.images)
    return {
        "last_val_accuracy": done.result.history[-1].val_accuracy,
        "last_test_accuracy": accuracy(logits, test.labels),
        "test_images": len(test),
        RIGHT: (logits.argmax(dim=1) == test.labels).cpu().numpy(),
        "test_nll": float(cross_entropy(logits, test.labels)),
        "test_ece": calibration_error(logits, test.labels),
    }


def measure_accuracy(done: Finished) -> Row:
    """Evaluate the epoch that validation chose."""
    if done.result is None:
        return {}
    accuracy, loss = evaluate(done.result.best, done.start.task.test)
    return {
        "val_accuracy": done.result.val_accuracy,
        "test_accuracy": accuracy,
        "test_loss": loss,
    }


def measure_other_domains(done: Finished) -> Row:
    """Evaluate the same epoch on each domain that it was not trained on, and take their mean."""
    others = done.start.task.ood
    if done.result is None or not others:
        return {}
    tested = {name: evaluate(done.result.best, others[name])[0] for name in others}
    return {
        "ood_accuracy": sum(tested.values()) / len(tested),
        **{f"test_accuracy on {name}": accuracy for name, accuracy in tested.items()},
    }


# Each takes a finished run and returns columns of its row; they are floats, in this order.
MEASURES: list[Callable[[Finished], Row]] = [
    measure_probing,
    measure_adaptation,
    measure_representation,
    measure_head_change,
    measure_first_step,
    measure_fresh_probe,
    measure_last_epoch,
    measure_accuracy,
    measure_other_domains,
]
