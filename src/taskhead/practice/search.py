"""The finetunings behind a recommendation: which, within a budget of time, and none twice."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from taskhead.method.augmentation import Augment
from taskhead.method.batches import LabelledImages
from taskhead.method.features import extract_features, fingerprint
from taskhead.method.finetuning import finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import EnergyNotReached, Prepared, views_that_fit
from taskhead.method.seeds import stream
from taskhead.practice.ledger import Ledger
from taskhead.practice.names import in_words, name_of
from taskhead.practice.splits import Splits

FIRST = 10  # finetunings of full length on the first split
FURTHER = 5  # on each other, as a rule
JOINT_RATE = 0.01  # of probing blocks that are drawn anew; their features change, so none is known
_TIMED, _PASSES = 32, 5  # images, and passes of them through the backbone, to time these


@dataclass(frozen=True)
class Recipe:
    """What all finetunings of a search share."""

    batch_size: int
    weight_decay: float
    augment: str | Augment | None
    seed: int


@dataclass
class Search:
    """Finetunings of one backbone on splits of one's data, until a deadline.

    `to_follow` finetunings on all images are to end before the deadline too. `say` is called with
    a line on each finetuning. `also` is how many preparations are compared beside the usual ones.
    """

    backbone: nn.Module
    splits: Splits
    recipe: Recipe
    ledger: Ledger
    deadline: float
    to_follow: int
    say: Callable[[str], None]
    also: int = 0
    seconds_per_epoch: float = 0.0
    seconds_to_prepare: float = 0.0
    _heads: dict[int, dict[HeadPreparation, Prepared]] = field(default_factory=dict)

    def prepared(
        self, split: int, preparations: Sequence[HeadPreparation]
    ) -> dict[HeadPreparation, Prepared]:
        """Prepare heads on a split, once; what cannot be reached there is said and left out."""
        began, known = time.monotonic(), self._heads.setdefault(split, {})
        missing = [each for each in preparations if each not in known]
        if missing:
            for joint in (False, True):
                alike = [each for each in missing if bool(each.reinitialised_blocks) == joint]
                known |= self._prepare(split, alike, JOINT_RATE if joint else "auto")
            self.seconds_to_prepare = time.monotonic() - began
        return {p: known[p] for p in preparations if known[p].outcome == "done"}

    def _prepare(
        self, split: int, preparations: Sequence[HeadPreparation], lr: float | Literal["auto"]
    ) -> dict[HeadPreparation, Prepared]:
        train, val = self.splits[split]
        if not preparations:
            return {}
        try:
            found = prepare_heads(
                self.backbone,
                train,
                preparations,
                val=val,
                lr=lr,
                batch_size=self.recipe.batch_size,
                views=views_that_fit(len(train)),
                augment=self.recipe.augment,
                seed=self._seed(split),
            )
        except EnergyNotReached as error:
            found = error.prepared
        for each in found:
            if each.outcome != "done":
                self.say(f"{in_words(each.preparation)} is left out: {each.reason}")
        return {each.preparation: each for each in found}

    def estimate(self) -> None:
        """Estimate the times of preparing and of an epoch, from the fastest of some passes."""
        train, seconds = self.splits.train, []
        some = train.images[:_TIMED]
        for _ in range(_PASSES):
            began = time.monotonic()
            extract_features(self.backbone, some).cpu()
            seconds.append(time.monotonic() - began)
        passing = min(seconds) * len(train) / len(some) / self.splits.whole
        views = 2 * views_that_fit(len(train))  # to probe on, and others for the energy
        self.seconds_to_prepare = views * passing
        self.seconds_per_epoch = 3 * passing  # forward, and twice as much backward

    def seconds(self, epochs: int, splits: int) -> float:
        """Return what a search with so many epochs a finetuning takes, with what is to follow."""
        runs = FIRST + self.also + (FURTHER + math.ceil(self.also / 2)) * (splits - 1)
        heads = (1 + splits) * self.seconds_to_prepare  # on the first split in two goes
        return heads + runs * epochs * self.seconds_per_epoch + self._seconds_to_follow(epochs)

    def fits(self, epochs: int, runs: int) -> bool:
        """Say whether so many finetunings on a new split end in time, judged by those before."""
        needed = self.seconds_to_prepare + self.seconds_per_epoch * epochs * runs
        return time.monotonic() + needed + self._seconds_to_follow(epochs) <= self.deadline

    def _seconds_to_follow(self, epochs: int) -> float:
        if not self.to_follow:
            return 0.0
        finetuning = self.to_follow * epochs * self.seconds_per_epoch
        return self.splits.whole * (self.seconds_to_prepare + finetuning)

    def run(self, head: Prepared, *, split: int, lr: float, epochs: int) -> dict[str, Any]:
        """Finetune from a prepared head, unless the ledger has it; return its row."""
        key = {**name_of(head.preparation), "split": split, "lr": lr, "epochs": epochs}
        row = self.ledger.find(key)
        if row is None:
            began = time.monotonic()
            row = key | {"aie": head.aie, **self._finetune(head, split, lr, epochs)}
            row["seconds"] = time.monotonic() - began
            row["seconds_to_prepare"] = self.seconds_to_prepare
            self.ledger.add(row)
            done = row["outcome"] == "done"
            self.say(
                f"{in_words(head.preparation)}, rate {lr:g}, {epochs} epochs, split {split + 1}: "
                + (f"validation accuracy {row['val_accuracy']:.3f}" if done else row["outcome"])
            )
        self.seconds_per_epoch = row["seconds"] / epochs
        self.seconds_to_prepare = row["seconds_to_prepare"]
        return row

    def _seed(self, split: int) -> int:
        return stream(self.recipe.seed, "split", split)

    def _finetune(self, head: Prepared, split: int, lr: float, epochs: int) -> dict[str, Any]:
        train, val = self.splits[split]
        how: dict[str, Any] = {**vars(self.recipe), "seed": self._seed(split)}
        try:
            result = finetune(head.backbone, head.head, train, val, epochs=epochs, lr=lr, **how)
        except FloatingPointError:
            return {"outcome": "diverged", "val_accuracy": 0.0, "val_loss": math.inf}
        last = result.history[-1]
        return {"outcome": "done", "val_accuracy": last.val_accuracy, "val_loss": last.val_loss}


def digest(backbone: nn.Module, parts: Sequence[LabelledImages], recipe: Recipe) -> str:
    """Return 12 hex digits that tell searches on other networks, data or recipes apart."""
    augment = recipe.augment
    if augment is not None and not isinstance(augment, str):
        augment = getattr(augment, "__qualname__", type(augment).__qualname__)
    found = hashlib.sha256(
        f"{fingerprint(backbone)} {vars(recipe) | {'augment': augment}}".encode()
    )
    for part in parts:
        for tensor in (part.images, part.labels):
            found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(tensor.cpu().contiguous().numpy().data)
    return found.hexdigest()[:12]
