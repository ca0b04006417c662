"""Named settings as data: a pretrained backbone, a downstream task, and the rates to use."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from taskhead.backbones import DIGITS_FEATURES, small_convnet
from taskhead.checks import check_choice
from taskhead.data import Task, load_digits, split


@dataclass(frozen=True)
class Setting:
    """What every setting has: a name, a description, and what it needs to run."""

    name: str
    description: str
    needs: str


@dataclass(frozen=True)
class Pretraining:
    """How a backbone is pretrained on a source task when no checkpoint exists."""

    load_source: Callable[[], Task]
    epochs: int
    lr: float
    batch_size: int


@dataclass(frozen=True)
class NetworkSetting(Setting):
    """A setting of real images: backbone, downstream task for a seed, and rates with a reason."""

    build_backbone: Callable[[], nn.Module]
    n_features: int
    pretraining: Pretraining
    load_task: Callable[[int], Task]
    init_scale: float
    hp_lr: float
    ft_lr: float
    weight_decay: float
    batch_size: int
    rates_reason: str


TOY = Setting(
    name="toy",
    description="two-layer linear model on orthonormal Gaussian inputs with targets +1 and -1",
    needs="no download, no GPU",
)

DIGITS = NetworkSetting(
    name="digits",
    description="small convolutional network pretrained on handwritten digits 0-4, "
    "finetuned on 50 images of 5-9",
    needs="no download (images come with scikit-learn), no GPU",
    build_backbone=small_convnet,
    n_features=DIGITS_FEATURES,
    pretraining=Pretraining(
        load_source=lambda: split(
            load_digits(range(5)), n_classes=5, train_per_class=120, val_per_class=20, seed=0
        ),
        epochs=60,
        lr=0.05,
        batch_size=64,
    ),
    load_task=lambda seed: split(
        load_digits(range(5, 10)), n_classes=5, train_per_class=10, val_per_class=40, seed=seed
    ),
    init_scale=3.0,
    hp_lr=0.05,
    ft_lr=0.01,
    weight_decay=5e-4,
    batch_size=32,
    rates_reason="of the finetuning rates at which no run of the rate search diverged, the "
    "smallest whose mean validation accuracy is within one standard error of the best; the "
    "probing rate only sets how fast tau passes",
)

SETTINGS: dict[str, Setting] = {setting.name: setting for setting in (TOY, DIGITS)}


def get_setting(name: str) -> Setting:
    """Return the setting with this name.

    Raises
    ------
    ValueError
        If there is none; the message lists the valid names.
    """
    check_choice("setting", name, SETTINGS)
    return SETTINGS[name]
