"""Pretrained backbones by name: from a checkpoint, or trained here once and cached."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from taskhead.augmentation import AUGMENTATIONS
from taskhead.backbones import (
    cifar_resnet,
    cifar_resnet18,
    fingerprint,
    small_convnet,
    torchvision_backbone,
    torchvision_names,
)
from taskhead.checkpoints import load_checkpoint
from taskhead.checks import check_choice
from taskhead.data import Task, data_root, one_process
from taskhead.finetuning import FinetuneResult, finetune
from taskhead.heads import make_head
from taskhead.parallel import one_thread
from taskhead.records import Row
from taskhead.tasks import Draw, dataset_task, digits_task


@dataclass(frozen=True)
class Recipe:
    """How a backbone is pretrained on a source task; `source` says in words on what."""

    build: Callable[[], nn.Module]
    source: str
    load_source: Callable[[], Task]
    epochs: int
    lr: float
    batch_size: int
    augment: str = "none"


def _cifar_stem(width: int, *, per_class: int, epochs: int) -> Recipe:
    draw = Draw(seed=0, image_size=32, train_per_class=per_class, val_per_class=per_class // 9)
    return Recipe(
        build=partial(cifar_resnet18, width=width),
        source=f"CIFAR-10, {per_class} training images of each class",
        load_source=lambda: dataset_task("cifar10", draw),
        epochs=epochs,
        lr=0.1,
        batch_size=128,
        augment="crop-flip",
    )


PRETRAINING_COLUMNS: dict[str, type] = {
    "setting": str,
    "preset": str,
    "backbone": str,
    "source": str,
    "seed": int,
    "lr": float,
    "batch_size": int,
    "augment": str,
    "epochs": int,
    "best_epoch": int,
    "val_accuracy": float,
    "test_accuracy": float,
    "backbone_sha256": str,
    "wall_s": float,
}
PRETRAINING_KEY = tuple(PRETRAINING_COLUMNS)[:9]
RECIPES = {
    "small_convnet": Recipe(
        build=small_convnet,
        source="handwritten digits 0-4, 120 training images of each class",
        load_source=lambda: digits_task(
            Draw(seed=0, image_size=8, train_per_class=120, val_per_class=20), classes=range(5)
        ),
        epochs=60,
        lr=0.05,
        batch_size=64,
    ),
    "resnet18-cifar": _cifar_stem(64, per_class=4500, epochs=200),
    "resnet18-cifar-w16": _cifar_stem(16, per_class=1350, epochs=20),
}
CIFAR_DEPTHS = {f"resnet{depth}": depth for depth in (20, 32, 44, 56)}
CIFAR_BACKBONES = (*CIFAR_DEPTHS, "resnet18-cifar", "resnet18-cifar-w16")


def pretrained_backbone(
    name: str, *, weights: str = "DEFAULT", device: torch.device | str = "cpu"
) -> nn.Module:
    """Return a pretrained backbone in eval mode on `device`.

    Parameters
    ----------
    name
        A CIFAR ResNet ("resnet20", "resnet32", "resnet44", "resnet56"), whose public checkpoint is
        downloaded; a backbone with a recipe here ("small_convnet", "resnet18-cifar", ...), which is
        trained on its source task once and cached; or any torchvision classification model.
    weights
        "DEFAULT", a local checkpoint file, or for a torchvision model the name of its weights.
    device
        Where the backbone goes, and where it is trained.

    Raises
    ------
    ValueError
        If the name or the weights are unknown, or a checkpoint is damaged or does not fit; the
        message names the file.
    """
    try:
        if name in RECIPES:
            backbone = _from_recipe(name, weights, device)
        elif name in CIFAR_DEPTHS:
            backbone = cifar_resnet(CIFAR_DEPTHS[name], weights=_local_file(name, weights))
        else:
            check_choice("backbone", name, [*RECIPES, *CIFAR_DEPTHS, *torchvision_names()])
            backbone = torchvision_backbone(name, weights=weights)
    except URLError as error:
        raise ValueError(
            f"weights of {name} cannot be downloaded ({error.reason}); give a checkpoint file as "
            f"weights, or put it where the book's page Reproduce says"
        ) from None
    return backbone.to(device).eval()


def pretrain(recipe: Recipe, device: torch.device | str) -> FinetuneResult:
    """Train a recipe's backbone on its source task, chosen on the source's validation split."""
    source = recipe.load_source().to(device)
    backbone = recipe.build()
    n_features = backbone.to(device).eval()(source.val.images[:1]).shape[1]
    return finetune(
        backbone,
        make_head(n_features, source.n_classes),
        source,
        epochs=recipe.epochs,
        backbone_lr=recipe.lr,
        head_lr=recipe.lr,
        bn_mode="train",
        batch_size=recipe.batch_size,
        augment=AUGMENTATIONS[recipe.augment],
    )


def plan_pretraining(setting: str, preset: str, backbones: Sequence[str]) -> list[dict[str, Any]]:
    """Return the keys of all runs: one for each backbone.

    Raises
    ------
    ValueError
        If a backbone has no recipe.
    """
    for name in backbones:
        check_choice("backbone with a recipe", name, RECIPES)
    return [
        {
            "setting": setting,
            "preset": preset,
            "backbone": name,
            "source": RECIPES[name].source,
            "seed": 0,
            "lr": RECIPES[name].lr,
            "batch_size": RECIPES[name].batch_size,
            "augment": RECIPES[name].augment,
            "epochs": RECIPES[name].epochs,
        }
        for name in backbones
    ]


def compute_pretraining(runs: Sequence[Row], device: torch.device) -> Iterator[list[Row]]:
    """Train each backbone on its source task, cache its checkpoint, and yield what it scores."""
    for run in runs:
        start = time.perf_counter()
        result = pretrain(RECIPES[run["backbone"]], device)
        store(result, checkpoint_path(run["backbone"]))
        yield [
            {
                **run,
                "best_epoch": result.best_epoch,
                "val_accuracy": result.val_accuracy,
                "test_accuracy": result.test_accuracy,
                "backbone_sha256": fingerprint(result.best_backbone),
                "wall_s": time.perf_counter() - start,
            }
        ]


def store(result: FinetuneResult, path: Path) -> None:
    """Write the best backbone's checkpoint to `path`, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    torch.save(result.best_backbone.cpu().state_dict(), temporary)
    temporary.replace(path)


def checkpoint_path(name: str) -> Path:
    """Return where a backbone with a recipe is cached; the path changes with the recipe."""
    recipe = RECIPES[name]
    described = (
        f"{recipe.source} {recipe.epochs} {recipe.lr} {recipe.batch_size} {recipe.augment} "
        f"{recipe.build()}"
    )
    digest = hashlib.sha256(described.encode()).hexdigest()
    return data_root() / "pretrained" / f"{name}-{digest[:12]}.pt"


def _from_recipe(name: str, weights: str, device: torch.device | str) -> nn.Module:
    recipe = RECIPES[name]
    backbone = recipe.build()
    given, cached = _local_file(name, weights), checkpoint_path(name)
    if given:
        load_checkpoint(backbone, given)
        return backbone
    with one_process(name):
        if not cached.exists():
            print(
                f"pretraining {name} once: {recipe.source}, {recipe.epochs} epochs", file=sys.stderr
            )
            with one_thread():  # whoever asks first, the weights are the same
                store(pretrain(recipe, device), cached)
    try:
        load_checkpoint(backbone, cached)
    except ValueError as error:
        raise ValueError(f"{error}; delete it and run again") from None
    return backbone


def _local_file(name: str, weights: str) -> Path | None:
    if weights == "DEFAULT":
        return None
    if not Path(weights).is_file():
        raise ValueError(f"unknown weights {weights!r} of {name}; valid: DEFAULT or a local file")
    return Path(weights)
