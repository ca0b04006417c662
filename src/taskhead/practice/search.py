"""The finetunings behind a recommendation: which, within a budget of time, and none twice."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch import nn

from taskhead.method.augmentation import Augment
from taskhead.method.batches import LabelledImages
from taskhead.method.features import extract_features, fingerprint
from taskhead.method.finetuning import finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import EnergyNotReached, Prepared, views_that_fit
from taskhead.method.seeds import stream
from taskhead.practice.splits import Splits

FIRST = 10  # finetunings of full length on the first split
FURTHER = 5  # on each other, as a rule
JOINT_RATE = 0.01  # of probing blocks that are drawn anew; their features change, so none is known
END = 400  # epochs of probing that count as its end
_TIMED, _PASSES = 32, 5  # images, and passes of them through the backbone, to time these


@dataclass(frozen=True)
class Recipe:
    """What all finetunings of a search share."""

    batch_size: int
    weight_decay: float
    augment: str | Augment | None
    seed: int


@dataclass
class Ledger:
    """Finished finetunings by their keys, in a file of JSON lines if there is a path.

    A search that was stopped continues from the same file. Rows of other searches, whose `search`
    is not this one, stay there and are passed over.
    """

    path: Path | None = None
    search: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read what is there; a last line that was cut off is taken out.

        Raises `ValueError` if another line is damaged.
        """
        if self.path is None or not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines = lines[:-1]
            self.path.write_text("".join(lines), encoding="utf-8")
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                raise ValueError(
                    f"line {number} of {self.path} is damaged; take it out, or give another folder"
                ) from None
            if row.pop("search", "") == self.search:
                self.rows.append(row)

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Return the row of a key, None if there is none yet."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, on the disk before anything else is computed."""
        self.rows.append(row)
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"search": self.search}) + "\n")


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
                seed=stream(self.recipe.seed, "split", split),
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

    def _finetune(self, head: Prepared, split: int, lr: float, epochs: int) -> dict[str, Any]:
        train, val = self.splits[split]
        how: dict[str, Any] = {
            **vars(self.recipe),
            "seed": stream(self.recipe.seed, "split", split),
        }
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


def name_of(preparation: HeadPreparation) -> dict[str, Any]:
    """Return the fields of a preparation, as a row holds them."""
    energy = None if preparation.energy is None else round(preparation.energy, 4)
    hidden = " ".join(map(str, preparation.hidden))
    return vars(preparation) | {"energy": energy, "hidden": hidden}


def of_name(row: dict[str, Any]) -> HeadPreparation:
    """Return the preparation that `name_of` gave a row its fields of."""
    own = {each.name: row[each.name] for each in fields(HeadPreparation)}
    tau = None if pd.isna(own["tau"]) else int(own["tau"])
    energy = None if pd.isna(own["energy"]) else own["energy"]
    hidden = tuple(map(int, own["hidden"].split()))
    return HeadPreparation(**own | {"tau": tau, "energy": energy, "hidden": hidden})


def in_words(preparation: HeadPreparation) -> str:
    """Return what people would call a preparation."""
    said = [_stop_in_words(preparation)]
    if preparation.eps:
        said[0] += f" with labels smoothed by {preparation.eps:g}"
    if preparation.hidden:
        said.append(f"hidden layers of {' and '.join(map(str, preparation.hidden))}")
    if preparation.init != "uniform":
        said.append(f"{preparation.init} start")
    if preparation.init_scale != 1:
        said.append(f"initial scale {preparation.init_scale:g}")
    if blocks := preparation.reinitialised_blocks:
        said.append(f"last {'block' if blocks == 1 else f'{blocks} blocks'} drawn anew")
    return ", ".join(said)


def _stop_in_words(preparation: HeadPreparation) -> str:
    if preparation.tau == 0:
        return "no probing"
    if preparation.energy is not None:
        return f"probing down to energy {preparation.energy:.2f}"
    end = preparation.tau == END
    return "probing to the end" if end else f"{preparation.tau} epochs of probing"
