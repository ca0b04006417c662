"""Pretrained feature extractors z = f(x; B), by name."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from taskhead.method.checks import check_choice
from taskhead.models.checkpoints import CLASSIFIERS, download, find_weights, load_checkpoint
from taskhead.models.pretraining import RECIPES, load_or_pretrain
from taskhead.models.resnets import CIFAR_DEPTHS, CifarResNet
from taskhead.models.text import HUB, MINILM, hub_encoder, minilm
from taskhead.models.timm import (
    LITE0,
    TIMM,
    check_timm_name,
    efficientnet_lite0,
    timm_backbone,
    timm_interpolation,
)
from taskhead.models.torchvision import (
    Normalise,
    torchvision_backbone,
    torchvision_interpolation,
    torchvision_names,
    torchvision_weights,
)
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
_OWN = (*RECIPES, *_CIFAR_RESNETS, LITE0, MINILM)
_LIBRARIES = {"torchvision": "", "timm": TIMM, "hf": HUB}  # and how names of theirs begin
FOR_IMAGES = (*RECIPES, *_CIFAR_RESNETS, LITE0, "torchvision", "timm")


def pretrained_backbone(
    name: str, *, weights: Path | str | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return a pretrained backbone in eval mode on `device`.

    Parameters
    ----------
    name
        A CIFAR ResNet ("resnet20", "resnet32", "resnet44", "resnet56"), whose public checkpoint is
        downloaded; a backbone with a recipe here ("small_convnet", "resnet18-cifar", ...), which is
        trained on its source task once and cached; "efficientnet_lite0", whose weights come with
        the extra `imagenet`; any torchvision classification model; or any model of timm as
        "timm:NAME". For texts it is "minilm", whose weights come with the extra `text`, or any
        encoder of the Hugging Face hub as "hf:NAME".
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
    check_backbone(name)
    check_weights(name, weights)
    file = None if weights is None else Path(weights)
    if name in RECIPES:
        backbone = load_or_pretrain(name, file, device)
    elif name in _CIFAR_RESNETS:
        backbone = cifar_resnet(_CIFAR_RESNETS[name], weights=file)
    elif name == LITE0:
        backbone = efficientnet_lite0(weights=file)
    elif name.startswith(TIMM):
        backbone = timm_backbone(name.removeprefix(TIMM), weights=file)
    elif name == MINILM or name.startswith(HUB):
        backbone = minilm() if name == MINILM else hub_encoder(name.removeprefix(HUB))
    else:
        backbone = torchvision_backbone(name, weights=weights)
    return backbone.to(device).eval()


def check_backbone(
    name: str, fitting: Sequence[str] = (*FOR_IMAGES, MINILM, "hf"), *, owner: str = ""
) -> None:
    """Raise `ValueError` unless a backbone is among those fitting, and its library has it.

    In `fitting` "torchvision", "timm" and "hf" stand for all models of theirs. `owner` serves in
    the message.
    """
    valid = [known for known in fitting if known not in _LIBRARIES]
    if name in valid or ("hf" in fitting and name.startswith(HUB)):
        return
    if "timm" in fitting and name.startswith(TIMM):
        return check_timm_name(name.removeprefix(TIMM))
    valid += [f"{prefix}NAME" for key, prefix in _LIBRARIES.items() if prefix and key in fitting]
    if "torchvision" in fitting:  # it takes more than a second to name its models
        valid += torchvision_names()
    check_choice(f"backbone{owner and f' of {owner}'}", name, dict.fromkeys(valid))


def check_weights(name: str, weights: Path | str | None) -> None:
    """Raise `ValueError` unless a backbone takes these weights: None, a file, or a name it knows.

    Nothing is read.
    """
    if weights is None:
        return
    if name == MINILM or name.startswith(HUB):
        raise ValueError(f"{name} brings its weights, got {str(weights)!r}; leave them out")
    own = name in _OWN or name.startswith(TIMM)
    valid = ["a checkpoint file", *([] if own else torchvision_weights(name))]
    if not Path(weights).is_file() and str(weights) not in valid[1:]:
        raise ValueError(
            f"weights {str(weights)!r} of {name} are no file; give {' or '.join(valid)}, or leave "
            "them out"
        )


def interpolation(name: str) -> str:
    """Return how images are resized for a backbone of this name: "bilinear", "bicubic", ...

    It is that of its weights, and bilinear for networks that were trained on small images. For
    texts it means nothing.
    """
    if name == LITE0:
        return "bicubic"
    if name.startswith(TIMM):
        return timm_interpolation(name.removeprefix(TIMM))
    return "bilinear" if name in _OWN or name.startswith(HUB) else torchvision_interpolation(name)


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
    load_checkpoint(network, file, ignore=CLASSIFIERS)
    return nn.Sequential(Normalise(CHECKPOINT_MEAN, CHECKPOINT_STD), network)
