"""What runs need beside their keys: backbone, images and features, each made once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taskhead.experiments.cache import cache_last
from taskhead.experiments.run import ProbingRun, part_of
from taskhead.experiments.settings import Data, Setting
from taskhead.method.features import extract_features, fingerprint
from taskhead.method.head_preparation import HeadPreparation
from taskhead.models.backbones import interpolation, pretrained_backbone
from taskhead.tasks.datasets import dataset_task, digits_task, is_at_hand
from taskhead.tasks.folders import folder_task
from taskhead.tasks.found import find_images
from taskhead.tasks.solar_cells import solar_cells_task
from taskhead.tasks.storage import data_root
from taskhead.tasks.task import Draw, Task
from taskhead.tasks.texts import text_task
from taskhead.tasks.words import describe

Row = dict[str, Any]
Found = list[tuple[Any, list[Row]]]  # runs with their rows: as a rule one each


@dataclass(frozen=True)
class Inputs:
    """A setting, the device, and the user's own folder and weights, None where not given."""

    setting: Setting
    device: torch.device
    folder: Path | None = None
    weights: Path | str | None = None


@dataclass(frozen=True)
class Unit:
    """Runs that are computed by one call, and the preparations of all that share its probing."""

    runs: tuple[Any, ...]
    preparations: tuple[HeadPreparation, ...] = ()


def units_of_equal(key: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Unit]]:
    """Return a function that puts neighbouring runs with the same `key(run)` together."""
    return lambda runs: [Unit(tuple(group)) for _, group in groupby(runs, key)]


@dataclass(frozen=True, eq=False)
class Prerequisites:
    """A backbone with its fingerprint, a task, and z_0 (N, h) of its validation images.

    `source` is the backbone's own task, with as many images of each class; None where it is not at
    hand.
    """

    backbone: nn.Module
    sha256: str
    task: Task
    z0: Tensor
    source: Task | None = None


def load(inputs: Inputs, run: ProbingRun) -> Prerequisites:
    """Return what a run starts from.

    Raises `ValueError` if the backbone does not take images of the run's size, or the task has too
    few.
    """
    draw = replace(part_of(run, Draw), interpolation=interpolation(run.backbone))
    return _load(inputs, run.backbone, draw)


@cache_last
def _load(inputs: Inputs, name: str, draw: Draw) -> Prerequisites:
    backbone, sha256 = _load_backbone(inputs, name)
    setting, device = inputs.setting, inputs.device
    task = load_task(setting, draw, inputs.folder).to(device)
    source = load_source(setting, draw)
    try:
        z0 = extract_features(backbone, task.val.images)
    except ValueError as error:
        raise ValueError(f"{name} with image_size {draw.image_size}: {error}") from None
    return Prerequisites(backbone, sha256, task, z0, source.to(device) if source else None)


@cache_last
def _load_backbone(inputs: Inputs, name: str) -> tuple[nn.Module, str]:
    backbone = pretrained_backbone(name, weights=inputs.weights, device=inputs.device)
    return backbone, fingerprint(backbone)


def load_task(setting: Setting, draw: Draw, folder: Path | None = None) -> Task:
    """Draw the images of a task; `folder` is that of the user where the setting has none.

    Raises `ValueError` if the setting has no images, they cannot be read, or a class has too few.
    """
    if setting.data is None:
        raise ValueError(f"setting {setting.name} has no images")
    return _draw(setting.data, draw, folder)


def describe_images(inputs: Inputs, runs: Sequence[ProbingRun]) -> Iterator[str]:
    """Say in lines what a folder of images holds, and how many of them serve for what.

    Raises `ValueError` if images or texts that are put in place by hand are not there.
    """
    setting, data = inputs.setting, inputs.setting.data
    if data is None or data.source not in ("folder", "texts"):
        return
    place = _place(data, inputs.folder)
    if not place.exists():
        raise ValueError(
            f"setting {setting.name} needs {setting.needs}; {place} does not exist, and "
            "TASKHEAD_DATA may name another data folder"
        )
    if data.source == "folder":
        for run in {run.domain: run for run in runs}.values():
            limits = part_of(run, Draw).limits
            yield from describe(find_images(place, domain=run.domain, limits=limits, examine=False))


def load_source(setting: Setting, draw: Draw) -> Task | None:
    """Draw images of the task that the backbone was pretrained on; None where it is not at hand.

    Nothing is downloaded for it. Raises `ValueError` if the images cannot be read.
    """
    source = setting.source
    if source is None or (source.source == "dataset" and not is_at_hand(str(source.name))):
        return None
    return _draw(source, replace(draw, domain=None))


def _draw(data: Data, draw: Draw, folder: Path | None = None) -> Task:
    match data.source:
        case "digits":
            return digits_task(draw, classes=range(int(data.classes[0]), int(data.classes[-1]) + 1))
        case "dataset":
            return dataset_task(str(data.name), draw, classes=[str(each) for each in data.classes])
        case "solar_cells":
            return solar_cells_task(draw)
        case "folder":
            return folder_task(_place(data, folder), draw)
        case "texts":
            return text_task(_place(data, folder), draw)


def _place(data: Data, given: Path | None) -> Path:
    """Return the folder of images or the file of texts: the user's, or that in the data folder."""
    own = f"text/{data.name}.csv" if data.source == "texts" else str(data.name)
    return given or data_root() / own
