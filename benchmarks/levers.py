"""What each lever brings by itself: seconds with it against seconds without it."""

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest import mock

import torch
from loky import ProcessPoolExecutor
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision import models

from benchmarks.measure import Times, alternate, seconds
from taskhead.data import forward_batches
from taskhead.folding import folded_batchnorm
from taskhead.parallel import cores, one_thread
from taskhead.resnets import CifarResNet

BATCH, STEPS = 32, 10


def levers(*, repetitions: int, device: torch.device) -> list[dict[str, Any]]:
    """Measure the levers on steps of ResNet-20 and on forward passes, with one thread each."""
    with one_thread():
        plain = _steps(device, memory_format=torch.contiguous_format)
        last = _steps(device)
        variants = {
            "plain": plain,
            "channels_last": last,
            "folded": _steps(device, fold=True),
            "fused": _steps(device, fused=True),
            "compiled": _steps(device, compiled=True),
        }
        with mock.patch.object(torch.compiler.config, "force_disable_caches", True):
            compilation = seconds(partial(variants["compiled"], 1))
        calls = {name: partial(call, STEPS) for name, call in variants.items()}
        alternate(calls, 1)  # warm up
        step = _medians(alternate(calls, repetitions))
        forward = _medians(alternate(_forwards(device), repetitions))
    rows = [
        ("`channels_last`", "steps of ResNet-20", step["plain"], step["channels_last"], "kept"),
        ("BatchNorm folded", "steps of ResNet-20", step["channels_last"], step["folded"], "kept"),
        ("fused optimiser", "steps of ResNet-20", step["channels_last"], step["fused"], "left"),
        (
            f"`torch.compile`, after {compilation:.0f} s of compilation",
            "steps of ResNet-20",
            step["channels_last"],
            step["compiled"],
            "left",
        ),
        (
            "batches of 2^18 pixels in place of 1024 images",
            "SqueezeNet forward, 96 px",
            forward["whole"],
            forward["batches"],
            "kept",
        ),
    ]
    if device.type == "cpu" and cores() > 1:
        threads, processes = _side_by_side(repetitions, device)
        name = f"{cores()} processes with one thread in place of one with {cores()}"
        rows.append((name, "steps of ResNet-20", threads, processes, "kept"))
    names = ("lever", "work", "without", "with", "verdict")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _steps(
    device: torch.device,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    fold: bool = False,
    fused: bool = False,
    compiled: bool = False,
) -> Callable[[int], None]:
    """Return a function that takes so many finetuning steps on one batch."""
    network = nn.Sequential(CifarResNet(20), nn.Linear(64, 10)).to(device).eval()
    network = network.to(memory_format=memory_format)
    images = torch.randn(BATCH, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
    labels = torch.arange(BATCH, device=device) % 10
    optimiser = torch.optim.SGD(
        network.parameters(), 1e-6, momentum=0.9, nesterov=True, fused=fused
    )
    model: Callable[[Tensor], Tensor] = torch.compile(network) if compiled else network

    def steps(count: int) -> None:
        with folded_batchnorm(network, images[:2]) if fold else nullcontext():
            for _ in range(count):
                optimiser.zero_grad()
                cross_entropy(model(images), labels).backward()
                optimiser.step()

    return steps


def _forwards(device: torch.device) -> dict[str, Callable[[], object]]:
    network = models.squeezenet1_1(weights=None).to(device).eval()
    images = torch.randn(256, 3, 96, 96, device=device).contiguous(
        memory_format=torch.channels_last
    )

    @torch.no_grad()
    def forward(*batches: Tensor) -> None:
        for batch in batches:
            network(batch)

    return {
        "whole": partial(forward, images),
        "batches": partial(forward, *forward_batches(images)),
    }


def _side_by_side(repetitions: int, device: torch.device) -> tuple[float, float]:
    """Return the seconds of the same number of steps in threads and in processes."""
    steps = _steps(device, fold=True)
    steps(1)
    threads = _medians(alternate({"all": partial(steps, cores() * STEPS)}, repetitions))["all"]
    with ProcessPoolExecutor(cores()) as pool:
        times = []
        for _ in range(repetitions + 1):  # the first one warms up
            done = [pool.submit(_process_steps, device) for _ in range(cores())]
            times.append(max(each.result() for each in done))
    return threads, statistics.median(times[1:])


def _process_steps(device: torch.device) -> float:
    with one_thread():
        steps = _steps(device, fold=True)
        steps(1)
        return seconds(partial(steps, STEPS))


def _medians(times: Times) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}
