"""Kinds of study: what a run is, which runs are computed together, and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taskhead.experiments import drift, geometry, network_runs, toy
from taskhead.experiments.inputs import Found, Inputs, Unit
from taskhead.experiments.run import ProbingRun, Run


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    `units(runs)` cuts runs in the order of their keys into what is computed by one call;
    `compute(inputs, unit)` returns each run of a unit with its rows, which hold `outcome`, `reason`
    and measures.
    """

    run: type
    units: Callable[[Sequence[Any]], list[Unit]]
    compute: Callable[[Inputs, Unit], Found]


KINDS = {
    "adaptation": Kind(Run, network_runs.units, network_runs.compute),
    "batchnorm_drift": Kind(ProbingRun, drift.units, drift.compute),
    "feature_geometry": Kind(Run, network_runs.units, geometry.compute),
    "toy_linear": Kind(toy.LinearRun, toy.units_of_equal("width"), toy.compute_linear),
    "lazy_limit": Kind(toy.LazyRun, toy.units_of_equal("head_norm"), toy.compute_lazy),
}
