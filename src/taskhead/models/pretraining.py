"""Backbones that are pretrained here: trained once on a source task, cached, and checked."""

import hashlib
import io
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taskhead.method.evaluation import evaluate
from taskhead.method.features import extract_features
from taskhead.method.finetuning import FinetuneResult, finetune
from taskhead.method.heads import make_head
from taskhead.method.seeds import seeded
from taskhead.models.checkpoints import CLASSIFIERS, load_checkpoint
from taskhead.models.resnets import resnet18_cifar_stem
from taskhead.models.torchvision import Normalise
from taskhead.tasks.datasets import dataset_task, digits_task
from taskhead.tasks.storage import (
    check_writable,
    data_root,
    file_sha256,
    one_process,
    write_whole,
)
from taskhead.tasks.task import Draw, Task

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Recipe:
    """How a backbone is pretrained on a source task; `source` says in words on what."""

    build: Callable[[], nn.Sequential]
    source: str
    load_source: Callable[[], Task]
    epochs: int
    lr: float
    batch_size: int
    augment: str | None = None


class GreyNetwork(nn.Sequential):
    """Layers for grey images (N, 1, H, W) in [0, 1], which takes uint8 RGB (N, 3, H, W) too."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what the layers make of images; the grey of RGB is the mean of its channels."""
        grey = input.float().mean(dim=1, keepdim=True) / 255 if input.shape[1] == 3 else input
        return super().forward(grey)


def small_convnet(*, seed: int = 0) -> nn.Sequential:
    """Return a small convolutional network for 8 x 8 grey images with 64 features.

    Three 3 x 3 convolutions with BatchNorm and ReLU (16, 32, 64 channels; the second and third
    with stride 2), then the mean over positions: (N, 1, H, W) to (N, 64). The initialisation is
    drawn from `seed`; the global random state is not changed.
    """
    with seeded(seed):
        return GreyNetwork(
            *_block(1, 16, stride=1),
            *_block(16, 32, stride=2),
            *_block(32, 64, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


def cifar_resnet18(*, width: int = 64, seed: int = 0) -> nn.Sequential:
    """Return an untrained ResNet-18 with CIFAR stem for uint8 images, 8 * width features."""
    with seeded(seed):
        return nn.Sequential(Normalise(CIFAR_MEAN, CIFAR_STD), resnet18_cifar_stem(width=width))


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


def load_or_pretrain(
    name: str, weights: Path | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return a backbone with a recipe: from given weights, from the cache, or trained now.

    A cached file is used only if its checksum is the one that was noted when it was written.

    Raises `ValueError` if given weights do not fit, or the cache cannot be written to.
    """
    recipe = RECIPES[name]
    backbone = recipe.build()
    if weights:
        inner = backbone[1] if isinstance(backbone[0], Normalise) else backbone
        load_checkpoint(inner, weights, ignore=CLASSIFIERS)
        return backbone
    path = checkpoint_path(name)
    with one_process(name):
        if not _is_sound(path):
            if path.exists():
                print(f"{path} is not what was written there; training it anew", file=sys.stderr)
            size = sum(4 * each.numel() for each in backbone.state_dict().values())
            check_writable(path.parent, 2 * size)
            words = f"pretraining {name} once: {recipe.source}, {recipe.epochs} epochs"
            print(words, file=sys.stderr)
            pretrain(recipe, path, device)
    load_checkpoint(backbone, path)
    return backbone


def pretrain(recipe: Recipe, path: Path, device: torch.device | str) -> FinetuneResult:
    """Train a recipe's backbone, write its checkpoint to `path` and a JSON file beside it.

    The epoch is chosen on the source's validation split. The JSON file says how the backbone was
    trained, what it scores, and the checksum of the checkpoint.
    """
    start, threads = time.perf_counter(), torch.get_num_threads()
    source = recipe.load_source().to(device)
    backbone = recipe.build().to(device)
    head = make_head(extract_features(backbone, source.val.images[:1]).shape[1], source.n_classes)
    torch.set_num_threads(1)  # whoever asks first, the weights are the same
    try:
        result = finetune(
            backbone,
            head,
            source.train,
            source.val,
            epochs=recipe.epochs,
            lr=recipe.lr,
            bn_mode="train",
            batch_size=recipe.batch_size,
            augment=recipe.augment,
        )
        test_accuracy, _ = evaluate(result.best, source.test)
    finally:
        torch.set_num_threads(threads)
    content = io.BytesIO()
    torch.save(result.best[0].cpu().state_dict(), content)
    write_whole(path, content.getvalue())
    note = {
        **_described(recipe),
        "best_epoch": result.best_epoch,
        "val_accuracy": result.val_accuracy,
        "test_accuracy": test_accuracy,
        "wall_s": time.perf_counter() - start,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sha256": file_sha256(path),
    }
    write_whole(path.with_suffix(".json"), (json.dumps(note, indent=1) + "\n").encode())
    return result


def checkpoint_path(name: str) -> Path:
    """Return where a backbone with a recipe is cached; the path changes with the recipe."""
    recipe = RECIPES[name]
    described = f"{_described(recipe)} {recipe.build()}"
    digest = hashlib.sha256(described.encode()).hexdigest()
    return data_root() / "pretrained" / f"{name}-{digest[:12]}.pt"


def _described(recipe: Recipe) -> dict[str, Any]:
    said = ("source", "epochs", "lr", "batch_size", "augment")
    return {name: getattr(recipe, name) for name in said} | {"seeds": "independent streams"}


def _is_sound(path: Path) -> bool:
    """Say whether a checkpoint is there with the checksum that its JSON file notes."""
    try:
        noted = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
        return path.is_file() and noted == file_sha256(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _block(channels_in: int, channels_out: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
