"""Named settings as data: a downstream task, the backbones that fit, and the rates to use."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from taskhead.backbones import torchvision_names
from taskhead.checks import check_choice
from taskhead.data import Task, data_root
from taskhead.pretraining import CIFAR_BACKBONES
from taskhead.tasks import (
    NO_DOMAIN,
    Draw,
    dataset_task,
    digits_task,
    domain_names,
    folder_label,
    folder_task,
)

IMAGENET_BACKBONES = ("resnet50", "squeezenet1_1")  # those of the presets
PACS_DOMAINS = ("art_painting", "cartoon", "photo", "sketch")


@dataclass(frozen=True)
class Setting:
    """What every setting has: a name, a description, and what it needs to run."""

    name: str
    description: str
    needs: str


@dataclass(frozen=True)
class NetworkSetting(Setting):
    """A setting of real images: task, fitting backbones, and rates with a reason.

    `backbones` fit, and with `any_torchvision` all of torchvision's. `augment` names an
    augmentation of the finetuning images. `data` labels the folder of the open setting; every other
    setting knows its own data and has "-".
    """

    backbones: Sequence[str]
    load_task: Callable[[Draw], Task]
    hp_lr: float
    ft_lr: float
    rates_reason: str
    batch_size: int = 32
    weight_decay: float = 5e-4
    init_scale: float = 1.0
    augment: str = "crop-flip"
    domains: Sequence[str] = (NO_DOMAIN,)
    data: str = "-"
    weights: str = "DEFAULT"
    any_torchvision: bool = False

    def check_backbone(self, name: str) -> None:
        """Raise `ValueError` unless this backbone fits; the message lists those that do."""
        if name not in self.backbones:  # torchvision takes more than a second to name its own
            others = torchvision_names() if self.any_torchvision else ()
            check_choice(
                f"backbone of setting {self.name}", name, dict.fromkeys([*self.backbones, *others])
            )


TOY = Setting(
    name="toy",
    description="two-layer linear model on orthonormal Gaussian inputs with targets +1 and -1",
    needs="no download, no GPU",
)

_SEARCHED = (
    "of the finetuning rates at which no run of the rate search diverged, the smallest whose mean "
    "validation accuracy is within one standard error of the best; the probing rate only sets how "
    "fast tau passes"
)

DIGITS = NetworkSetting(
    name="digits",
    description="small convolutional network pretrained on handwritten digits 0-4, "
    "finetuned on few images of 5-9",
    needs="no download (images come with scikit-learn), no GPU",
    backbones=("small_convnet",),
    load_task=partial(digits_task, classes=range(5, 10)),
    hp_lr=0.05,
    ft_lr=0.01,
    rates_reason=_SEARCHED,
    init_scale=3.0,
    augment="none",
)

CIFAR10_TO_CIFAR100 = NetworkSetting(
    name="cifar10-to-cifar100",
    description="CIFAR-10 network, finetuned on few images of each class of CIFAR-100",
    needs="CIFAR-100 and a CIFAR-10 checkpoint, both downloaded",
    backbones=CIFAR_BACKBONES,
    load_task=partial(dataset_task, "cifar100"),
    hp_lr=0.03,
    ft_lr=0.01,
    rates_reason=_SEARCHED,
)
CIFAR10_TO_STL10 = replace(
    CIFAR10_TO_CIFAR100,
    name="cifar10-to-stl10",
    description="CIFAR-10 network, finetuned on STL-10 at 32 pixels",
    needs="STL-10 and a CIFAR-10 checkpoint, both downloaded",
    load_task=partial(dataset_task, "stl10"),
    hp_lr=0.01,
    rates_reason="not searched; the finetuning rate is that of cifar10-to-cifar100",
)
IMAGENET_TO_CIFAR10 = NetworkSetting(
    name="imagenet-to-cifar10",
    description="ImageNet network, finetuned on few enlarged images of each class of CIFAR-10",
    needs="CIFAR-10 and an ImageNet checkpoint, both downloaded",
    backbones=IMAGENET_BACKBONES,
    any_torchvision=True,
    load_task=partial(dataset_task, "cifar10"),
    hp_lr=1e-4,
    ft_lr=1e-3,
    rates_reason=_SEARCHED,
)
IMAGENET_TO_STL10 = replace(
    IMAGENET_TO_CIFAR10,
    name="imagenet-to-stl10",
    description="ImageNet network, finetuned on STL-10",
    needs="STL-10 and an ImageNet checkpoint, both downloaded",
    load_task=partial(dataset_task, "stl10"),
    rates_reason="not searched; the rates are those of imagenet-to-cifar10",
)
IMAGENET_TO_FLOWERS102 = replace(
    IMAGENET_TO_STL10,
    name="imagenet-to-flowers102",
    description="ImageNet network, finetuned on the ten training images of each of 102 flowers",
    needs="Flowers102 and an ImageNet checkpoint, both downloaded",
    load_task=partial(dataset_task, "flowers102"),
)
IMAGENET_TO_PACS = replace(
    IMAGENET_TO_CIFAR10,
    name="imagenet-to-pacs",
    description="ImageNet network, finetuned on few images of each class of one domain of PACS; "
    "the other three domains test it out of distribution",
    needs="PACS as pacs/DOMAIN/CLASS/* in the data folder, put there by hand, and an ImageNet "
    "checkpoint, downloaded",
    load_task=lambda draw: folder_task(data_root() / "pacs", draw),
    domains=PACS_DOMAINS,
)
IMAGEFOLDER = replace(
    IMAGENET_TO_STL10,
    name="imagefolder",
    description="a network of your choice, finetuned on a folder of your own images",
    needs="a folder DIR/CLASS/*, DIR/train/CLASS/* or DIR/DOMAIN/CLASS/*, given with --data",
    backbones=(*CIFAR_BACKBONES, *IMAGENET_BACKBONES),
)

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        TOY,
        DIGITS,
        CIFAR10_TO_CIFAR100,
        CIFAR10_TO_STL10,
        IMAGENET_TO_CIFAR10,
        IMAGENET_TO_STL10,
        IMAGENET_TO_PACS,
        IMAGENET_TO_FLOWERS102,
        IMAGEFOLDER,
    )
}


def get_setting(name: str) -> Setting:
    """Return the setting with this name.

    Raises
    ------
    ValueError
        If there is none; the message lists the valid names.
    """
    check_choice("setting", name, SETTINGS)
    return SETTINGS[name]


def configure(
    setting: Setting,
    *,
    data: str = "",
    weights: str = "",
    hp_lr: float = 0.0,
    ft_lr: float = 0.0,
) -> Setting:
    """Return the setting with data, weights and rates of the user's; "" and 0 keep its own.

    Raises
    ------
    ValueError
        If the open setting is given no folder, another setting is given one, or a rate is negative
        or infinite.
    """
    if not isinstance(setting, NetworkSetting):
        return setting
    for name, rate in (("hp_lr", hp_lr), ("ft_lr", ft_lr)):
        if not 0 <= rate < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {rate}")
    setting = replace(
        setting,
        weights=weights or setting.weights,
        hp_lr=float(hp_lr) or setting.hp_lr,
        ft_lr=float(ft_lr) or setting.ft_lr,
    )
    if setting.name != IMAGEFOLDER.name:
        if data:
            raise ValueError(
                f"setting {setting.name} has its own data; a folder, here {data!r}, is for the "
                f"setting {IMAGEFOLDER.name}"
            )
        return setting
    if not data:
        raise ValueError(f"setting {setting.name} needs a folder of images; give data")
    folder = Path(data)
    return replace(
        setting,
        data=folder_label(folder),
        load_task=partial(folder_task, folder),
        domains=domain_names(folder),
    )
