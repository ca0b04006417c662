"""Independent random streams, one for each purpose, from the one seed of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

PURPOSES = (
    "images",
    "split",
    "head",
    "blocks",
    "probing",
    "views",
    "energy",
    "finetuning",
    "adapters",
    "dropout",
)


def stream(seed: int, purpose: str, *numbers: int) -> int:
    """Return the seed of one purpose, a child of `seed` by NumPy's `SeedSequence`.

    Streams of two purposes, of two seeds, or of two `numbers` of one purpose are independent.
    `purpose` is one of `PURPOSES`; `seed` is at least 0.
    """
    child = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), *numbers))
    return int(child.generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's random numbers within this context; the global state is restored."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
