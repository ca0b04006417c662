"""Load checkpoints strictly: every key must fit, or the error names it."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from taskhead.data import data_root

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_checkpoint(network: nn.Module, path: Path, *, ignore: tuple[str, ...] = ()) -> None:
    """Load the parameters in the file at `path` into `network`.

    Parameters
    ----------
    network
        Takes the parameters, in place.
    path
        A state dict saved by PyTorch, bare or under the key `state_dict`, `model_state_dict` or
        `model`; a prefix `module.` of all keys is removed. Loaded with `weights_only=True`.
    ignore
        Prefixes of keys that the file may hold and the network does not need, such as a
        classifier's.

    Raises
    ------
    ValueError
        If the file is missing or damaged, or a key is missing, surplus or of another shape; the
        message names it.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, KeyError, OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
        kind = type(error).__name__
        raise ValueError(f"checkpoint {path} is damaged or no state dict ({kind})") from None
    given = {
        name: value for name, value in _unwrap(content, path).items() if not name.startswith(ignore)
    }
    expected = network.state_dict()
    for name in expected:  # files of PyTorch before 0.4.1 lack these counters, which nothing reads
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, expected[name])
    problems = [
        f"{kind} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for kind, names in (
            ("missing", [name for name in expected if name not in given]),
            ("surplus", [name for name in given if name not in expected]),
            (
                "of another shape:",
                [n for n in given if n in expected and given[n].shape != expected[n].shape],
            ),
        )
        if names
    ]
    if problems:
        raise ValueError(f"checkpoint {path} does not fit the network: {'; '.join(problems)}")
    network.load_state_dict(given)


def find_weights(name: str) -> Path | None:
    """Return the file `weights/name` below the data folder if it is there."""
    path = data_root() / "weights" / name
    return path if path.is_file() else None


def weights_label(weights: str) -> str:
    """Return a name for weights that holds no path: a file's name and hash, or the name given."""
    path = Path(weights)
    if not path.is_file():
        return weights
    return f"{path.name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"checkpoint {path} holds no state dict of tensors")
    names = [str(name) for name in content]
    if all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, content.values(), strict=True))
