"""What comes in: casts and checks of user input; each error names the value and what is valid."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def check_choice(kind: str, value: object, valid: Iterable[str]) -> None:
    """Raise `ValueError` unless `value` is one of the `valid` names of this `kind`."""
    names = list(valid)
    if value not in names:
        raise ValueError(f"unknown {kind} {value!r}; valid: {', '.join(names)}")


def find_package(needed_by: str, package: str, *, extra: str) -> Path:
    """Return the folder of a package that an extra of this library installs.

    Raises `ValueError` with the line that installs it if it is missing.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ValueError(
            f"{needed_by} needs the package {package}; pip install 'taskhead[{extra}]'"
        )
    return Path(found.origin).parent


def check_positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise unless a number is finite and above 0, or 0 where `zero` allows it."""
    check_number(name, value)
    if not (0 < value < float("inf") or (zero and value == 0)):
        bound = "at least 0" if zero else "positive"
        raise ValueError(f"{name} must be finite and {bound}, got {value}")


def check_share(name: str, value: float) -> None:
    """Raise unless a number, as label smoothing or momentum, lies in [0, 1)."""
    check_number(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")


def check_number(name: str, value: object) -> None:
    """Raise `TypeError` unless a value is a number of Python or NumPy, and no bool."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_optimiser(momentum: float, weight_decay: float, batch_size: int) -> None:
    """Raise unless momentum lies in [0, 1), weight decay is at least 0 and a batch at least 1."""
    check_share("momentum", momentum)
    check_positive("weight_decay", weight_decay, zero=True)
    check_whole("batch_size", batch_size, least=1)


def check_seed(seed: int) -> None:
    """Raise unless a seed is an integer in 0 .. 2^32 - 1, of which PyTorch uses every bit."""
    if check_whole("seed", seed) >= 2**32:
        raise ValueError(f"seed must be below 2^32 = {2**32}, got {seed}")


def check_module(name: str, module: object) -> None:
    """Raise `TypeError` unless a backbone or head is a module of PyTorch."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"the {name} must be a torch.nn.Module, got {type(module).__name__}")


def check_whole(name: str, value: Any, *, least: int = 0) -> int:
    """Return an integer of Python or NumPy as an int; raise unless it is one of `least` or more."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def as_taus(taus: Sequence[int]) -> list[int]:
    """Return strictly increasing numbers of epochs as a list of int; raise if they are not."""
    given = [check_whole("tau", tau) for tau in taus]
    if not given or any(later <= earlier for earlier, later in pairwise(given)):
        raise ValueError(f"taus must be given and strictly increasing, got {given}")
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


def check_samples(inputs: Tensor, labels: Tensor, n_classes: int, name: str = "images") -> None:
    """Raise unless `inputs`, shape (N, ...), are finite and int64 `labels` (N,) fit them."""
    check_labels(labels, n_classes)
    if len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} {name} but {len(labels)} labels; give one label for each")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        bad = (~torch.isfinite(inputs.flatten(1))).any(dim=1)
        raise ValueError(
            f"{int(bad.sum())} of {len(inputs)} {name} hold NaN or infinity, "
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
