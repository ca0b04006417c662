"""Load checkpoints strictly: every parameter must fit, or the error names it."""

import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from taskhead.models.state_dicts import Fit, find_fits, in_order_of, read_content
from taskhead.tasks.names import few, printable
from taskhead.tasks.storage import check_writable, data_root, file_sha256, one_process

CLASSIFIERS = ("linear.", "fc.", "classifier.", "head.")  # as the names of their parameters begin


class DoesNotFit(ValueError):
    """A checkpoint of which no part fits the network; `content` is what the file holds."""

    def __init__(self, message: str, content: Any) -> None:
        """Take the message and the content."""
        super().__init__(message)
        self.content = content


def load_checkpoint(
    network: nn.Module, path: Path, *, ignore: tuple[str, ...] = (), in_order: bool = False
) -> None:
    """Load the parameters in the file at `path` into `network`, in place.

    The file was saved by PyTorch or as safetensors, and is read without running code in it. Its
    state dict may stand under any key and behind any prefix of all names; it must fit the network
    in names and shapes. Names that begin with one of `ignore`, as a classifier's, are left out; it
    is said which others are, and which of the network's are not there. With `in_order` names may
    differ: the parameters are then those of the network, in its order.

    Raises `ValueError` if the file is missing, cut off or of another kind, a parameter is missing,
    surplus, of another shape or not finite, all are zero, or several state dicts fit; the message
    names it.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    content, own = read_content(path), network.state_dict()
    fits = find_fits(content, own, ignore)
    if in_order and not any(fit.is_whole for fit in fits):
        fits = find_fits(in_order_of(own, content), own, ignore)
    if not fits:
        raise ValueError(f"checkpoint {path} holds no state dict of tensors")
    fit = _only(fits, path)
    for name, value in fit.state.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"checkpoint {path} holds NaN or infinity in {fit.prefix}{name}")
    if fit.is_whole and not any(bool(value.any()) for value in fit.state.values()):
        raise ValueError(f"checkpoint {path} holds zeros alone, {fit}")
    own.update(fit.state)
    if not fit.is_whole:  # a module may know its names of old, unless its version is said
        own = {name: own[name] for name in own if name not in fit.missing} | fit.surplus
    try:
        network.load_state_dict(own)
    except (RuntimeError, ValueError):
        raise DoesNotFit(
            f"checkpoint {path} does not fit the network: {fit.misfit}", content
        ) from None
    for said, names in (("leaves out", fit.left_out), ("does without", fit.lacking)):
        if names:
            tqdm.write(f"loading {path.name} {said} {few(names)}", file=sys.stderr)


def _only(fits: list[Fit], path: Path) -> Fit:
    """Return the fit that is whole, or the best; several that differ are an error."""
    best, *others = [fit for fit in fits if fit.is_whole] or fits[:1]
    different = [fit for fit in others if not fit.equals(best)]
    if different:
        places = "; ".join(map(str, [best, *different]))
        raise ValueError(
            f"checkpoint {path} holds {len(different) + 1} sets of parameters that fit: {places}; "
            "save the one you want in a file of its own"
        )
    return best


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
