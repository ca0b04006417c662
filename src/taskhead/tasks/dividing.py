"""Divide the images of a source into training, validation and test images, class by class."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from taskhead.method.checks import check_whole
from taskhead.method.seeds import stream
from taskhead.tasks.images import draw_per_class
from taskhead.tasks.layout import Files
from taskhead.tasks.levels import SPLITS
from taskhead.tasks.task import draw_parts, same_order

Limits = Mapping[str, int | None]  # images of each class by split; None, or left out, takes all
Alike = list[Path]  # files of equal content


def divide(
    splits: Mapping[str, Files],
    limits: Limits,
    *,
    seed: int = 0,
    contents: Mapping[Path, str] | None = None,
) -> dict[str, Files]:
    """Return the images of each class for training, validation and testing.

    "val" and "test" are split off "train" where `splits` has none, as many as `shares` says. The
    seed draws the images for training and validation; the test images are the same for every seed.
    Files of equal `contents` stay together, and count once.

    Raises `ValueError` if a class has too few images, or a limit is below 1.
    """
    for split, limit in limits.items():
        if limit is not None:
            check_whole(f"{split}_per_class", limit, least=1)
    missing = [split for split in ("val", "test") if split not in splits]
    pools, aside, counts = [], [], []
    for name, files in splits["train"].items():
        pool = _together(files, contents)
        counts.append(shares(name, len(pool), limits, missing))
        order, n_test = same_order(len(pool)), counts[-1]["test"]
        aside.append([pool[i] for i in order[:n_test]])
        pools.append([pool[i] for i in sorted(order[n_test:])])
    asked = [limits.get(split) for split in (["train"] if "val" in splits else ["train", "val"])]
    most = None if None in asked else sum(filter(None, asked))
    train, val = _draw(pools, [(count["train"], count["val"]) for count in counts], most, seed)
    divided = {}
    for split, groups in zip(SPLITS, (train, val, aside), strict=True):
        named = zip(splits["train"], groups, strict=True)
        divided[split] = {name: [*chain(*own)] for name, own in named}
    for split, own_seed in (("val", stream(seed, "images")), ("test", 0)):
        if split not in missing:
            divided[split] = draw_files(splits[split], limits.get(split), own_seed)
    return divided


def draw_files(files: Files, per_class: int | None, seed: int) -> Files:
    """Return at most `per_class` files of each class, drawn from the seed; None takes all."""
    every, labels = [*chain(*files.values())], _labels(files.values())
    drawn: list[list[Path]] = [[] for _ in files]
    for index in draw_per_class(labels, per_class, seed):
        drawn[labels[index]].append(every[index])
    return dict(zip(files, drawn, strict=True))


def shares(name: str, n: int, limits: Limits, missing: Sequence[str]) -> dict[str, int]:
    """Return how many of n images of a class serve for each split; those not `missing` take none.

    A fifth, and one at least, is split off for each that is missing, but no more than its limit.
    Limits for both training and validation are met in full where that leaves an image for testing;
    the test images are then a third, if that has no limit, and no more than are left.

    Raises `ValueError` if there is not one image for each.
    """
    if n <= len(missing):
        raise ValueError(
            f"class {name} has too few different images, {n}, to serve for "
            f"{', '.join(['train', *missing])}: it needs {len(missing) + 1}"
        )
    train, val, test = (limits.get(split) for split in SPLITS)
    fifth = max(n // 5, 1)
    off = {split: min(limits.get(split) or fifth, fifth) for split in missing}
    if train and val:
        left = n - train - (val if "val" in missing else 0)
        if left >= ("test" in missing):
            off = {"val": val, "test": min(test or n // 3, left)}
    off = {split: off[split] if split in missing else 0 for split in ("val", "test")}
    left = n - sum(off.values())
    return {"train": min(train or left, left), **off}


def _together(files: Sequence[Path], contents: Mapping[Path, str] | None) -> list[Alike]:
    alike: dict[Path | str, Alike] = {}
    for path in files:
        alike.setdefault(contents[path] if contents else path, []).append(path)
    return list(alike.values())


def _draw(
    pools: Sequence[list[Alike]], counts: Sequence[tuple[int, int]], most: int | None, seed: int
) -> list[list[list[Alike]]]:
    """Return what is drawn of each pool for training and for validation, by class."""
    every, labels = [*chain(*pools)], _labels(pools)
    chosen = draw_per_class(labels, most, stream(seed, "images"))
    members = [torch.from_numpy((labels[chosen] == k).nonzero()[0]) for k in range(len(pools))]
    parts = draw_parts(len(chosen), members, counts, seed)
    return [[[every[chosen[i]] for i in own] for own in part] for part in parts]


def _labels(groups: Iterable[Sequence]) -> np.ndarray:
    """Return the number of its group for each member."""
    return np.repeat(*np.array([(k, len(group)) for k, group in enumerate(groups)]).T)
