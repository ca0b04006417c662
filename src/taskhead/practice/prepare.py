"""From a folder of images to a finetuned model with a report, within a budget of time."""

import platform
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taskhead import __version__
from taskhead.method.batches import LabelledImages
from taskhead.method.checks import check_positive, check_seed, check_whole
from taskhead.method.evaluation import predict
from taskhead.method.features import fingerprint
from taskhead.method.finetuning import finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import EnergyNotReached, Prepared, views_that_fit
from taskhead.models.backbones import (
    FOR_IMAGES,
    check_backbone,
    check_weights,
    interpolation,
    pretrained_backbone,
)
from taskhead.models.checkpoints import weights_label
from taskhead.practice.model_files import save_model
from taskhead.practice.names import in_words
from taskhead.practice.outcome import Final, Outcome
from taskhead.practice.recommend import END, Advice, BudgetTooShort, recommend
from taskhead.practice.splits import joined
from taskhead.tasks.folders import folder_label, load_task
from taskhead.tasks.found import find_images
from taskhead.tasks.names import printable
from taskhead.tasks.storage import check_writable
from taskhead.tasks.task import Task
from taskhead.tasks.words import describe

WRITING = 15  # seconds of the budget to write model and report
SIDES = {"cpu": 96}  # of images by device, in pixels
SIDE = 224
_DRAWN = (0, *(2**n for n in range(9)), END)  # epochs at which the energy is drawn


def prepare(
    folder: Path,
    out: Path,
    *,
    backbone: str = "efficientnet_lite0",
    weights: Path | str | None = None,
    labels: Path | None = None,
    domain: str | None = None,
    image_size: int | None = None,
    minutes: float = 20.0,
    spent: float = 0.0,
    augment: str | None = "crop-flip",
    seed: int = 0,
    device: torch.device | str = "cpu",
    skip_unreadable: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Prepare a model for the images of a folder, and write it to `out`.

    The images are read as by `find_images`, the head preparation and the rate are those of
    `recommend`. The recommended preparation, no probing and probing to the end are then finetuned
    on all images but those for testing. A call that was stopped continues, as finished finetunings
    of the search are kept in `out`.

    Parameters
    ----------
    folder, labels, domain, skip_unreadable
        The images; see `find_images`.
    out
        The folder for the model and `runs.csv`, the finetunings of the search.
    backbone, weights
        As for `pretrained_backbone`.
    image_size
        Side of the images in pixels; 96 on the CPU and 224 elsewhere if it is None.
    minutes
        The budget of time, above 0. What of the last two finetunings does not fit is left out.
    spent
        Seconds of the budget that are over, as by imports.
    augment, seed
        As for `recommend`.
    device
        Where to compute.
    say
        Called with each line of progress.

    Raises
    ------
    ValueError
        If the images, the backbone or an option do not fit; nothing has been computed then.
    BudgetTooShort
        If the budget has no room for the search; see `recommend`.
    """
    began = time.monotonic() - spent
    check_positive("minutes", minutes)
    check_seed(seed)
    device = torch.device(device)
    size = SIDES.get(device.type, SIDE) if image_size is None else image_size
    check_whole("image_size", size, least=8)
    check_backbone(backbone, FOR_IMAGES)
    check_weights(backbone, weights)

    def seconds_left() -> float:
        return 60 * minutes - WRITING - (time.monotonic() - began)

    def say_in_time(line: str) -> None:
        say(f"{line}; {max(0.0, seconds_left() + WRITING) / 60:.1f} minutes left")

    found = find_images(folder, labels=labels, domain=domain, skip_unreadable=skip_unreadable)
    for line in describe(found):
        say(line)
    check_writable(out)
    network = pretrained_backbone(backbone, weights=weights, device=device)
    resized = interpolation(backbone)
    task = load_task(found.splits, found.ood, image_size=size, interpolation=resized).to(device)
    own_val = "val" in found.called
    train = task.train if own_val else joined(task.train, task.val)
    if not own_val:
        say(
            f"each split of the search holds out a fifth of the {len(train)} images for training "
            "and validation, drawn anew; the final models learn from all of them"
        )
    facts = {
        "backbone": backbone,
        "weights": weights_label(weights),
        "backbone_sha256": fingerprint(network),
        "data": folder_label(folder),
        "classes": list(map(printable, found.classes)),
        "image_size": size,
        "interpolation": resized,
        "seed": seed,
    }
    for_search = seconds_left() / 60
    try:
        advice = recommend(
            network,
            train,
            task.val if own_val else None,
            minutes=max(for_search, sys.float_info.min),
            to_follow=3,
            augment=augment,
            seed=seed,
            device=device,
            ledger=out / "search.jsonl",
            say=say_in_time,
        )
    except BudgetTooShort as error:
        raise BudgetTooShort(error.needed + minutes - for_search, minutes) from None
    say(advice.reason)
    ways = dict.fromkeys([advice.preparation, HeadPreparation(tau=0), HeadPreparation(tau=END)])
    drawn = [replace(advice.preparation, tau=tau, energy=None) for tau in _DRAWN]
    heads = _heads(network, train, [*ways, *drawn], advice.finetuning)
    finals: dict[HeadPreparation, Final] = {}
    needed = 0.0
    for way in ways:
        if finals and seconds_left() < needed:
            say(f"{in_words(way)} is left out, as its finetuning would not end in time")
            continue
        needed = seconds_left()
        finals[way] = _finish(heads[way], train, task, advice)
        needed -= seconds_left()
        say_in_time(f"{in_words(way)}: test accuracy {finals[way].accuracy(task):.3f}")
    facts |= _facts(advice, finals, task, facts["classes"])
    best = finals[advice.preparation]
    save_model(out, best.network, facts, task.train.images[:2])
    advice.evidence.to_csv(out / "runs.csv", index=False)
    return Outcome(found, task, advice, finals, facts, [heads[way] for way in drawn])


def _heads(
    network: nn.Module,
    train: LabelledImages,
    ways: Iterable[HeadPreparation],
    finetuning: dict[str, Any],
) -> dict[HeadPreparation, Prepared]:
    """Prepare heads; one whose energy is out of reach on these images is the nearest there is."""
    how = {name: finetuning[name] for name in ("augment", "batch_size", "seed")}
    how["views"] = views_that_fit(len(train))
    different = list(dict.fromkeys(ways))
    try:
        heads = prepare_heads(network, train, different, **how)
    except EnergyNotReached as error:
        heads = error.prepared
    return dict(zip(different, heads, strict=True))


def _finish(head: Prepared, train: LabelledImages, task: Task, advice: Advice) -> Final:
    """Finetune from a prepared head on all images but those for testing."""
    result = finetune(head.backbone, head.head, train, task.val, **advice.finetuning)
    last = nn.Sequential(OrderedDict(backbone=result.last[0], head=result.last[1])).eval()
    return Final(head, last, predict(last, task.test.images))


def _facts(
    advice: Advice, finals: dict[HeadPreparation, Final], task: Task, classes: list[str]
) -> dict[str, Any]:
    best = finals[advice.preparation].by_class(task)
    return {
        "preparation": asdict(advice.preparation),
        "energy": finals[advice.preparation].head.aie,
        "finetuning": advice.finetuning,
        "reason": advice.reason,
        "told_apart": advice.told_apart,
        "images": {name: len(getattr(task, name)) for name in ("train", "val", "test")},
        "test_accuracy": {in_words(way): f.accuracy(task) for way, f in finals.items()},
        "macro_test_accuracy": float(best.mean()),
        "test_accuracy_by_class": dict(best.rename(index=dict(enumerate(classes)))),
        "versions": {
            "python": platform.python_version(),
            "taskhead": __version__,
            **{name: version(name) for name in ("torch", "torchvision")},
        },
    }
