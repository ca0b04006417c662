"""Feature geometry: where each validation image's feature lies before and after finetuning."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from taskhead.presets import FeatureGeometry
from taskhead.records import Row
from taskhead.runs import FINETUNING_COLUMNS, FINETUNING_KEY, plan_finetuning, probe_and_finetune
from taskhead.settings import NetworkSetting

FEATURE_GEOMETRY_COLUMNS: dict[str, type] = {
    **FINETUNING_COLUMNS,
    "sample": int,
    "label": int,
    "aie": float,
    "z0_x": float,
    "z0_y": float,
    "zT_x": float,
    "zT_y": float,
}
FEATURE_GEOMETRY_KEY = (*FINETUNING_KEY, "sample")


def plan_feature_geometry(
    setting: NetworkSetting, preset: str, scale: FeatureGeometry
) -> list[dict[str, Any]]:
    """Return the keys of all rows: every run of the sweep with every sample."""
    runs = plan_finetuning(setting, preset, scale)
    return [{**run, "sample": sample} for run in runs for sample in range(scale.samples)]


def compute_feature_geometry(
    setting: NetworkSetting, rows: Sequence[Row], device: torch.device
) -> Iterator[list[Row]]:
    """Yield the rows of one run at a time: validation features in two dimensions.

    Both z_0 and z_T are projected on the two main directions (PCA) of z_0.

    Raises
    ------
    ValueError
        If the validation split has fewer samples than the preset asks for.
    FloatingPointError
        If a run diverges.
    """
    groups = groupby(rows, lambda row: {name: row[name] for name in FINETUNING_COLUMNS})
    pending = [(run, [row["sample"] for row in group]) for run, group in groups]
    outcomes = probe_and_finetune(setting, [run for run, _ in pending], device)
    for done, (_, samples) in zip(outcomes, pending, strict=True):
        if done.snapshot is None or done.zT is None:
            raise FloatingPointError(f"the run with tau = {done.run['tau']} diverged; lower ft_lr")
        if max(samples) >= len(done.z0):
            raise ValueError(
                f"samples must be at most {len(done.z0)}, the size of the validation split of "
                f"{setting.name}, got {max(samples) + 1}"
            )
        centre = done.z0.mean(dim=0)
        _, _, directions = torch.linalg.svd(done.z0 - centre, full_matrices=False)
        z0, zT = (((z - centre) @ directions[:2].T).tolist() for z in (done.z0, done.zT))
        yield [
            {
                **done.run,
                "sample": sample,
                "label": int(done.labels[sample]),
                "aie": done.snapshot.aie,
                "z0_x": z0[sample][0],
                "z0_y": z0[sample][1],
                "zT_x": zT[sample][0],
                "zT_y": zT[sample][1],
            }
            for sample in samples
        ]
