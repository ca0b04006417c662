"""Probing alone: what prepared heads score, and what their views cost. Nothing is finetuned."""

import time

from taskhead.experiments.inputs import Found, Inputs, Unit, load
from taskhead.experiments.measures import Finished, measure_probing
from taskhead.experiments.network_runs import prepare, trajectory
from taskhead.experiments.run import part_of
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.prepared import views_that_fit


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return the runs of one trajectory, each with its row.

    `views_mb` is the memory of the features of all views, in MiB; `wall_s` the seconds of
    extracting them and of probing, for the trajectory as a whole.
    """
    first = unit.runs[0]
    start = load(inputs, first)
    began = time.perf_counter()
    preparations = tuple(part_of(run, HeadPreparation) for run in unit.runs)
    heads = prepare(inputs, trajectory(first), preparations)
    wall_s = time.perf_counter() - began
    one_view = len(start.task.train) * start.z0.shape[1] * start.z0.element_size()
    views = max(first.views, 1) + views_that_fit(len(start.task.train))
    common = {
        "backbone_sha256": start.sha256,
        "views_mb": views * one_view / 2**20,
        "wall_s": wall_s,
    }
    found = []
    for run, preparation in zip(unit.runs, preparations, strict=True):
        head = heads[preparation]
        row = {"outcome": head.outcome, "reason": head.reason}
        found.append((run, [row | measure_probing(Finished(run, start, head)) | common]))
    return found
