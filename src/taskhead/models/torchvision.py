"""Torchvision's classification models without their classifiers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from taskhead.method.checks import check_choice
from taskhead.models.checkpoints import download, find_weights, load_checkpoint
from taskhead.tasks.storage import data_root

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# Torchvision transforms their input if it loads weights; in train mode they have further outputs.
_INCEPTIONS = ("googlenet", "inception_v3")


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
    or a local checkpoint file of the same model. None takes the file `weights/NAME-imagenet.pth`
    below the data folder if it is there, else the default weights.

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
        valid = dict.fromkeys(["DEFAULT", *known.__members__, "a local file"])
        check_choice(f"weights of {name}", weights, valid)
    if file:
        options = {"init_weights": False} if name in _INCEPTIONS else {}
        network = models.get_model(name, weights=None, **options)
        load_checkpoint(network, file)
    else:
        network = _download_model(name, known[str(weights or "DEFAULT")])
    if name in _INCEPTIONS:
        network.aux_logits = False  # pyright: ignore[reportArgumentType]
        network.transform_input = True  # pyright: ignore[reportArgumentType]
    part = next(p for p in ("fc", "classifier", "head", "heads") if hasattr(network, p))
    pools = [isinstance(m, nn.AdaptiveAvgPool2d) for m in getattr(network, part).modules()]
    setattr(network, part, nn.AdaptiveAvgPool2d(1) if any(pools) else nn.Identity())
    preset = known["DEFAULT"].transforms()
    return nn.Sequential(Normalise(preset.mean, preset.std), network, nn.Flatten())


def torchvision_interpolation(name: str) -> str:
    """Return how images are resized for the default weights of a model: "bilinear", "bicubic"."""
    from torchvision import models

    return models.get_model_weights(name)["DEFAULT"].transforms().interpolation.value


def _download_model(name: str, weights: "WeightsEnum") -> nn.Module:
    from torchvision import models

    download(weights.url, data_root() / "torch" / "checkpoints")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(data_root() / "torch"))
    try:
        return models.get_model(name, weights=weights)
    finally:
        torch.hub.set_dir(before)
