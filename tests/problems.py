"""Linear problems for the tests, drawn from a seed."""

import numpy as np


def problem(seed: int, *, n: int, d: int, h: int) -> tuple[np.ndarray, ...]:
    """Return X (n, d) with orthonormal rows or columns, y of +1 and -1, B_0 (h, d) and v_0 (h,)."""
    rng = np.random.default_rng(seed)
    X, _ = np.linalg.qr(rng.normal(size=(max(n, d), min(n, d))))
    y = np.where(np.arange(n) % 2, -1.0, 1.0)
    B0 = rng.normal(size=(h, d)) / np.sqrt(h)
    return (X if n >= d else X.T), y, B0, rng.normal(size=h) / np.sqrt(h)
