"""Kinds of study: what a run is, which runs are computed together, and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from taskhead.experiments import (
    drift,
    dynamics,
    geometry,
    network_runs,
    one_step,
    probing,
    toy,
)
from taskhead.experiments.inputs import Found, Inputs, Unit, units_of_equal
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
    "probing": Kind(ProbingRun, units_of_equal(network_runs.trajectory), probing.compute),
    "one_step": Kind(Run, one_step.units, one_step.compute),
    "dynamics": Kind(Run, network_runs.units, dynamics.compute),
    "batchnorm_drift": Kind(ProbingRun, units_of_equal(network_runs.trajectory), drift.compute),
    "feature_geometry": Kind(Run, network_runs.units, geometry.compute),
    "toy_linear": Kind(toy.LinearRun, units_of_equal(attrgetter("width")), toy.compute_linear),
    "lazy_limit": Kind(toy.LazyRun, units_of_equal(attrgetter("head_norm")), toy.compute_lazy),
}
