"""Find the parameters of a network in a file: under any key, behind any prefix."""

import argparse
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from taskhead.tasks.names import few

State = Mapping[str, Tensor]
_COUNTER = "num_batches_tracked"  # files from before batches were counted lack it
_SCALAR = np.float64().__reduce__()[0]  # what NumPy makes numbers of, in old and new files
_HARMLESS = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


@dataclass(frozen=True)
class Fit:
    """How the tensors at one place of a file, behind one prefix, fit a network.

    `state` holds those that are to be loaded, by the names of the network. `missing`, `surplus` and
    `reshaped` say what does not fit, `left_out` what is in the file and need not fit, `lacking`
    what need not be there.
    """

    place: str
    prefix: str
    state: dict[str, Tensor]
    missing: list[str]
    surplus: dict[str, Tensor]
    reshaped: dict[str, str]
    left_out: list[str]
    lacking: list[str]

    @property
    def is_whole(self) -> bool:
        """Say whether all of it fits."""
        return not (self.missing or self.surplus or self.reshaped)

    @property
    def score(self) -> tuple[int, int]:
        """Return how many names fit, and minus how many do not."""
        wrong = len(self.missing) + len(self.surplus) + len(self.reshaped)
        return len(self.state) - len(self.reshaped), -wrong

    @property
    def misfit(self) -> str:
        """Say in words what does not fit."""
        wrong = {
            "missing": self.missing,
            "surplus": self.surplus,
            "of another shape": [f"{name} {shapes}" for name, shapes in self.reshaped.items()],
        }
        fitting = len(self.state) - len(self.reshaped)
        total = fitting + len(self.missing) + len(self.reshaped)
        said = (f"{len(names)} {what}: {few(names)}" for what, names in wrong.items() if names)
        return f"what fits best, {self}, is {fitting} of {total} tensors; {'; '.join(said)}"

    def equals(self, other: "Fit") -> bool:
        """Say whether the tensors are those of another fit."""
        both = self.state.keys() & other.state.keys()
        return all(torch.equal(self.state[name], other.state[name]) for name in both)

    def __str__(self) -> str:
        """Say where in the file it is."""
        place = f"under {self.place}" if self.place else "at the top"
        return place + (f" behind {self.prefix!r}" if self.prefix else "")


def read_content(path: Path) -> Any:
    """Return what a file of PyTorch or safetensors holds, read without running code of its own.

    Raises `ValueError` if it is cut off or of another kind.
    """
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        if is_safetensors:
            return load_file(path)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        OSError,
        EOFError,
        ValueError,
        SafetensorError,
    ) as error:
        reason = f"is cut off or no file of tensors that PyTorch saved ({type(error).__name__})"
        if pickled := re.search(r"GLOBAL (\S+)", str(error)):
            reason = f"holds a pickled {pickled[1]}, which PyTorch cannot read as tensors alone"
        elif "TorchScript" in str(error):
            reason = "is a TorchScript archive"
        raise ValueError(
            f"checkpoint {path} {reason}; give a state dict, saved by "
            "torch.save(network.state_dict(), path)"
        ) from None


def find_fits(content: Any, network: State, ignore: tuple[str, ...] = ()) -> list[Fit]:
    """Return how each place and prefix in a file's content fits a network's state dict.

    The best comes first. Names that begin with one of `ignore` need not fit, nor be there.
    """
    found = [
        _fit(place, given, prefix, network, ignore)
        for place, given in _states(content)
        for prefix in _prefixes(given, network)
    ]
    return sorted(found, key=lambda fit: fit.score, reverse=True)


def _states(content: Any, place: str = "") -> Iterator[tuple[str, State]]:
    """Yield the tensors of each mapping that holds some by name, and where in the file it is."""
    if isinstance(content, Mapping):
        tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if tensors:
            yield place, tensors
        for key, value in content.items():
            yield from _states(value, f"{place}[{key!r}]")


def _prefixes(given: State, network: State) -> list[str]:
    """Return what stands before a name of the network in any key, and ""."""
    prefixes = {""}
    for key in given:
        parts = key.split(".")
        for i in range(1, len(parts)):
            if ".".join(parts[i:]) in network:
                prefixes.add(".".join(parts[:i]) + ".")
    return sorted(prefixes)


def _fit(place: str, given: State, prefix: str, network: State, ignore: tuple[str, ...]) -> Fit:
    below = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
    counted = [name for name in network if not name.startswith(ignore)]
    state = {name: below[name] for name in counted if name in below}
    differ = {
        name: f"{tuple(below[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in network.items()
        if name in below and below[name].shape != tensor.shape
    }
    return Fit(
        place,
        prefix,
        state,
        missing=[n for n in counted if n not in below and not n.endswith(_COUNTER)],
        surplus={n: below[n] for n in below if n not in network and not n.startswith(ignore)},
        reshaped={n: shapes for n, shapes in differ.items() if n in state},
        left_out=[key for key in given if not key.startswith(prefix)]
        + [prefix + name for name in differ if name not in state],
        lacking=[name for name in network if name.startswith(ignore) and name not in below],
    )


def in_order_of(network: State, content: Any) -> State:
    """Return the tensors of a file by the names of a network, in its order.

    They keep their names if there are not as many.
    """
    given = max((state for _, state in _states(content)), key=len, default={})
    return dict(zip(network, given.values(), strict=True)) if len(given) == len(network) else given
