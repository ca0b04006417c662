"""Pretrained feature extractors z = f(x; B)."""

import torch
from torch import Tensor, nn

DIGITS_FEATURES = 64


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
            *_block(32, DIGITS_FEATURES, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


@torch.no_grad()
def extract_features(backbone: nn.Module, images: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Return features (N, h) of images (N, C, H, W) in eval mode, without gradients.

    The training mode of every module is restored afterwards.
    """
    training = [module for module in backbone.modules() if module.training]
    backbone.eval()
    features = torch.cat([backbone(batch) for batch in images.split(batch_size)])
    for module in training:
        module.training = True
    return features


def _block(channels_in: int, channels_out: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
