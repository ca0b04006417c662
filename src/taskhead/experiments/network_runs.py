"""Network runs: probe a head, finetune from it, and measure how the features adapted."""

import time
from collections.abc import Sequence
from dataclasses import replace

from taskhead.experiments.cache import cache_last
from taskhead.experiments.inputs import Found, Inputs, Unit, load
from taskhead.experiments.measures import MEASURES, Finished
from taskhead.experiments.run import ProbingRun, Run, part_of
from taskhead.method.adaptation import why_collapsed
from taskhead.method.features import extract_features
from taskhead.method.finetuning import Watch, finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import EnergyNotReached, Prepared


def units(runs: Sequence[Run]) -> list[Unit]:
    """Return each run with the preparations of all runs that share its trajectory."""
    alike: dict[ProbingRun, dict[HeadPreparation, None]] = {}
    for run in runs:
        alike.setdefault(trajectory(run), {})[part_of(run, HeadPreparation)] = None
    return [Unit((run,), tuple(alike[trajectory(run)])) for run in runs]


def trajectory(run: ProbingRun) -> ProbingRun:
    """Return what decides a run's probing, whenever it stops."""
    return replace(part_of(run, ProbingRun), tau=0, energy=None)


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return a run with its row; `wall_s` is the seconds of finetuning and its measures."""
    done = finish(inputs, unit)
    row = {"outcome": done.outcome, "reason": done.reason, "backbone_sha256": done.start.sha256}
    for each in MEASURES:
        row |= each(done)
    wall_s = None if done.began is None else time.perf_counter() - done.began
    return [(done.run, [row | {"wall_s": wall_s}])]


def finish(inputs: Inputs, unit: Unit, *, after_epoch: Watch | None = None) -> Finished:
    """Probe, once for all runs that differ in tau and finetuning alone, and finetune.

    `after_epoch` is that of `finetune`.

    Raises `ValueError` or `TypeError` or `OSError` if something that the user gave does not fit.
    """
    (run,) = unit.runs
    start = load(inputs, run)
    prepared = prepare(inputs, trajectory(run), unit.preparations)[part_of(run, HeadPreparation)]
    done = Finished(run, start, prepared, outcome=prepared.outcome, reason=prepared.reason)
    if prepared.outcome != "done":
        return done
    done, task = replace(done, began=time.perf_counter()), start.task
    try:
        result = finetune(
            prepared.backbone,
            prepared.head,
            task.train,
            task.val,
            epochs=run.ft_epochs,
            lr=run.ft_lr,
            head_lr=run.ft_head_lr,
            early_lr=run.ft_early_lr,
            label_smoothing=run.ft_eps,
            bn_mode=run.bn_mode,
            dropout=run.dropout,
            optimiser=run.optimiser,
            weight_decay=run.weight_decay,
            warmup=run.warmup,
            decay=run.decay,
            batch_size=run.batch_size,
            trainable=run.trainable,
            augment=run.augment,
            seed=run.seed,
            after_epoch=after_epoch,
        )
    except FloatingPointError as error:
        return replace(done, outcome="diverged", reason=str(error))
    zT = extract_features(result.last[0], task.val.images)
    if reason := why_collapsed(start.z0, zT):
        outcome = "collapsed" if bool(zT.isfinite().all()) else "diverged"
        return replace(done, outcome=outcome, reason=reason)
    return replace(done, result=result, zT=zT)


@cache_last
def prepare(
    inputs: Inputs, run: ProbingRun, preparations: tuple[HeadPreparation, ...]
) -> dict[HeadPreparation, Prepared]:
    """Prepare heads along the trajectory of a run; those that were not reached say so."""
    start = load(inputs, run)
    try:
        prepared = prepare_heads(
            start.backbone,
            start.task.train,
            preparations,
            val=start.task.val,
            lr=run.hp_lr,
            batch_size=run.batch_size,
            augment=run.augment,
            views=run.views,
            bn_mode=run.bn_mode,
            dropout=run.dropout,
            seed=run.seed,
        )
    except EnergyNotReached as error:
        prepared = error.prepared
    return {each.preparation: each for each in prepared}
