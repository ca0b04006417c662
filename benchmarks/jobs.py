"""The jobs of a GPU session, in order, and what each computes when it is started alone.

    python -m benchmarks.jobs NAME --preset P --device D --out FOLDER

writes `FOLDER/NAME.json`, whole or not at all.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import ROOT, recording
from benchmarks.__main__ import measure
from benchmarks.facts import facts
from benchmarks.levers import CUDA_ONLY, LEVERS, measure_lever
from benchmarks.report import ratio
from benchmarks.same_numbers import SLICES, same_numbers
from benchmarks.time_box import Job
from benchmarks.works import ON_A_GPU
from taskhead.tasks.storage import write_whole

NOTEBOOK = "cifar-probing"
NOTEBOOK_SETTING = "cifar10-to-cifar100"
SMOKE_LIMIT_S, SMOKE_LEAST_S = 180, 10
Compute = Callable[[], dict[str, Any]]


def job_list(preset: str, device: str, out: Path) -> list[Job]:
    """Return all jobs in the order in which a session works through them."""

    def job(
        name: str, limit: float, *, least: float | None = None, lacks: str | None = None
    ) -> Job:
        options = "--preset", preset, "--device", device, "--out", str(out.resolve())
        command = sys.executable, "-m", "benchmarks.jobs", name, *options
        if preset == "smoke":  # how long its imports take says more of a CPU than the job does
            limit, least = SMOKE_LIMIT_S, SMOKE_LEAST_S
        return Job(name, command, limit, least or limit, lacks)

    jobs = [job("facts", 40)]
    jobs += [job(f"same-{name}", 60, lacks=recording.lacks(name)) for name in slices(preset)]
    for name in recording.settings(preset):
        lacks = recording.lacks(name)
        for seeds in recording.shards(name, preset):
            jobs.append(job(record_name(name, seeds), 120, least=30, lacks=lacks))
    made = preset == "smoke"  # works that make their images themselves
    for name, setting in zip(ON_A_GPU, (NOTEBOOK_SETTING, "imagenet-to-cifar10"), strict=True):
        jobs.append(job(f"engine-{name}", 150, lacks=None if made else recording.lacks(setting)))
    for lever in LEVERS:
        here = device == "cuda" or lever not in CUDA_ONLY
        jobs.append(job(f"lever-{lever}", 60, lacks=None if here else "CUDA"))
    lacks = "papermill" if find_spec("papermill") is None else recording.lacks(NOTEBOOK_SETTING)
    return [*jobs, job(f"notebook-{NOTEBOOK}", 120, least=60, lacks=lacks)]


def computations(preset: str, device: str, out: Path) -> dict[str, Compute]:
    """Return what each job computes, by its name."""
    on = torch.device(device)
    found: dict[str, Compute] = {"facts": partial(facts, preset, on)}
    found |= {f"same-{name}": partial(same_numbers, name, on) for name in slices(preset)}
    for name in recording.settings(preset):
        for seeds in recording.shards(name, preset):
            shard = partial(recording.record, name, preset, seeds, device, out)
            found[record_name(name, seeds)] = shard
    found |= {f"engine-{name}": partial(engine, name, preset, on) for name in ON_A_GPU}
    found |= {f"lever-{name}": partial(measure_lever, name, preset, on) for name in LEVERS}
    return found | {f"notebook-{NOTEBOOK}": partial(notebook, preset, device, out)}


def slices(preset: str) -> list[str]:
    """Return the settings whose recorded numbers are computed again; digits take seconds."""
    return [name for name in SLICES if preset != "smoke" or name == "digits"]


def record_name(name: str, seeds: list[int]) -> str:
    return f"record-{name}-{seeds[0]}-{seeds[-1]}"


def engine(name: str, preset: str, device: torch.device) -> dict[str, Any]:
    """Measure the engine against both baselines on one sweep."""
    report = measure(preset, device, {name: ON_A_GPU[name]})
    (work,) = report["works"]
    return {"times B1": ratio(work), "target": work["target"], "report": report}


def notebook(preset: str, device: str, out: Path) -> dict[str, Any]:
    """Execute a notebook as a user does, on what this session has recorded."""
    own = f"{NOTEBOOK}.ipynb"
    given = "-p", "preset", preset, "-p", "device", device, "-p", "results", str(out / "results")
    command = sys.executable, "-m", "papermill", f"notebooks/{own}", str(out / own), *given
    subprocess.run(command, cwd=ROOT, check=True)
    return {"executed": own}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs")
    parser.add_argument("name")
    for option in ("--preset", "--device", "--out"):
        parser.add_argument(option, required=True)
    given = parser.parse_args()
    out = Path(given.out)
    result = computations(given.preset, given.device, out)[given.name]()
    write_whole(out / f"{given.name}.json", (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
