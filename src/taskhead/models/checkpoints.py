"""Load checkpoints strictly: every key must fit, or the error names it."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from taskhead.tasks.storage import data_root

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
        If the file is missing, cut off or no state dict, a key is missing, surplus or of another
        shape, or a parameter is not finite; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    given = {k: v for k, v in _read(path).items() if not k.startswith(ignore)}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):  # absent in files of PyTorch before 0.4.1, unread
            given.setdefault(name, value)
    for name, value in given.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"checkpoint {path} holds NaN or infinity in {name}")
    try:
        network.load_state_dict(given)
    except RuntimeError as error:
        reason = " ".join(str(error).partition(":\n")[2].split())
        raise ValueError(f"checkpoint {path} does not fit the network: {reason[:400]}") from None


def find_weights(name: str) -> Path | None:
    """Return the file `weights/name` below the data folder if it is there."""
    path = data_root() / "weights" / name
    return path if path.is_file() else None


def weights_label(weights: Path | str | None) -> str | None:
    """Return a name for weights that holds no path: a file's name and hash, or the name given."""
    if weights is None or not Path(weights).is_file():
        return None if weights is None else str(weights)
    path = Path(weights)
    return f"{path.name}-{file_sha256(path)[:8]}"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, out of its wrapper and without the prefix of all keys."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"checkpoint {path} is no state dict: PyTorch cannot read it as tensors alone; save "
            "module.state_dict() with torch.save"
        ) from None
    except (RuntimeError, KeyError, OSError, EOFError, ValueError) as error:
        kind = type(error).__name__
        raise ValueError(f"checkpoint {path} is cut off or no file of PyTorch ({kind})") from None
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"checkpoint {path} holds no state dict of tensors")
    names = [str(name) for name in content]
    if all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, content.values(), strict=True))
