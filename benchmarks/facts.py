"""Facts about a machine that every floor is made of: peaks, bandwidth, launches, versions."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import alternate, seconds, versions
from taskhead.experiments.provenance import device_name
from taskhead.experiments.workers import repeatable

SIZES = {"smoke": (256, 2**20), "gpu": (8192, 2**30)}  # side of matrices, bytes to copy
LAUNCHES = 1000


def facts(preset: str, device: torch.device) -> dict[str, Any]:
    """Measure the device: peaks in TFLOP/s, copies in GB/s read and written, launches a second."""
    side, size = SIZES[preset]
    found: dict[str, Any] = {"device": device_name(device)} | versions()
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        found[f"{name} TFLOP/s"] = product_rate(side, dtype, device) / 1e12
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy GB/s"] = 2 * size / best(lambda: target.copy_(source)) / 1e9
    small = torch.zeros(1, device=device)
    found["launches/s"] = LAUNCHES / best(lambda: [small.add_(1) for _ in range(LAUNCHES)])
    return found


def product_rate(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return the operations a second of a matrix product, in fp32 without TF32."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with repeatable():
        return 2 * side**3 / best(lambda: a @ b)


def best(call: Callable[[], object]) -> float:
    """Return the least seconds of three calls, after one that does not count."""
    seconds(call)
    return min(alternate({"call": call}, 3)["call"])
