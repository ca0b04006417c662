"""Pretrain a setting's backbone once and cache its checkpoint."""

import hashlib
import os
import pickle
from pathlib import Path

import torch
from torch import nn

from taskhead.data import data_root
from taskhead.finetuning import finetune
from taskhead.heads import make_head
from taskhead.settings import NetworkSetting


def pretrained_backbone(setting: NetworkSetting, device: torch.device | str) -> nn.Module:
    """Return the setting's pretrained backbone in eval mode on `device`.

    It is loaded from the cache, or else trained on the source task from a new linear head, chosen
    on the source's validation split, and stored in the cache.

    Raises
    ------
    ValueError
        If the cached checkpoint is damaged; the message names the file to delete.
    """
    backbone = setting.build_backbone()
    path = checkpoint_path(setting)
    if path.exists():
        try:
            backbone.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, TypeError, KeyError, OSError, EOFError, pickle.UnpicklingError):
            raise ValueError(
                f"checkpoint {path} is damaged or of another backbone; delete it and run again"
            ) from None
    else:
        backbone = pretrain(setting, device)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        torch.save(backbone.cpu().state_dict(), temporary)
        temporary.replace(path)
    return backbone.to(device).eval()


def pretrain(setting: NetworkSetting, device: torch.device | str) -> nn.Module:
    """Train the setting's backbone on its source task and return it."""
    recipe = setting.pretraining
    source = recipe.load_source().to(device)
    result = finetune(
        setting.build_backbone(),
        make_head(setting.n_features, source.n_classes),
        source,
        epochs=recipe.epochs,
        backbone_lr=recipe.lr,
        head_lr=recipe.lr,
        bn_mode="train",
        batch_size=recipe.batch_size,
    )
    return result.best_backbone


def checkpoint_path(setting: NetworkSetting) -> Path:
    """Return where the backbone is cached; the name changes with the recipe."""
    recipe, backbone = setting.pretraining, setting.build_backbone()
    source = recipe.load_source()
    digest = hashlib.sha256(f"{recipe.epochs} {recipe.lr} {recipe.batch_size} {backbone}".encode())
    digest.update(source.train.images.numpy().tobytes() + source.train.labels.numpy().tobytes())
    return data_root() / "pretrained" / f"{setting.name}-{digest.hexdigest()[:12]}.pt"
