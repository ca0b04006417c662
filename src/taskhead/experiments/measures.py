"""Measures of a network run: each is a function that returns columns of its row."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from taskhead.experiments.inputs import Prerequisites, Row
from taskhead.experiments.run import Run
from taskhead.method.adaptation import measure
from taskhead.method.finetuning import FinetuneResult, evaluate
from taskhead.method.prepared import Prepared


@dataclass(frozen=True)
class Finished:
    """What a run came to.

    `result` and `zT`, the features (N, h) of the validation images after the last epoch, are None
    where finetuning was not reached or did not end well. `began` is when finetuning did, on the
    clock of `time.perf_counter`.
    """

    run: Run
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
        "aie": head.aie,
        "last_layer_norm": head.last_layer_norm,
        "probe_train_accuracy": head.train_accuracy,
        "probe_train_loss": head.train_loss,
        "probe_val_accuracy": head.val_accuracy,
    }


def measure_adaptation(done: Finished) -> Row:
    """Compare z_0 of the pretrained backbone with z_T after the last epoch, in validation."""
    return vars(measure(done.start.z0, done.zT)) if done.zT is not None else {}


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
    measure_accuracy,
    measure_other_domains,
]
