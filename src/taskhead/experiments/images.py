"""Right or wrong for every test image of every run, in one file beside a table."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from taskhead.tasks.storage import write_whole

RIGHT = "right"  # the name of the array in a row


def store_right(path: Path, arrays: Mapping[Any, np.ndarray]) -> None:
    """Add arrays by run, bool (M,) over test images, to the file beside the table at `path`."""
    file = path.with_suffix(".npz")
    kept: dict[str, Any] = dict(np.load(file)) if file.exists() else {}
    kept |= {_name(run): each for run, each in arrays.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **kept)
    write_whole(file, content.getvalue())


def load_right(path: Path, run: Any) -> np.ndarray | None:
    """Return the array of a run, bool (M,), in the order of its test images; None if there is none.

    The test images of a setting, and their order, are the same for every seed.
    """
    file = path.with_suffix(".npz")
    return np.load(file).get(_name(run)) if file.exists() else None


def _name(run: Any) -> str:
    """Return a name for a run that stays when fields with a default are added to its kind."""
    values = {each.name: (getattr(run, each.name), each.default) for each in fields(run)}
    said = {name: value for name, (value, default) in values.items() if value != default}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
