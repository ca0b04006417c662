"""Runs of a network setting: what decides one, head probing, then finetuning from each head."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby, product
from typing import Any

import torch
from torch import Tensor, nn

from taskhead.augmentation import AUGMENTATIONS
from taskhead.backbones import extract_features, fingerprint
from taskhead.checkpoints import weights_label
from taskhead.data import Task
from taskhead.finetuning import FinetuneResult, evaluate, finetune
from taskhead.heads import make_head
from taskhead.presets import EnergySweep, Probing
from taskhead.pretraining import pretrained_backbone
from taskhead.probing import Snapshot, probe_heads
from taskhead.records import Row
from taskhead.settings import NetworkSetting
from taskhead.tasks import Draw, check_domain

RUN_COLUMNS: dict[str, type] = {
    "setting": str,
    "preset": str,
    "backbone": str,
    "weights": str,
    "data": str,
    "domain": str,
    "image_size": int,
    "train_per_class": int,
    "val_per_class": int,
    "test_per_class": int,
    "seed": int,
    "tau": int,
    "eps": float,
    "head_depth": int,
    "init_scale": float,
    "bn_mode": str,
    "hp_lr": float,
    "batch_size": int,
}
FINETUNING_COLUMNS: dict[str, type] = {
    **RUN_COLUMNS,
    "ft_lr": float,
    "ft_epochs": int,
    "weight_decay": float,
    "augment": str,
}
_INNERMOST = ("domain", "seed", "tau")  # the loops of every plan, in this order
RUN_KEY = (*(name for name in RUN_COLUMNS if name not in _INNERMOST), *_INNERMOST)
FINETUNING_KEY = (*(name for name in FINETUNING_COLUMNS if name not in _INNERMOST), *_INNERMOST)


def plan_probing(setting: NetworkSetting, preset: str, scale: Probing) -> list[dict[str, Any]]:
    """Return the keys of all probed heads: every domain, seed and tau, a linear head, hard labels.

    Raises
    ------
    ValueError
        If the setting does not take the backbone or does not have a domain.
    """
    setting.check_backbone(scale.backbone)
    for domain in scale.domains:
        check_domain(f"setting {setting.name}", domain, setting.domains)
    return [
        {
            "setting": setting.name,
            "preset": preset,
            "backbone": scale.backbone,
            "weights": weights_label(setting.weights),
            "data": setting.data,
            "domain": domain,
            "image_size": scale.image_size,
            "train_per_class": scale.train_per_class,
            "val_per_class": scale.val_per_class,
            "test_per_class": scale.test_per_class,
            "seed": seed,
            "tau": tau,
            "eps": 0.0,
            "head_depth": 1,
            "init_scale": setting.init_scale,
            "bn_mode": "eval",
            "hp_lr": setting.hp_lr,
            "batch_size": setting.batch_size,
        }
        for domain, seed, tau in product(scale.domains, scale.seeds, scale.taus)
    ]


def plan_finetuning(
    setting: NetworkSetting, preset: str, scale: EnergySweep
) -> list[dict[str, Any]]:
    """Return the keys of all runs: every probed head, finetuned at the setting's rate."""
    finetuning = describe_finetuning(setting, scale.ft_epochs)
    return [{**run, **finetuning} for run in plan_probing(setting, preset, scale)]


def describe_finetuning(setting: NetworkSetting, ft_epochs: int) -> dict[str, Any]:
    """Return what decides finetuning in a setting, a part of a run's key."""
    return {
        "ft_lr": setting.ft_lr,
        "ft_epochs": ft_epochs,
        "weight_decay": setting.weight_decay,
        "augment": setting.augment,
    }


@dataclass(frozen=True)
class Prepared:
    """A seed's task, the features (N, h) of the untouched backbone, and a head not yet trained.

    All is on the device of the runs; the backbone is the one that was given.
    """

    task: Task
    backbone: nn.Module
    z0_train: Tensor
    z0_val: Tensor
    head: nn.Module


def prepare(
    setting: NetworkSetting, backbone: nn.Module, run: Row, device: torch.device
) -> Prepared:
    """Draw a run's task, extract its features and make its head.

    Raises
    ------
    ValueError
        If the backbone does not take images of the run's size, or the task has too few.
    """
    _check_image_size(backbone, run, device)
    draw = Draw(**{each.name: run[each.name] for each in fields(Draw)})
    task = setting.load_task(draw).to(device)
    z0_train, z0_val = (extract_features(backbone, part.images) for part in (task.train, task.val))
    head = make_head(
        z0_train.shape[1],
        task.n_classes,
        depth=run["head_depth"],
        init_scale=run["init_scale"],
        seed=run["seed"],
    )
    return Prepared(task, backbone, z0_train, z0_val, head)


def _check_image_size(backbone: nn.Module, run: Row, device: torch.device) -> None:
    """Raise `ValueError` unless the backbone maps images of the run's size to vectors."""
    size, name = run["image_size"], run["backbone"]
    if name == "small_convnet":
        return
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8, device=device)
    try:
        extract_features(backbone, images)
    except (AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"backbone {name} does not take images of {size} pixels: {reason}; change image_size"
        ) from None


@dataclass(frozen=True)
class Done:
    """A run's outcome.

    `snapshot` is None where probing diverged; `result` and `zT` are None where probing or
    finetuning did. z0 and zT are features (N, h) of the validation split, whose classes (N,) are
    `labels`. `ood` holds accuracies in [0, 1] by domain, `wall_s` the seconds of finetuning and
    its measures.
    """

    run: Row
    backbone_sha256: str
    z0: Tensor
    labels: Tensor
    snapshot: Snapshot | None
    result: FinetuneResult | None = None
    zT: Tensor | None = None
    ood: dict[str, float] = field(default_factory=dict)
    wall_s: float | None = None


def probe_and_finetune(
    setting: NetworkSetting, runs: Sequence[Row], device: torch.device
) -> Iterator[Done]:
    """Probe once for neighbours that differ in tau and finetuning alone, then finetune each."""
    backbone = pretrained_backbone(runs[0]["backbone"], weights=setting.weights, device=device)
    sha256 = fingerprint(backbone)
    for _, group in groupby(runs, lambda run: [run[name] for name in RUN_KEY if name != "tau"]):
        same_head = list(group)
        taus = sorted({run["tau"] for run in same_head})
        first = same_head[0]
        prepared = prepare(setting, backbone, first, device)
        task, z0 = prepared.task, prepared.z0_val
        (trajectory,) = probe_heads(
            prepared.z0_train,
            task.train.labels,
            [prepared.head],
            taus=taus,
            lr=first["hp_lr"],
            eps=[first["eps"]],
            seeds=[first["seed"]],
            batch_size=first["batch_size"],
            val=(z0, task.val.labels),
        )
        snapshots = dict(zip(taus, trajectory, strict=False))  # none where probing diverged
        for run in same_head:
            snapshot = snapshots.get(run["tau"])
            done = Done(run, sha256, z0, task.val.labels, snapshot)
            if snapshot is None:
                yield done
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
                    weight_decay=run["weight_decay"],
                    batch_size=run["batch_size"],
                    augment=AUGMENTATIONS[run["augment"]],
                    seed=run["seed"],
                )
            except FloatingPointError:
                yield replace(done, wall_s=time.perf_counter() - start)
                continue
            best = nn.Sequential(result.best_backbone, result.best_head)
            yield replace(
                done,
                result=result,
                zT=extract_features(result.backbone, task.val.images),
                ood={name: evaluate(best, images)[0] for name, images in task.ood.items()},
                wall_s=time.perf_counter() - start,
            )
