"""Residual networks for 32-pixel images: He et al. 2016, and ResNet-18 with a CIFAR stem."""

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import pad, relu

if TYPE_CHECKING:
    from torchvision.models import ResNet

CIFAR_DEPTHS = (20, 32, 44, 56)


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions; the shortcut subsamples and pads with zero channels (option A)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        """Set the layers; `stride` is that of the first convolution and of the shortcut."""
        super().__init__()
        self.stride = stride
        self.extra_channels = channels_out - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, channels_out, H / stride, W / stride)."""
        shortcut = x
        if self.extra_channels:
            before = self.extra_channels // 2
            shortcut = x[:, :, :: self.stride, :: self.stride]
            shortcut = pad(shortcut, (0, 0, 0, 0, before, self.extra_channels - before))
        x = self.conv2(relu(self.bn1(self.conv1(x)), inplace=True))
        return relu(self.bn2(x).add_(shortcut), inplace=True)


class CifarResNet(nn.Module):
    """ResNet for CIFAR of He et al. 2016, section 4.2: (N, 3, 32, 32) to features (N, 64).

    The names of its parameters are those of the public CIFAR-10 checkpoints, without the
    classifier `linear`.
    """

    def __init__(self, depth: int) -> None:
        """Build 3 stages of (depth - 2) / 6 blocks with 16, 32 and 64 channels.

        Raises `ValueError` if the depth is not 20, 32, 44 or 56.
        """
        super().__init__()
        if depth not in CIFAR_DEPTHS:
            raise ValueError(f"depth must be one of {CIFAR_DEPTHS}, got {depth}")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        self.layer1, self.layer2, self.layer3 = (
            _stage(before, after, n_blocks=(depth - 2) // 6) for before, after in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to features (N, 64)."""
        x = relu(self.bn1(self.conv1(x)), inplace=True)
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))


def resnet18_cifar_stem(*, width: int = 64) -> "ResNet":
    """Return torchvision's ResNet-18 with a 3 x 3 stem of stride 1 and without max pooling.

    It maps (N, 3, 32, 32) to features (N, 8 * width). `width` is the number of channels of the
    first stage.

    Raises `ValueError` if the width is below 1.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    network = ResNet(BasicBlock, [2, 2, 2, 2])
    network.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
    network.bn1 = nn.BatchNorm2d(width)
    network.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    network.inplanes = width
    for stage in range(4):
        blocks = network._make_layer(BasicBlock, width * 2**stage, 2, stride=1 if stage == 0 else 2)
        setattr(network, f"layer{stage + 1}", blocks)
    network.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _stage(channels_in: int, channels_out: int, *, n_blocks: int) -> nn.Sequential:
    stride = 1 if channels_in == channels_out else 2
    rest = [CifarBlock(channels_out, channels_out, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(CifarBlock(channels_in, channels_out, stride), *rest)
