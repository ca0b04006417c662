"""Pretrained feature extractors z = f(x; B)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from taskhead.checkpoints import find_weights, load_checkpoint
from taskhead.checks import check_choice
from taskhead.data import data_root, forward_batches, one_process
from taskhead.resnets import CifarResNet, resnet18_cifar_stem

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# Normalisation under which the public CIFAR-10 checkpoints were trained.
CHECKPOINT_MEAN, CHECKPOINT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR_ADDRESS = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
_CIFAR_FILES = {
    20: "resnet20-12fca82f.th",
    32: "resnet32-d509ac18.th",
    44: "resnet44-014dd654.th",
    56: "resnet56-4bfd9763.th",
}


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


def small_convnet(*, seed: int = 0) -> nn.Sequential:
    """Return a small convolutional network for 8 x 8 grey images with 64 features.

    Three 3 x 3 convolutions with BatchNorm and ReLU (16, 32, 64 channels; the second and third
    with stride 2), then the mean over positions: (N, 1, H, W) to (N, 64). The initialisation is
    drawn from `seed`; the global random state is not changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *_block(1, 16, stride=1),
            *_block(16, 32, stride=2),
            *_block(32, 64, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


def cifar_resnet(depth: int, *, weights: Path | None = None) -> nn.Sequential:
    """Return a CIFAR ResNet pretrained on CIFAR-10, for uint8 images (N, 3, 32, 32), 64 features.

    Without `weights` the public checkpoint is taken from `weights/` below the data folder, or
    downloaded there with a check of its hash.
    Source: He et al. 2016; checkpoints of akamaster/pytorch_resnet_cifar10 (BSD 2-clause).

    Raises
    ------
    ValueError
        If the depth is not 20, 32, 44 or 56, or a local file does not fit.
    """
    network = CifarResNet(depth)
    file = weights or find_weights(_CIFAR_FILES[depth]) or _download(_CIFAR_FILES[depth])
    load_checkpoint(network, file, ignore=("linear.",))
    return nn.Sequential(Normalise(CHECKPOINT_MEAN, CHECKPOINT_STD), network)


def cifar_resnet18(*, width: int = 64, seed: int = 0) -> nn.Sequential:
    """Return an untrained ResNet-18 with CIFAR stem for uint8 images, 8 * width features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(Normalise(CIFAR_MEAN, CIFAR_STD), resnet18_cifar_stem(width=width))


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification models."""
    from torchvision import models

    return models.list_models(module=models)


def torchvision_backbone(name: str, *, weights: Path | str = "DEFAULT") -> nn.Sequential:
    """Return any torchvision classification model without its classifier, for uint8 images.

    Its feature is the input of the classifier after pooling, and it is flattened. The normalisation
    is that of the model's default weights.

    Parameters
    ----------
    name
        One of `torchvision_names()`.
    weights
        Name of torchvision weights ("DEFAULT", "IMAGENET1K_V1", ...), which are downloaded below
        the data folder, or a local checkpoint file of the same model. The file
        `weights/NAME-imagenet.pth` below the data folder takes the place of "DEFAULT".

    Raises
    ------
    ValueError
        If the model or the weights are unknown, or a local file does not fit.
    """
    from torchvision import models

    check_choice("backbone", name, torchvision_names())
    known = models.get_model_weights(name)
    file = Path(weights) if Path(weights).is_file() else None
    if file is None:
        valid = dict.fromkeys(["DEFAULT", *known.__members__, "a local file"])
        check_choice(f"weights of {name}", weights, valid)
    if weights == "DEFAULT":
        file = find_weights(f"{name}-imagenet.pth")
    if file:
        network = models.get_model(name, weights=None)
        load_checkpoint(network, file)
    else:
        network = _download_model(name, known[str(weights)])
    if hasattr(network, "aux_logits"):  # GoogLeNet and Inception: further outputs in train mode
        network.aux_logits = False  # pyright: ignore[reportArgumentType]
    part = next(p for p in ("fc", "classifier", "head", "heads") if hasattr(network, p))
    # SqueezeNet alone pools inside its classifier.
    pooled = nn.AdaptiveAvgPool2d(1) if name.startswith("squeezenet") else nn.Identity()
    setattr(network, part, pooled)
    preset = known["DEFAULT"].transforms()
    return nn.Sequential(Normalise(preset.mean, preset.std), network, nn.Flatten())


def fingerprint(backbone: nn.Module) -> str:
    """Return 12 hex digits of the SHA-256 of a backbone's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


@torch.no_grad()
def extract_features(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return features (N, h) of images (N, C, H, W) in eval mode, without gradients.

    The training mode of every module is restored afterwards.
    """
    training = [module for module in backbone.modules() if module.training]
    backbone.eval()
    features = torch.cat([backbone(batch) for batch in forward_batches(images)])
    for module in training:
        module.training = True
    return features


def _download(file: str) -> Path:
    folder = data_root() / "weights"
    with one_process("weights"):
        torch.hub.load_state_dict_from_url(
            f"{_CIFAR_ADDRESS}/{file}",
            model_dir=str(folder),
            map_location="cpu",
            check_hash=True,
            weights_only=True,
        )
    return folder / file


def _download_model(name: str, weights: "WeightsEnum") -> nn.Module:
    from torchvision import models

    before = torch.hub.get_dir()
    torch.hub.set_dir(str(data_root() / "torch"))
    try:
        with one_process("weights"):
            return models.get_model(name, weights=weights)
    finally:
        torch.hub.set_dir(before)


def _block(channels_in: int, channels_out: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
