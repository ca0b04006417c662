"""What is measured: whole energy sweeps, and a grid of probing times on many views."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models

from benchmarks.probing import probing
from benchmarks.sweeps import sweep
from benchmarks.work import Work
from taskhead.models.resnets import CifarResNet

PRESETS = ("smoke", "laptop", "gpu")
REPETITIONS = {"smoke": 1, "laptop": 3, "gpu": 3}
DIGITS_TAUS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
AUTHORS_TAUS = [0, 1, 2, 4, 8, 16, 32, 50, 100, 199]


def digits_sweep(preset: str, device: torch.device) -> Work:
    """Run the energy sweep of digits at this preset."""
    shares = (2, 20) if preset == "smoke" else (20, 60)
    grid = {"setting": "digits", "preset": preset}
    options = {"hp_lr": 0.05, "tau": [0, 16] if preset == "smoke" else DIGITS_TAUS}
    return sweep(grid, options, device, shares, REPETITIONS[preset], least=4)


def image_sweep(preset: str, device: torch.device) -> Work:
    """Run an energy sweep of ResNet-20 on one seed; it probes on clean features, as the baseline.

    Preset smoke takes images and weights made here in place of CIFAR-100 and the public checkpoint.
    """
    least = 2 if device.type == "cpu" else 6
    return _on_resnet20(sweep, preset, device, views=0, least=least)


def probing_grid(preset: str, device: torch.device) -> Work:
    """Probe to the taus of `image_sweep` on ten views, with the energy of ten others."""
    return _on_resnet20(probing, preset, device, views=10, least=15)


def squeezenet_sweep(preset: str, device: torch.device) -> Work:
    """Run an energy sweep of SqueezeNet at 96 pixels on one seed, as `image_sweep` does."""
    options: dict[str, Any] = {"backbone": "squeezenet1_1", "hp_lr": 1e-3, "views": 0}
    if preset != "smoke":
        grid = {"setting": "imagenet-to-cifar10", "preset": "laptop", "seeds": [0]}
        options |= {"tau": AUTHORS_TAUS, "ft_epochs": 20}
        return sweep(grid, options, device, (2, 6), REPETITIONS[preset], least=1)
    network = models.squeezenet1_1(weights=None)
    return _on_made(sweep, options | {"image_size": 32}, network, device, least=1)


WORKS = {
    "digits-sweep": digits_sweep,
    "image-sweep": image_sweep,
    "probing-grid": probing_grid,
}
ON_A_GPU = {"resnet20": image_sweep, "squeezenet": squeezenet_sweep}


def _on_resnet20(
    work: Callable[..., Work], preset: str, device: torch.device, *, views: int, least: float
) -> Work:
    """Do a work on CIFAR-100 and the public ResNet-20, with the authors' batch size and taus."""
    options: dict[str, Any] = {"backbone": "resnet20", "image_size": 32, "batch_size": 128}
    options |= {"hp_lr": 0.03, "views": views}
    if preset == "smoke":
        return _on_made(work, options, CifarResNet(20), device, least=least)
    grid = {"setting": "cifar10-to-cifar100", "preset": "laptop", "seeds": [0]}
    options |= {"train_per_class": 20 if preset == "gpu" else 5, "val_per_class": 5}
    options |= {"test_per_class": 5, "tau": AUTHORS_TAUS, "ft_epochs": 20}
    return work(grid, options, device, (2, 6), REPETITIONS[preset], least=least)


def _on_made(
    work: Callable[..., Work],
    options: dict[str, Any],
    network: nn.Module,
    device: torch.device,
    *,
    least: float,
) -> Work:
    """Do a small work on images and weights made here."""
    with TemporaryDirectory() as folder:
        options |= {"data": made_images(Path(folder))}
        options |= {"weights": made_weights(Path(folder), network)}
        options |= {"train_per_class": 4, "tau": [0, 1], "ft_epochs": 3}
        grid = {"setting": "imagefolder", "preset": "smoke", "seeds": [0]}
        return work(grid, options, device, (1, 2), 1, least=least)


def made_images(folder: Path, classes: Sequence[int] = range(10)) -> str:
    """Write images of noise, each class around a brightness of its own; return their folder."""
    rng = np.random.default_rng(0)
    for label in classes:
        own = folder / "images" / str(label)
        own.mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 100, size=(32, 32, 3)) + 15 * label
            Image.fromarray(pixels.astype(np.uint8)).save(own / f"{number}.png")
    return str(folder / "images")


def made_weights(folder: Path, network: nn.Module) -> str:
    """Write weights of an untrained network whose features stay small; return their file."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    torch.save(network.state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")
