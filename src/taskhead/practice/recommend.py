"""A recommendation: how to prepare the head for one's own data, and at which rate to finetune."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from scipy import stats
from torch import nn

from taskhead.method.augmentation import Augment
from taskhead.method.batches import as_labelled
from taskhead.method.checks import check_module, check_positive, check_seed
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import as_preparations
from taskhead.method.prepared import Prepared, count_classes
from taskhead.practice.ledger import Ledger
from taskhead.practice.names import END, in_words
from taskhead.practice.search import Recipe, Search, digest
from taskhead.practice.splits import Splits
from taskhead.report.principles import SMALL_SCALE
from taskhead.report.series import interval

SHARES = (0.25, 0.5, 0.75)  # of the range of energies, where levels lie
LEAST_FALL = 0.01  # of the energy, below which there is nothing to choose
SMOOTHING = 0.3
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
POINT = 0.01  # of accuracy
SPLITS = 8  # at most
FEW, ENOUGH = 3, 5  # splits that a budget must allow, and that it allows before longer finetunings
EPOCHS = (5, 40)  # least and most of a finetuning
_NONE, _END = HeadPreparation(tau=0), HeadPreparation(tau=END)


class BudgetTooShort(ValueError):
    """A budget in which a search has no room; `needed` minutes would do."""

    def __init__(self, needed: float, given: float) -> None:
        """Take minutes."""
        self.needed = math.ceil(10 * needed) / 10
        super().__init__(
            f"minutes must be at least {self.needed:g} for these images, got {given:g}; or give "
            "fewer or smaller images"
        )


@dataclass(frozen=True)
class Advice:
    """What to do, and why.

    `preparation` goes to `prepare_heads`, `finetuning` holds keyword arguments of `finetune`.
    `evidence` has a row for each finetuning of the search. `compared` holds the validation
    accuracies of the preparations (rows) that were compared over splits (columns), those after the
    first if there are any, as the first chose what is compared. `told_apart`
    says whether they tell the recommended preparation from the default, probing halfway down;
    `reason` puts it in a sentence. `overlap` is that of `interval` for these splits.
    """

    preparation: HeadPreparation
    finetuning: dict[str, Any]
    evidence: pd.DataFrame
    compared: pd.DataFrame
    told_apart: bool
    reason: str
    overlap: float = 0.0


def recommend(
    backbone: nn.Module,
    train: Any,
    val: Any = None,
    *,
    minutes: float = 10.0,
    to_follow: int = 0,
    also: Sequence[HeadPreparation] = (),
    augment: str | Augment | None = None,
    batch_size: int = 32,
    weight_decay: float = 5e-4,
    seed: int = 0,
    device: torch.device | str | None = None,
    ledger: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Advice:
    """Recommend a head preparation and a finetuning rate, within a budget of time.

    A head is probed to its end first, which says between which energies there is a choice. Then
    the rate is searched from a head probed halfway down: the smallest within one point of the best
    validation accuracy. At this rate no probing, three energies, probing to the end, that with
    smoothed labels, and a small head without probing are finetuned once, and what `also` holds. The
    better half of them, halfway down, and both ends are compared on more splits, until the time is
    up. This is successive halving with two rungs.

    Probing halfway down is recommended unless validation tells another preparation from it.

    Parameters
    ----------
    backbone
        Maps a batch of images to features (N, h). It is not changed.
    train, val
        `LabelledImages`, a pair of tensors, a map-style `Dataset` or a `DataLoader`. Without
        `val`, a fifth of the training images is held out, drawn anew for each split.
    minutes
        The budget, above 0. The number of epochs of a finetuning, 5 to 40, is what it allows on
        five splits.
    to_follow
        How many finetunings on all images the caller will do; the budget is for them too.
    also
        Preparations to compare besides, such as `HeadPreparation(tau=400, hidden=(512,))`. With
        `reinitialised_blocks` the blocks and their head are probed at a rate of 0.01. What cannot
        be prepared is said and left out.
    augment, batch_size, weight_decay
        Of probing and finetuning.
    seed
        Of splits, heads and finetuning.
    device
        Where to compute; that of the data if it is None.
    ledger
        A file in which finished finetunings are kept; a search on the same data, with the same
        backbone and recipe, continues from it. A function as `augment` is known by its name alone.
    say
        Called with a line on each step.

    Raises
    ------
    ValueError, TypeError
        If data or a hyper-parameter is out of range.
    BudgetTooShort
        If the budget has no room for five epochs of each finetuning on two splits; it names what
        is needed. Passes of a few images are timed before heads are prepared, and an epoch after.
    """
    began = time.monotonic()
    check_module("backbone", backbone)
    check_positive("minutes", minutes)
    check_seed(seed)
    more = as_preparations("also", also) if also else []
    data = as_labelled(train)
    target = torch.device(device) if device else data.labels.device
    data, held_out = data.to(target), None if val is None else as_labelled(val).to(target)
    splits = Splits(data, held_out, SPLITS, seed)
    recipe = Recipe(batch_size, weight_decay, augment, seed)
    parts = [data] if held_out is None else [data, held_out]
    search = Search(
        copy.deepcopy(backbone).to(target),
        splits,
        recipe,
        Ledger(ledger, digest(backbone, parts, recipe) if ledger else ""),
        began + 60 * minutes,
        to_follow,
        say,
        len(more),
    )
    if not search.ledger.rows:
        search.estimate()
        _affordable_epochs(search, minutes)
    preparations = [*_choices(search, count_classes(splits[0])), *more]
    mild = preparations[2]
    heads = search.prepared(0, preparations)
    for epochs in (1, 2):  # the first to warm up
        search.run(heads[mild], split=0, lr=RATES[0], epochs=epochs)
    epochs = _affordable_epochs(search, minutes)
    rate = _search_rate(search, heads[mild], max(epochs // 2, 1))
    first = {p: search.run(head, split=0, lr=rate, epochs=epochs) for p, head in heads.items()}
    kept = _better_half(first, always=(_NONE, mild, _END))
    compared = _compare(search, kept, rate, epochs)
    best, told_apart, reason = _choose(compared, mild, splits)
    finetuning = {"epochs": epochs, "lr": rate, "batch_size": batch_size}
    finetuning |= {"weight_decay": weight_decay, "augment": augment, "seed": seed}
    table = compared.rename(index=in_words)
    evidence = pd.DataFrame(search.ledger.rows)
    return Advice(best, finetuning, evidence, table, told_apart, reason, splits.overlap)


def _choices(search: Search, n_classes: int) -> list[HeadPreparation]:
    """Return no probing, energies from the highest down, the end, that smoothed, a small head."""
    ends = search.prepared(0, [_NONE, _END])
    if len(ends) < 2:
        raise ValueError("probing diverged on these features; check that they are finite")
    guess = math.sqrt((n_classes - 1) / n_classes)
    floor, top = ends[_END].aie, min(ends[_NONE].aie, guess)
    search.say(f"the energy falls from {ends[_NONE].aie:.2f} without probing to {floor:.2f}")
    if top - floor < LEAST_FALL:
        raise ValueError(
            f"probing hardly lowers the energy on these features, from {top:.3f} to {floor:.3f}; "
            "finetune without probing, or give a backbone whose features tell the classes apart"
        )
    levels = [floor + share * (top - floor) for share in SHARES[::-1]]
    smoothed = HeadPreparation(tau=END, eps=SMOOTHING)
    down = [HeadPreparation(energy=round(level, 4)) for level in levels]
    return [_NONE, *down, _END, smoothed, HeadPreparation(tau=0, init_scale=SMALL_SCALE)]


def _affordable_epochs(search: Search, minutes: float) -> int:
    """Return how many epochs each finetuning may take.

    Times are those of the ledger, so that a search which continues has the same length.
    """
    least, most = EPOCHS
    if (needed := search.seconds(least, FEW) / 60) > minutes:
        raise BudgetTooShort(needed, minutes)
    lengths = range(least, most + 1)
    return max((e for e in lengths if search.seconds(e, ENOUGH) <= 60 * minutes), default=least)


def _search_rate(search: Search, head: Prepared, epochs: int) -> float:
    """Return the smallest rate whose validation accuracy is within one point of the best."""
    found = {
        rate: search.run(head, split=0, lr=rate, epochs=epochs)["val_accuracy"] for rate in RATES
    }
    return min(rate for rate in RATES if found[rate] >= max(found.values()) - POINT)


def _better_half(
    first: dict[HeadPreparation, dict[str, Any]], *, always: Sequence[HeadPreparation]
) -> list[HeadPreparation]:
    """Return the better half of the preparations, and those to keep always, in their order."""
    ranked = sorted(first, key=lambda p: (-first[p]["val_accuracy"], first[p]["val_loss"]))
    kept = {*ranked[: math.ceil(len(ranked) / 2)], *always}
    return [each for each in first if each in kept]


def _compare(search: Search, kept: list[HeadPreparation], rate: float, epochs: int) -> pd.DataFrame:
    """Finetune what is kept on further splits while there is time; one column a split.

    A split counts if every preparation has a result on it. The first chose what is compared, and
    counts only if there is no other.
    """
    found = {}
    for split in range(len(search.splits)):
        if split and not search.fits(epochs, len(kept)):
            break
        heads = search.prepared(split, kept)
        if len(heads) == len(kept):
            found[split] = {
                p: search.run(head, split=split, lr=rate, epochs=epochs)["val_accuracy"]
                for p, head in heads.items()
            }
    return pd.DataFrame(found if len(found) == 1 else {k: found[k] for k in found if k})


def _choose(
    compared: pd.DataFrame, mild: HeadPreparation, splits: Splits
) -> tuple[HeadPreparation, bool, str]:
    """Return what to recommend, whether validation tells it from halfway down, and why.

    Without validation images of one's own, splits overlap, which widens the interval of a gain.
    With them, all splits are judged on the same images. On how many of these two networks differ is
    not known, so the interval adds the chance of two accuracies on other images each.
    """
    means, n = compared.mean(axis=1), compared.shape[1]
    best: Any = means.idxmax()
    accuracies: dict[Any, pd.Series] = dict(compared.iterrows())
    points = len(compared) - 1
    gains = accuracies[best] - accuracies[mild]
    gain, half = interval(gains, points=points, overlap=splits.overlap)
    if splits.val is not None:
        rates = [float(accuracies[way].mean()) for way in (best, mild)]
        chance = sum(rate * (1 - rate) for rate in rates) / len(splits.val)
        half = math.hypot(half, float(stats.norm.ppf(1 - 0.025 / points)) * math.sqrt(chance))
    said = (
        f"{in_words(best)} has the best validation accuracy, {means[best]:.3f} over {n} "
        f"split{'s' * (n > 1)}"
    )
    default = f"{in_words(mild)} is the default, halfway down the energy"
    if best == mild:
        return mild, False, f"{said}, and is the default, halfway down the energy"
    if n == 1:
        return mild, False, f"{said}, which tells nothing of chance; {default}"
    said = f"{said}, {100 * gain:.1f} ± {100 * half:.1f} points above {in_words(mild)}"
    if gain - half > 0:
        return best, True, f"{said}, the default halfway down the energy"
    images = "" if splits.val is None else f" on {len(splits.val)} validation images"
    judged = f"{n} splits{images}"
    return mild, False, f"{said}, so {judged} do not tell the two apart; {default}"
