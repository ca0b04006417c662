"""How much each preset measures, on which task, and what a row of the report holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from taskhead.data import LabelledImages, Task, split
from taskhead.resnets import CifarResNet
from taskhead.settings import CIFAR10_TO_CIFAR100, NetworkSetting
from taskhead.tasks import Draw


@dataclass(frozen=True)
class Scale:
    """How much a preset measures.

    `made` takes images and weights made here in place of CIFAR-100 and the public checkpoint.
    `shares` are the two numbers of epochs that the baseline runs of an image network.
    """

    made: bool
    repetitions: int
    hp_per_class: int
    hp_taus: Sequence[int]
    head_epochs: int
    ft_per_class: int
    ft_taus: Sequence[int]
    ft_epochs: int
    shares: tuple[int, int]
    digits_shares: tuple[int, int]
    toy_runs: int


FILE = "resnet20.pt"
AUTHORS_TAUS = (0, 1, 2, 4, 8, 16, 32, 50, 100, 199)
LAPTOP = Scale(
    made=False,
    repetitions=3,
    hp_per_class=50,
    hp_taus=AUTHORS_TAUS,
    head_epochs=20,
    ft_per_class=5,
    ft_taus=AUTHORS_TAUS,
    ft_epochs=20,
    shares=(2, 6),
    digits_shares=(20, 60),
    toy_runs=200,
)
SCALES = {
    "smoke": Scale(
        made=True,
        repetitions=1,
        hp_per_class=15,  # more than one batch, so that its order matters
        hp_taus=(0, 1, 4),
        head_epochs=1,
        ft_per_class=4,
        ft_taus=(0, 1),
        ft_epochs=3,
        shares=(1, 2),
        digits_shares=(2, 20),
        toy_runs=4,
    ),
    "laptop": LAPTOP,
    "gpu": replace(LAPTOP, ft_per_class=50),
}


@dataclass(frozen=True)
class Work:
    """One piece of work; lists hold seconds, one for each repetition.

    `baseline` is B1 where there are two variants. The target is a ratio of baseline to ours of at
    `least` so much, or `most` seconds where there is no baseline. `floor` is the least time that
    the arithmetic of the work takes at the machine's measured peak. `difference` is the largest
    relative difference between what both sides computed, `accuracy_gap` that of test accuracies in
    [0, 1]. `warm_up` are the seconds of a first round that is not counted.
    """

    work: str
    ours: list[float]
    how: str
    least: float = 0
    most: float = 0
    baseline: list[float] | None = None
    b0: list[float] | None = None
    floor: float | None = None
    difference: float | None = None
    accuracy_gap: float | None = None
    warm_up: float | None = None


def made_task(draw: Draw) -> Task:
    """Return a task of ten classes of noise, each around a brightness of its own."""
    rng = np.random.default_rng(0)
    per_class = draw.train_per_class + draw.val_per_class + 2
    labels = np.repeat(np.arange(10), per_class)
    noise = rng.integers(0, 100, size=(len(labels), 3, draw.image_size, draw.image_size))
    images = (noise + 15 * labels[:, None, None, None]).astype(np.uint8)
    return split(
        LabelledImages(torch.from_numpy(images), torch.from_numpy(labels)),
        n_classes=10,
        train_per_class=draw.train_per_class,
        val_per_class=draw.val_per_class,
        seed=draw.seed,
    )


def image_setting(scale: Scale) -> NetworkSetting:
    """Return the setting that is measured, with the authors' batch size."""
    setting = replace(CIFAR10_TO_CIFAR100, batch_size=128)
    if not scale.made:
        return setting
    return replace(setting, load_task=made_task, weights=str(Path(_made_weights().name) / FILE))


def task_draw(scale: Scale, per_class: int) -> Draw:
    """Return which images of the setting's task a piece of work takes."""
    val = 2 if scale.made else 5
    return Draw(0, 32, train_per_class=per_class, val_per_class=val, test_per_class=5)


@cache
def _made_weights() -> TemporaryDirectory[str]:
    """Return a folder with weights of an untrained ResNet-20, which goes when this process ends."""
    folder = TemporaryDirectory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(CifarResNet(20).state_dict(), Path(folder.name) / FILE)
    return folder
