"""Independent random streams, one for each purpose, from the one seed of a run."""

import numpy as np

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
)


def stream(seed: int, purpose: str) -> int:
    """Return the seed of one purpose, a child of `seed` by NumPy's `SeedSequence`.

    Streams of two purposes, or of two seeds, are independent. `purpose` is one of `PURPOSES`;
    `seed` is at least 0.
    """
    child = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose),))
    return int(child.generate_state(1)[0])
