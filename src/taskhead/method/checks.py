"""What comes in: casts and checks of user input; each error names the value and what is valid."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def check_choice(kind: str, value: object, valid: Iterable[str]) -> None:
    """Raise `ValueError` unless `value` is one of the `valid` names of this `kind`."""
    names = list(valid)
    if value not in names:
        raise ValueError(f"unknown {kind} {value!r}; valid: {', '.join(names)}")


def check_positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise `ValueError` unless a number is finite and above 0, or 0 where `zero` allows it."""
    if not (0 < value < float("inf") or (zero and value == 0)):
        bound = "at least 0" if zero else "positive"
        raise ValueError(f"{name} must be finite and {bound}, got {value}")


def check_eps(eps: float) -> None:
    """Raise `ValueError` unless the label smoothing `eps` lies in [0, 1)."""
    if not 0 <= eps < 1:
        raise ValueError(f"eps must be in [0, 1), got {eps}")


def check_whole(name: str, value: Any) -> int:
    """Return an integer of Python or NumPy as an int; raise unless it is one, and at least 0."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return int(value)


def as_taus(taus: Any) -> list[int]:
    """Return strictly increasing numbers of epochs, at least 0, as a list of int.

    Raises `TypeError` or `ValueError` if there is none, one is no whole number or negative, or they
    do not increase.
    """
    given = list(np.atleast_1d(np.asarray(taus)).tolist())
    if not given:
        raise ValueError("taus is empty; give at least one probing time, such as [0]")
    for tau in given:
        if isinstance(tau, bool) or not isinstance(tau, int):
            raise TypeError(f"tau must be an integer number of epochs, got {tau!r}")
        if tau < 0:
            raise ValueError(f"tau must be at least 0, got {tau} in {given}")
    if any(later <= earlier for earlier, later in pairwise(given)):
        raise ValueError(f"taus must be strictly increasing, got {given}")
    return given


def as_tensor(name: str, values: Any) -> Tensor:
    """Return a tensor or NumPy array as a tensor; raise `TypeError` for anything else."""
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(values)
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor or an array, got {type(values).__name__}")
    return values


def as_labels(labels: Any) -> Tensor:
    """Return integer or bool labels, a tensor or array of shape (N,), as int64.

    Raises `TypeError` if they are no vector of integers.
    """
    labels = as_tensor("labels", labels)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"labels must be a vector of integers, got shape {tuple(labels.shape)} "
            f"of {labels.dtype}"
        )
    return labels.long()


def as_features(features: Any) -> Tensor:
    """Return features, a tensor or array (N, h) or (N, h, 1, ..., 1), as a tensor (N, h).

    Those of half precision become float32.

    Raises `TypeError` or `ValueError` if they are no tensor of floating-point numbers of such a
    shape.
    """
    features = as_tensor("features", features)
    if not features.is_floating_point():
        raise TypeError(f"features must be floating-point numbers, got {features.dtype}")
    if features.ndim < 2 or features.shape[2:].numel() != 1:
        raise ValueError(
            f"features must have shape (N, h), got {tuple(features.shape)}; pool or flatten them"
        )
    return (features.float() if features.itemsize < 4 else features).flatten(1)


def check_labels(labels: Tensor, n_classes: int) -> None:
    """Raise unless int64 labels (N,) lie in 0 .. n_classes - 1, and N > 0."""
    if len(labels) == 0:
        raise ValueError("the data is empty: there are no labels")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"labels must lie in 0 .. {n_classes - 1} for {n_classes} classes, "
            f"got values from {low} to {high}"
        )


def check_samples(inputs: Tensor, labels: Tensor, n_classes: int) -> None:
    """Raise unless `inputs`, shape (N, ...), are finite and int64 `labels` (N,) fit them."""
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


def check_trainable(name: str, module: nn.Module, *, frozen: bool = False) -> None:
    """Raise `ValueError` if parameters of a module are not finite, or frozen unless they may be."""
    parameters = dict(module.named_parameters())
    fixed = [key for key, parameter in parameters.items() if not parameter.requires_grad]
    if fixed and not frozen:
        raise ValueError(
            f"{len(fixed)} of {len(parameters)} parameters of the {name} are frozen, the first is "
            f"{fixed[0]}; finetuning trains them all: call {name}.requires_grad_(True), or give "
            f"the {name} the rate 0"
        )
    broken = [key for key, parameter in parameters.items() if not bool(parameter.isfinite().all())]
    if broken:
        raise ValueError(
            f"{len(broken)} of {len(parameters)} parameters of the {name} hold NaN or infinity, "
            f"the first is {broken[0]}; load it again, or lower the rate it was trained at"
        )
