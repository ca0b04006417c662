"""Torchvision's classification models without their classifiers."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from taskhead.method.checks import check_choice
from taskhead.models.checkpoints import DoesNotFit, download, find_weights, load_checkpoint
from taskhead.models.state_dicts import find_fits
from taskhead.tasks.storage import data_root

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# Torchvision transforms their input if it loads weights; in train mode they have further outputs.
_INCEPTIONS = ("googlenet", "inception_v3")
_OUTPUTS = {"AuxLogits", "aux1", "aux2"}


class Normalise(nn.Module):
    """Map uint8 images (N, C, H, W) to float32: divide by 255, subtract mean, divide by std.

    The result lies in memory with channels last, in which convolutions run faster.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take one value per channel, on the scale of images in [0, 1]."""
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images."""
        images = images.float().contiguous(memory_format=torch.channels_last)
        return (images - self.mean) / self.std


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification models."""
    from torchvision import models

    return models.list_models(module=models)


def torchvision_backbone(name: str, *, weights: Path | str | None = None) -> nn.Sequential:
    """Return any torchvision classification model without its classifier, for uint8 images.

    Its feature is the input of the classifier after pooling, and it is flattened. The normalisation
    is that of the model's default weights. `name` is one of `torchvision_names()`, `weights` the
    name of torchvision weights ("IMAGENET1K_V1", ...), which are downloaded below the data folder,
    or a local checkpoint file of the same model, with any classifier or none. None takes the file
    `weights/NAME-imagenet.pth` below the data folder if it is there, else the default weights.

    Raises `ValueError` if the model or the weights are unknown, cannot be downloaded, are damaged
    or do not fit.
    """
    from torchvision import models

    check_choice("backbone", name, torchvision_names())
    known = models.get_model_weights(name)
    file = Path(weights) if weights is not None and Path(weights).is_file() else None
    if weights is None:
        file = find_weights(f"{name}-imagenet.pth")
    elif file is None:
        check_choice(f"weights of {name}", weights, [*torchvision_weights(name), "a local file"])
    if file:
        network = _untrained(name)
        try:
            load_checkpoint(network, file, ignore=_taken_off(network))
        except DoesNotFit as error:
            raise ValueError(f"{error}{_looks_like(error.content, name)}") from None
    else:
        network = _download_model(name, known[str(weights or "DEFAULT")])
    if name in _INCEPTIONS:
        network.aux_logits = False  # pyright: ignore[reportArgumentType]
        for part in _OUTPUTS & dict(network.named_children()).keys():
            setattr(network, part, None)
        network.transform_input = True  # pyright: ignore[reportArgumentType]
    part = _classifier(network)
    pools = [isinstance(m, nn.AdaptiveAvgPool2d) for m in getattr(network, part).modules()]
    setattr(network, part, nn.AdaptiveAvgPool2d(1) if any(pools) else nn.Identity())
    preset = known["DEFAULT"].transforms()
    return nn.Sequential(Normalise(preset.mean, preset.std), network, nn.Flatten())


def torchvision_weights(name: str) -> list[str]:
    """Return the names of the weights that torchvision has for a model."""
    from torchvision import models

    return list(dict.fromkeys(["DEFAULT", *models.get_model_weights(name).__members__]))


def torchvision_interpolation(name: str) -> str:
    """Return how images are resized for the default weights of a model: "bilinear", "bicubic"."""
    from torchvision import models

    return models.get_model_weights(name)["DEFAULT"].transforms().interpolation.value


def _untrained(name: str) -> nn.Module:
    from torchvision import models

    options = {"init_weights": False} if name in _INCEPTIONS else {}
    return models.get_model(name, weights=None, **options)


def _classifier(network: nn.Module) -> str:
    """Return the name of the part that is the classifier."""
    return next(part for part in ("fc", "classifier", "head", "heads") if hasattr(network, part))


def _taken_off(network: nn.Module) -> tuple[str, ...]:
    """Return how the names of the parameters begin that serve for classes alone."""
    return tuple(f"{part}." for part in (_classifier(network), *_OUTPUTS))


def _looks_like(content: Any, name: str) -> str:
    """Say which of torchvision's models a file's content fits, "" if none."""
    for other in sorted(torchvision_names(), key=lambda n: -SequenceMatcher(None, n, name).ratio()):
        try:
            with torch.device("meta"):
                network = _untrained(other)
        except NotImplementedError:  # some read numbers while they are built
            continue
        fits = find_fits(content, network.state_dict(), _taken_off(network))
        if fits and fits[0].is_whole:
            return f"; it looks like a {other}"
    return ""


def _download_model(name: str, weights: "WeightsEnum") -> nn.Module:
    from torchvision import models

    download(weights.url, data_root() / "torch" / "checkpoints")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(data_root() / "torch"))
    try:
        return models.get_model(name, weights=weights)
    finally:
        torch.hub.set_dir(before)
