"""Checks of user input that several modules share; each error names the value and what is valid."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def check_choice(kind: str, value: object, valid: Iterable[str]) -> None:
    """Raise `ValueError` unless `value` is one of the `valid` names of this `kind`."""
    names = list(valid)
    if value not in names:
        raise ValueError(f"unknown {kind} {value!r}; valid: {', '.join(names)}")


def check_taus(taus: Sequence[int]) -> None:
    """Raise unless `taus` is a strictly increasing sequence of non-negative integers."""
    if not taus:
        raise ValueError("taus is empty; give at least one probing time, such as [0]")
    for tau in taus:
        if isinstance(tau, bool) or not isinstance(tau, int):
            raise TypeError(f"tau must be an integer number of epochs, got {tau!r}")
        if tau < 0:
            raise ValueError(f"tau must be at least 0, got {tau} in {list(taus)}")
    if any(later <= earlier for earlier, later in pairwise(taus)):
        raise ValueError(f"taus must be strictly increasing, got {list(taus)}")


def check_eps(eps: float) -> None:
    """Raise `ValueError` unless the label smoothing `eps` lies in [0, 1)."""
    if not 0 <= eps < 1:
        raise ValueError(f"eps must be in [0, 1), got {eps}")


def check_labels(labels: Tensor, n_classes: int) -> None:
    """Raise unless `labels` is an integer vector with values in 0 .. n_classes - 1."""
    if labels.ndim != 1 or labels.is_floating_point():
        raise TypeError(
            f"labels must be a vector of integers, got shape {tuple(labels.shape)} "
            f"of {labels.dtype}"
        )
    if len(labels) == 0:
        raise ValueError("the data is empty: there are no labels")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"labels must lie in 0 .. {n_classes - 1} for {n_classes} classes, "
            f"got values from {low} to {high}"
        )


def check_samples(inputs: Tensor, labels: Tensor, n_classes: int) -> None:
    """Raise unless `inputs`, shape (N, ...), are finite and `labels`, shape (N,), fit them."""
    check_labels(labels, n_classes)
    if len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} inputs but {len(labels)} labels; give one label per input")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        bad = (~torch.isfinite(inputs.flatten(1))).any(dim=1)
        raise ValueError(
            f"{int(bad.sum())} of {len(inputs)} inputs hold NaN or infinity, "
            f"the first at index {int(bad.nonzero()[0])}; remove or repair them"
        )


def check_training_set(inputs: Tensor, labels: Tensor, n_classes: int) -> None:
    """Raise unless a head can be trained on these samples: as above, and of two classes or more."""
    check_samples(inputs, labels, n_classes)
    if bool((labels == labels[0]).all()):
        raise ValueError(
            f"all {len(labels)} labels are {int(labels[0])}; a task head needs at least two classes"
        )
