"""The energy sweep, also at many finetuning rates or lengths: how features follow the energy."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from taskhead.adaptation import measure
from taskhead.presets import LengthSearch, RateSearch
from taskhead.records import Row
from taskhead.runs import (
    FINETUNING_COLUMNS,
    describe_finetuning,
    plan_finetuning,
    plan_probing,
    probe_and_finetune,
)
from taskhead.settings import NetworkSetting
from taskhead.tasks import NO_DOMAIN

ENERGY_SWEEP_COLUMNS: dict[str, type] = {
    **FINETUNING_COLUMNS,
    "status": str,
    "aie": float,
    "head_norm": float,
    "probe_train_accuracy": float,
    "probe_train_loss": float,
    "probe_val_accuracy": float,
    "euclidean": float,
    "cosine": float,
    "dot": float,
    "norm": float,
    "z0_norm": float,
    "val_accuracy": float,
    "test_accuracy": float,
    "test_loss": float,
    "ood_accuracy": float,
    "ood_by_domain": str,
    "backbone_sha256": str,
    "wall_s": float,
}


def compute_energy_sweep(
    setting: NetworkSetting, runs: Sequence[Row], device: torch.device
) -> Iterator[list[Row]]:
    """Yield one row a run.

    AIE and the probing measures are taken on the training split, except `probe_val_accuracy`. The
    four feature measures compare z_0 of the pretrained backbone with z_T after the last epoch on
    the validation split. `val_accuracy`, `test_accuracy` and `test_loss` belong to the epoch
    chosen on the validation split, as do the accuracies on other domains: each in `ood_by_domain`,
    their mean in `ood_accuracy`, NaN and "-" where there are none. A run whose loss becomes NaN or
    infinite has status "diverged" and no measures of what came after. `wall_s` is the seconds of
    finetuning and its measures.
    """
    for done in probe_and_finetune(setting, runs, device):
        row = {
            **dict.fromkeys(ENERGY_SWEEP_COLUMNS),
            **done.run,
            "status": "diverged",
            "ood_by_domain": NO_DOMAIN,
            "backbone_sha256": done.backbone_sha256,
        }
        if done.snapshot:
            row |= {
                "aie": done.snapshot.aie,
                "head_norm": done.snapshot.head_norm,
                "probe_train_accuracy": done.snapshot.train_accuracy,
                "probe_train_loss": done.snapshot.train_loss,
                "probe_val_accuracy": done.snapshot.val_accuracy,
            }
        if done.result and done.zT is not None:
            row |= {
                "status": "done",
                **vars(measure(done.z0, done.zT)),
                "val_accuracy": done.result.val_accuracy,
                "test_accuracy": done.result.test_accuracy,
                "test_loss": done.result.test_loss,
            }
        if done.ood:
            row |= {
                "ood_accuracy": sum(done.ood.values()) / len(done.ood),
                "ood_by_domain": " ".join(f"{name}={done.ood[name]:.4f}" for name in done.ood),
            }
        yield [row | {"wall_s": done.wall_s}]


def plan_rate_search(
    setting: NetworkSetting, preset: str, scale: RateSearch
) -> list[dict[str, Any]]:
    """Return the keys of all runs: the energy sweep once for every finetuning rate."""
    runs = plan_finetuning(setting, preset, scale)
    return [{**run, "ft_lr": ft_lr} for ft_lr in scale.ft_lrs for run in runs]


def plan_length_search(
    setting: NetworkSetting, preset: str, scale: LengthSearch
) -> list[dict[str, Any]]:
    """Return the keys of all runs: the energy sweep once for every number of finetuning epochs."""
    probed = plan_probing(setting, preset, scale)
    return [
        {**run, **describe_finetuning(setting, length)}
        for length in scale.lengths
        for run in probed
    ]
