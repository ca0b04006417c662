"""Timing, straight lines through shares of a cost, the machine's measured peak, operations."""

import copy
import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version

import torch
from loky import cpu_count
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from taskhead import __version__
from taskhead.experiments.provenance import commit, device_name
from taskhead.experiments.workers import repeatable

Times = Mapping[str, list[float]]
Shares = tuple[int, int]


def seconds(call: Callable[[], object]) -> float:
    """Time one call, with the GPU's queue empty before and after."""
    gc.collect()
    synchronise()
    start = time.perf_counter()
    call()
    synchronise()
    return time.perf_counter() - start


def alternate(calls: Mapping[str, Callable[[], object]], repetitions: int) -> Times:
    """Time all calls in turn, again and again, so that a disturbance meets them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def warm_up(*calls: Callable[[], object]) -> float:
    """Make each call once; return the seconds, which count for none of them."""
    return sum(seconds(call) for call in calls)


def shares_of(name: str, work: Callable[[int], object], shares: Shares) -> dict[str, Callable]:
    """Name the two shares of a work whose cost is a straight line in its length."""
    return {f"{name} {share}": partial(work, share) for share in shares}


def time_both(
    wholes: Mapping[str, Callable[[], object]],
    parts: Mapping[str, Callable[[int], object]],
    shares: Shares,
    repetitions: int,
) -> tuple[Times, float]:
    """Time wholes, as ours, and the baseline's parts by shares, in turn.

    Return the times, and the seconds of a first unit of every part, which count for none of them.
    """
    calls = dict(wholes)
    for name, part in parts.items():
        calls |= shares_of(name, part, shares)
    warm = warm_up(*(partial(part, 1) for part in parts.values()))
    return alternate(calls, repetitions), warm


def extended(times: Times, name: str, shares: Shares, length: float) -> list[float]:
    """Extend the straight line through both shares to the whole length, for each repetition."""
    short, long = shares
    lines = zip(times[f"{name} {short}"], times[f"{name} {long}"], strict=True)
    return [a + (b - a) / (long - short) * (length - short) for a, b in lines]


def bend(times: Times, name: str, shares: Shares, work: Callable[[int], object]) -> str:
    """Say how far the line lies from the cost of twice the longer share, as often measured."""
    length = 2 * shares[1]
    line = statistics.median(extended(times, name, shares, length))
    measured = alternate({"whole": partial(work, length)}, len(times[f"{name} {shares[0]}"]))
    off = line / statistics.median(measured["whole"]) - 1
    return f"for {length} epochs {name} {100 * off:+.0f} %"


def total(*costs: list[float]) -> list[float]:
    """Add costs repetition by repetition."""
    return [sum(parts) for parts in zip(*costs, strict=True)]


def flops(network: nn.Module, images: Tensor, *, training: bool) -> float:
    """Count the operations of one image: forward, or forward and backward."""
    network = copy.deepcopy(network)  # keeps the gradients
    with FlopCounterMode(display=False) as counter:
        output = network(images)
        if training:
            output.sum().backward()
    return counter.get_total_flops() / len(images)


@cache
def peak_flops(device: torch.device) -> float:
    """Measure the operations a second in fp32 on all threads.

    It is the faster of a large matrix product and a large convolution, which come from two
    libraries: on some processors one of them does without the widest instructions.
    """
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    channels, pixels, batch = 256, 32, 64 if device.type == "cuda" else 8
    images = torch.randn(batch, channels, pixels, pixels, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device)
    calls = {"product": lambda: a @ b, "convolution": lambda: conv2d(images, kernel, padding=1)}
    with repeatable():  # fp32, not TF32
        times = alternate(calls, 8)
    operations = {"product": size**3, "convolution": 9 * images.numel() * channels}
    return max(2 * operations[name] / min(times[name]) for name in calls)


def machine(device: torch.device) -> dict[str, str]:
    """Return what the figures depend on: hardware with its peak, and versions."""
    peak = f"{peak_flops(device) / 1e9:.0f} GFLOP/s in fp32"
    named = {"device": device_name(device), "cores": str(cpu_count()), "peak": peak}
    return named | versions()


def versions() -> dict[str, str]:
    """Return the versions of system, libraries and code."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "taskhead": __version__,
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "scipy")},
        "commit": commit("src", "benchmarks") or "unknown",
    }


def synchronise() -> None:
    """Wait for the accelerator, if there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
