"""Load checkpoints strictly: every key must fit, or the error names it."""

import pickle
import re
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from taskhead.tasks.storage import (
    check_writable,
    data_root,
    file_sha256,
    one_process,
    printable,
)

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_checkpoint(
    network: nn.Module, path: Path, *, ignore: tuple[str, ...] = (), in_order: bool = False
) -> None:
    """Load the parameters in the file at `path` into `network`, in place.

    The file holds a state dict saved by PyTorch, bare or under the key `state_dict`,
    `model_state_dict` or `model`; a prefix `module.` of all keys is removed. It is read with
    `weights_only=True`. Keys that begin with one of `ignore` are left out, as a classifier's. With
    `in_order` names do not count: the parameters are those of the network, in its order.

    Raises `ValueError` if the file is missing, cut off or of another kind, a key is missing,
    surplus or of another shape, or a parameter is not finite; the message names it.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    given = _read(path)
    for name in [name for name in given if name.startswith(ignore)]:
        del given[name]
    if in_order:
        given = _renamed(given, list(network.state_dict()), path)
    try:
        wrong = [name for name, value in given.items() if not bool(value.isfinite().all())]
        if not wrong:
            network.load_state_dict(given)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).rpartition(":\n")[2].split())
        raise ValueError(f"checkpoint {path} does not fit the network: {reason[:400]}") from None
    if wrong:
        raise ValueError(f"checkpoint {path} holds NaN or infinity in {wrong[0]}")


def find_weights(name: str) -> Path | None:
    """Return the file `weights/name` below the data folder if it is there."""
    path = data_root() / "weights" / name
    return path if path.is_file() else None


def download(address: str, folder: Path) -> Path:
    """Return the file at a web address, from `folder` or, if it is not there, downloaded to it.

    Its name ends in the first digits of its SHA-256, "NAME-DIGITS.SUFFIX", as published
    checkpoints do, and is held to them each time.

    Raises `ValueError` if the file cannot be downloaded or written, or its content is not what its
    name says.
    """
    path = folder / Path(address).name
    digits = path.stem.rpartition("-")[2]
    with one_process("weights"):
        if not path.is_file():
            check_writable(folder)
            print(f"downloading {address}", file=sys.stderr)
            try:
                torch.hub.download_url_to_file(address, str(path), hash_prefix=digits)
            except (OSError, HTTPException, RuntimeError) as error:
                raise ValueError(
                    f"{address} cannot be downloaded ({error}); give a checkpoint file as weights, "
                    "or put it where the book's page Reproduce says"
                ) from None
    if not file_sha256(path).startswith(digits):
        raise ValueError(f"{path} is not the file of {address}; remove it to download it again")
    return path


def weights_label(weights: Path | str | None) -> str | None:
    """Return a name for weights that holds no path: a file's name and hash, or the name given."""
    if weights is None or not Path(weights).is_file():
        return None if weights is None else str(weights)
    path = Path(weights)
    return f"{printable(path.name)}-{file_sha256(path)[:8]}"


def _renamed(given: dict[str, Tensor], names: list[str], path: Path) -> dict[str, Tensor]:
    if len(given) != len(names):
        raise ValueError(
            f"checkpoint {path} does not fit the network: it holds {len(given)} tensors in place "
            f"of {len(names)}"
        )
    return dict(zip(names, given.values(), strict=True))


def _read(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, out of its wrapper and without the prefix of all keys.

    It stays the object that was saved, as that carries the versions of its modules.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, LookupError, OSError, EOFError, ValueError) as e:
        reason = f"is cut off or no file of tensors that PyTorch saved ({type(e).__name__})"
        if pickled := re.search(r"GLOBAL (\S+)", str(e)):
            reason = f"holds a pickled {pickled[1]}, which PyTorch cannot read as tensors alone"
        elif "TorchScript" in str(e):
            reason = "is a TorchScript archive"
        raise ValueError(
            f"checkpoint {path} {reason}; give a state dict, saved by "
            "torch.save(network.state_dict(), path)"
        ) from None
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ValueError(f"checkpoint {path} holds no state dict of tensors")
    if all(name.startswith("module.") for name in content):
        consume_prefix_in_state_dict_if_present(content, "module.")
    return content
