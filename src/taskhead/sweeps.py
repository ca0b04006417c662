"""Runs of a network setting: head probing, then finetuning, then what one run records."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import Any

import torch
from torch import Tensor

from taskhead.adaptation import measure
from taskhead.backbones import extract_features
from taskhead.finetuning import FinetuneResult, finetune
from taskhead.heads import make_head
from taskhead.presets import EnergySweep, FeatureGeometry, RateSearch
from taskhead.pretraining import pretrained_backbone
from taskhead.probing import Snapshot, probe_head
from taskhead.records import Row
from taskhead.settings import NetworkSetting

_RUN_COLUMNS: dict[str, type] = {
    "setting": str,
    "preset": str,
    "seed": int,
    "tau": int,
    "eps": float,
    "head_depth": int,
    "init_scale": float,
    "bn_mode": str,
    "hp_lr": float,
    "ft_lr": float,
    "ft_epochs": int,
}
ENERGY_SWEEP_COLUMNS: dict[str, type] = {
    **_RUN_COLUMNS,
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
    "wall_s": float,
}
ENERGY_SWEEP_KEY = tuple(_RUN_COLUMNS)
FEATURE_GEOMETRY_COLUMNS: dict[str, type] = {
    **_RUN_COLUMNS,
    "sample": int,
    "label": int,
    "aie": float,
    "z0_x": float,
    "z0_y": float,
    "zT_x": float,
    "zT_y": float,
}
FEATURE_GEOMETRY_KEY = (*ENERGY_SWEEP_KEY, "sample")


def plan_energy_sweep(
    setting: NetworkSetting, preset: str, scale: EnergySweep
) -> list[dict[str, Any]]:
    """Return the keys of all runs: every seed with every tau, a linear head, hard labels."""
    return [
        {
            "setting": setting.name,
            "preset": preset,
            "seed": seed,
            "tau": tau,
            "eps": 0.0,
            "head_depth": 1,
            "init_scale": setting.init_scale,
            "bn_mode": "eval",
            "hp_lr": setting.hp_lr,
            "ft_lr": setting.ft_lr,
            "ft_epochs": scale.ft_epochs,
        }
        for seed, tau in product(scale.seeds, scale.taus)
    ]


def compute_energy_sweep(
    setting: NetworkSetting, runs: Sequence[Row], device: torch.device
) -> Iterator[list[Row]]:
    """Yield one row a run.

    AIE and the probing measures are taken on the training split, except `probe_val_accuracy`. The
    four feature measures compare z_0 of the pretrained backbone with z_T after the last epoch on
    the validation split. `val_accuracy`, `test_accuracy` and `test_loss` belong to the epoch
    chosen on the validation split. A run whose loss becomes NaN or infinite has status "diverged"
    and no measures of what came after. `wall_s` is the seconds of finetuning and its measures.
    """
    for done in _probe_and_finetune(setting, runs, device):
        row = {**dict.fromkeys(ENERGY_SWEEP_COLUMNS), **done.run, "status": "diverged"}
        if done.snapshot:
            row |= {
                "aie": done.snapshot.aie,
                "head_norm": done.snapshot.head_norm,
                "probe_train_accuracy": done.snapshot.train_accuracy,
                "probe_train_loss": done.snapshot.train_loss,
                "probe_val_accuracy": done.snapshot.val_accuracy,
            }
        if done.result:
            row |= {
                "status": "done",
                **vars(measure(done.z0, done.zT)),
                "val_accuracy": done.result.val_accuracy,
                "test_accuracy": done.result.test_accuracy,
                "test_loss": done.result.test_loss,
            }
        yield [row | {"wall_s": done.wall_s}]


def plan_rate_search(
    setting: NetworkSetting, preset: str, scale: RateSearch
) -> list[dict[str, Any]]:
    """Return the keys of all runs: the energy sweep once for every finetuning rate."""
    runs = plan_energy_sweep(setting, preset, scale)
    return [{**run, "ft_lr": ft_lr} for ft_lr in scale.ft_lrs for run in runs]


def plan_feature_geometry(
    setting: NetworkSetting, preset: str, scale: FeatureGeometry
) -> list[dict[str, Any]]:
    """Return the keys of all rows: every run of the sweep with every sample."""
    runs = plan_energy_sweep(setting, preset, scale)
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
    groups = groupby(rows, lambda row: {name: row[name] for name in _RUN_COLUMNS})
    pending = [(run, [row["sample"] for row in group]) for run, group in groups]
    outcomes = _probe_and_finetune(setting, [run for run, _ in pending], device)
    for done, (_, samples) in zip(outcomes, pending, strict=True):
        if done.snapshot is None or done.result is None:
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


@dataclass(frozen=True)
class _Done:
    """A run's outcome; snapshot or result is None where probing or finetuning diverged."""

    run: Row
    snapshot: Snapshot | None
    result: FinetuneResult | None
    z0: Tensor
    zT: Tensor
    labels: Tensor
    wall_s: float | None


def _probe_and_finetune(
    setting: NetworkSetting, runs: Sequence[Row], device: torch.device
) -> Iterator[_Done]:
    """Probe once for all runs that differ in tau alone, then finetune from every snapshot.

    z0 and zT are features of the validation split; zT is z0 where there is no result.
    """
    backbone = pretrained_backbone(setting, device)
    for _, group in groupby(runs, lambda run: {**run, "tau": None}):
        same_head = list(group)
        first = same_head[0]
        task = setting.load_task(first["seed"]).to(device)
        z0, labels = extract_features(backbone, task.val.images), task.val.labels
        head = make_head(
            setting.n_features,
            task.n_classes,
            depth=first["head_depth"],
            init_scale=first["init_scale"],
            seed=first["seed"],
        )
        probe = partial(
            probe_head,
            extract_features(backbone, task.train.images),
            task.train.labels,
            head,
            lr=first["hp_lr"],
            eps=first["eps"],
            batch_size=setting.batch_size,
            val=(z0, labels),
            seed=first["seed"],
        )
        for run, snapshot in zip(same_head, _snapshots(probe, same_head), strict=True):
            if snapshot is None:
                yield _Done(run, None, None, z0, z0, labels, None)
                continue
            start = time.perf_counter()
            try:
                result = finetune(
                    backbone,
                    snapshot.head,
                    task,
                    epochs=run["ft_epochs"],
                    backbone_lr=run["ft_lr"],
                    head_lr=run["ft_lr"],
                    bn_mode=run["bn_mode"],
                    weight_decay=setting.weight_decay,
                    batch_size=setting.batch_size,
                    seed=run["seed"],
                )
                zT = extract_features(result.backbone, task.val.images)
            except FloatingPointError:
                result, zT = None, z0
            wall_s = time.perf_counter() - start
            yield _Done(run, snapshot, result, z0, zT, labels, wall_s)


def _snapshots(probe: Callable[..., list[Snapshot]], runs: Sequence[Row]) -> list[Snapshot | None]:
    """Return the snapshot of every run, None from the first tau at which probing has diverged."""
    taus = [run["tau"] for run in runs]
    for reached in range(len(taus), 0, -1):
        try:
            return [*probe(taus=taus[:reached]), *[None] * (len(taus) - reached)]
        except FloatingPointError:
            continue
    return [None] * len(taus)
