"""What each lever brings by itself: seconds with it against seconds without it."""

import copy
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

import torch
from loky import ProcessPoolExecutor, cpu_count
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision import models

from benchmarks.measure import Times, alternate, seconds
from benchmarks.scales import Scale
from taskhead.backbones import small_convnet
from taskhead.data import forward_batches
from taskhead.parallel import keep_freed_memory, one_thread
from taskhead.resnets import CifarResNet

Tensors = dict[str, Tensor]
BATCH, STEPS, SMALL_STEPS, STACKED = 32, 10, 200, 4


def levers(scale: Scale, device: torch.device) -> list[dict[str, Any]]:
    """Measure the levers on finetuning steps and on forward passes, with one thread each.

    Compilation, which wants a C++ compiler, is left out where images are made.
    """
    repetitions, compilation = scale.repetitions + 2, 0.0
    with one_thread():
        variants = {
            "plain": _steps(device, memory_format=torch.contiguous_format),
            "channels_last": _steps(device),
        }
        if not scale.made:
            variants["compiled"] = _steps(device, compiled=True)
            with mock.patch.object(torch.compiler.config, "force_disable_caches", True):
                compilation = seconds(partial(variants["compiled"], 1))
        calls = {name: partial(call, STEPS) for name, call in variants.items()}
        calls |= {
            "apart": partial(_steps(device, digits=True, fused=False), SMALL_STEPS),
            "fused": partial(_steps(device, digits=True), SMALL_STEPS),
            "stack": partial(_stacked(device), STEPS),
            "small stack": partial(_stacked(device, digits=True), SMALL_STEPS),
        }
        alternate(calls, 1)  # warm up
        step = alternate(calls, repetitions)
        forward = alternate(_forwards(device), repetitions)
    last = step["channels_last"]
    steps, digits = "steps of ResNet-20", "steps of the digits' network"
    forwards = "SqueezeNet forward, 96 px"
    whole, batches = forward["whole"], forward["batches"]
    stack = f"{STACKED} runs stacked under `torch.func`"
    rows = [
        ("`channels_last`", steps, step["plain"], last, "in use"),
        ("fused optimiser", digits, step["apart"], step["fused"], "in use"),
        ("bounded batches in place of one", forwards, whole, batches, "in use"),
        (stack, steps, [STACKED * t for t in last], step["stack"], "not in use"),
        (stack, digits, [STACKED * t for t in step["fused"]], step["small stack"], "not in use"),
    ]
    if not scale.made:
        name = f"`torch.compile`, after {compilation:.0f} s of compilation"
        rows.append((name, steps, last, step["compiled"], "not in use"))
    if device.type == "cpu":
        times = _in_processes(repetitions, device)
        rows.append(("freed memory kept", steps, times["alone"], times["keeping"], "in use"))
        name = "a process for each core in place of a thread for each"
        rows.append((name, steps, times["threads"], times["processes"], "in use"))
    names = ("lever", "work", "without", "with", "engine")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _steps(
    device: torch.device,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    digits: bool = False,
    fused: bool = True,
    compiled: bool = False,
) -> Callable[[int], None]:
    """Return a function that takes so many finetuning steps on one batch."""
    network, images, labels = _network_and_batch(device, digits=digits)
    images = images.contiguous(memory_format=memory_format)
    optimiser = _optimiser(network.parameters(), fused=fused)
    model: Callable[[Tensor], Tensor] = torch.compile(network) if compiled else network

    def steps(count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimiser.step()

    return steps


def _stacked(device: torch.device, *, digits: bool = False) -> Callable[[int], None]:
    """Return a function that takes so many steps of several networks, stacked into one."""
    network, images, labels = _network_and_batch(device, digits=digits)
    networks: list[nn.Module] = [copy.deepcopy(network) for _ in range(STACKED)]
    parameters, buffers = torch.func.stack_module_state(networks)
    optimiser = _optimiser(parameters.values())
    batches = torch.stack([images] * STACKED)

    def loss(parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        logits = torch.func.functional_call(network, (parameters, buffers), (images,))
        return cross_entropy(logits, labels)

    def steps(count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            torch.func.vmap(loss)(parameters, buffers, batches).sum().backward()
            optimiser.step()

    return steps


def _network_and_batch(
    device: torch.device, *, digits: bool
) -> tuple[nn.Sequential, Tensor, Tensor]:
    backbone, shape = (small_convnet(), (1, 8, 8)) if digits else (CifarResNet(20), (3, 32, 32))
    network = nn.Sequential(backbone, nn.Linear(64, 10)).to(device).eval()
    images = torch.randn(BATCH, *shape, device=device)
    return network, images, torch.arange(BATCH, device=device) % 10


def _optimiser(parameters: Iterable[Tensor], *, fused: bool = True) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, 1e-6, momentum=0.9, nesterov=True, fused=fused)


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


def _in_processes(repetitions: int, device: torch.device) -> Times:
    """Time steps in processes of their own, in turn: from the first's start to the last's end."""
    variants = {  # processes, threads and steps of each, freed memory kept
        "alone": (1, 1, STEPS, False),
        "keeping": (1, 1, STEPS, True),
        "threads": (1, cpu_count(), cpu_count() * STEPS, False),
        "processes": (cpu_count(), 1, STEPS, False),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(count))
            for name, (count, *_) in variants.items()
        }
        for _ in range(repetitions + 1):
            for name, (count, *work) in variants.items():
                done = [pools[name].submit(_span, device, *work) for _ in range(count)]
                starts, ends = zip(*(each.result() for each in done), strict=True)
                times[name].append(max(ends) - min(starts))
    return {name: values[1:] for name, values in times.items()}  # the first one warms up


def _span(device: torch.device, threads: int, count: int, keep: bool) -> tuple[float, float]:
    """Take steps in a process; return start and end by the clock that all processes share."""
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    steps = _steps(device)
    steps(1)
    start = time.perf_counter()
    steps(count)
    return start, time.perf_counter()
