"""Pretrained feature extractors z = f(x; B), by name."""

from pathlib import Path

import torch
from torch import nn

from taskhead.method.checks import check_choice
from taskhead.models.checkpoints import download, find_weights, load_checkpoint
from taskhead.models.pretraining import RECIPES, load_or_pretrain
from taskhead.models.resnets import CIFAR_DEPTHS, CifarResNet
from taskhead.models.torchvision import Normalise, torchvision_backbone, torchvision_names
from taskhead.tasks.storage import data_root

# Normalisation under which the public CIFAR-10 checkpoints were trained.
CHECKPOINT_MEAN, CHECKPOINT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR_ADDRESS = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
_CIFAR_FILES = {
    20: "resnet20-12fca82f.th",
    32: "resnet32-d509ac18.th",
    44: "resnet44-014dd654.th",
    56: "resnet56-4bfd9763.th",
}
_CIFAR_RESNETS = {f"resnet{depth}": depth for depth in CIFAR_DEPTHS}


def pretrained_backbone(
    name: str, *, weights: Path | str | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return a pretrained backbone in eval mode on `device`.

    Parameters
    ----------
    name
        A CIFAR ResNet ("resnet20", "resnet32", "resnet44", "resnet56"), whose public checkpoint is
        downloaded; a backbone with a recipe here ("small_convnet", "resnet18-cifar", ...), which is
        trained on its source task once and cached; or any torchvision classification model.
    weights
        A local checkpoint file, or for a torchvision model the name of its weights; None takes the
        default ones.
    device
        Where the backbone goes, and where it is trained.

    Raises
    ------
    ValueError
        If the name or the weights are unknown, cannot be downloaded, are damaged or do not fit; the
        message names the file.
    """
    if name in RECIPES:
        backbone = load_or_pretrain(name, _local_file(name, weights), device)
    elif name in _CIFAR_RESNETS:
        backbone = cifar_resnet(_CIFAR_RESNETS[name], weights=_local_file(name, weights))
    else:
        check_choice("backbone", name, [*RECIPES, *_CIFAR_RESNETS, *torchvision_names()])
        backbone = torchvision_backbone(name, weights=weights)
    return backbone.to(device).eval()


def cifar_resnet(depth: int, *, weights: Path | None = None) -> nn.Sequential:
    """Return a CIFAR ResNet pretrained on CIFAR-10, for uint8 images (N, 3, 32, 32), 64 features.

    Without `weights` the public checkpoint is taken from `weights/` below the data folder, or
    downloaded there with a check of its hash.
    Source: He et al. 2016; checkpoints of akamaster/pytorch_resnet_cifar10 (BSD 2-clause).

    Raises `ValueError` if the depth is not 20, 32, 44 or 56, or a local file does not fit.
    """
    network = CifarResNet(depth)
    name = _CIFAR_FILES[depth]
    file = weights or find_weights(name)
    file = file or download(f"{_CIFAR_ADDRESS}/{name}", data_root() / "weights")
    load_checkpoint(network, file, ignore=("linear.",))
    return nn.Sequential(Normalise(CHECKPOINT_MEAN, CHECKPOINT_STD), network)


def _local_file(name: str, weights: Path | str | None) -> Path | None:
    if weights is None:
        return None
    if not Path(weights).is_file():
        raise ValueError(f"unknown weights {str(weights)!r} of {name}; valid: a local file")
    return Path(weights)
