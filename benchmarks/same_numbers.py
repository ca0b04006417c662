"""The same numbers on the GPU: against the CPU, against recorded tables, and twice."""

from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from taskhead.experiments.results import compute_study, load_recorded
from taskhead.report.claims import worst_difference

SLICES = {
    "digits": {"tau": 0, "energy": [0.05, 0.49]},
    "cifar10-to-cifar100": {"tau": 0, "energy": [0.6, 0.8]},
}
GRID: dict[str, Any] = {"preset": "laptop", "workers": 3, "seeds": [0]}


def same_numbers(setting: str, device: torch.device) -> dict[str, Any]:
    """Compute runs of a recorded sweep twice on a device, and on the CPU; compare them in fp32.

    `worst` is the largest difference as a share of what the book's tolerance allows.
    """
    first, second = (computed(setting, device.type) for _ in range(2))
    pairs = {"recorded": recorded_like(setting, first)}
    if device.type != "cpu":
        pairs["CPU"] = computed(setting, "cpu")
    worst = {name: worst_difference(first, rows) for name, rows in pairs.items() if len(rows)}
    return {
        "the same twice": first.drop(columns="wall_s").equals(second.drop(columns="wall_s")),
        "within the tolerance": max(worst.values(), default=0) <= 1,
        **{f"worst against {name}": share for name, share in worst.items()},
        "runs": len(first),
        "not done": int((first["outcome"] != "done").sum()),
    }


def computed(setting: str, device: str) -> pd.DataFrame:
    """Return the rows of a slice, computed anew."""
    with TemporaryDirectory() as folder:
        return compute_study(
            "energy_sweep",
            setting=setting,
            results=folder,
            device=device,
            **GRID,
            **SLICES[setting],
        )


def recorded_like(setting: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the recorded rows of the same runs, in their order; empty if they are not recorded."""
    found = load_recorded("energy_sweep", setting=setting, preset=GRID["preset"])
    if found is None:
        return rows[:0]
    keys = ["seed", "tau", "energy"]
    return rows[keys].merge(found[0], on=keys)
