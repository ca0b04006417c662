"""Levers on the speed of finetuning steps, each alone: images a second of the engine's own loop."""

import multiprocessing
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torchvision import models

from benchmarks.facts import SIZES, product_rate
from benchmarks.measure import flops, synchronise
from taskhead.experiments.workers import repeatable
from taskhead.method.augmentation import CropAndFlip
from taskhead.method.batches import LabelledImages, shuffled_batches
from taskhead.method.finetuning import take_steps
from taskhead.method.heads import make_head
from taskhead.method.optimisers import make_schedule
from taskhead.models.resnets import CifarResNet
from taskhead.models.torchvision import Normalise

BATCH, CLASSES = 32, 10
SECONDS = {"smoke": 0.1, "gpu": 2.0}
SIDE_BY_SIDE = {"smoke": (2,), "gpu": (2, 4, 8, 16)}
OPTIONS = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
Call = Callable[[], object]
Change = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Case:
    """A network, the pixels of a side of its images, and the batches of its epochs."""

    name: str
    size: int
    batches: int


def cases(preset: str) -> list[Case]:
    """Return the networks that levers are measured on."""
    batches = 1 if preset == "smoke" else 8
    return [Case("resnet20 32 px", 32, batches), Case("squeezenet 96 px", 96, batches)]


def network(case: Case, device: torch.device) -> nn.Sequential:
    """Return an untrained backbone and head for a case, in finetuning's mode."""
    if case.name.startswith("resnet"):
        backbone, width = CifarResNet(20), 64
    else:
        whole, width = models.squeezenet1_1(weights=None), 512
        backbone = nn.Sequential(whole.features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parts = Normalise((0.5,), (0.25,)), backbone, make_head(width, CLASSES)
    return nn.Sequential(*parts).to(device).eval()


def samples(case: Case, device: torch.device) -> LabelledImages:
    """Return images of noise for all batches of an epoch."""
    n, size = BATCH * case.batches, case.size
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, device=device)
    return LabelledImages(images, torch.arange(n, device=device) % CLASSES)


def epoch(
    case: Case,
    device: torch.device,
    change: Callable[[nn.Module], nn.Module],
    *,
    fused: bool = True,
) -> Call:
    """Return a call that takes the engine's steps of an epoch with a changed network."""
    start, train = network(case, device), samples(case, device)
    optimiser = torch.optim.SGD(start.parameters(), fused=fused, **OPTIONS)
    schedule = make_schedule(optimiser, 10**6, decay="cosine", warmup=0)
    order, changed = torch.Generator().manual_seed(0), change(start)
    draw = {"augment": CropAndFlip(), "generator": order}

    def steps() -> None:
        batches = shuffled_batches(len(train), BATCH, order, device)
        take_steps(changed, train, batches, optimiser, schedule, 0.0, **draw)

    return steps


def rate(call: Call, images: int, seconds: float) -> float:
    """Return images a second of a call that takes so many, after two that do not count."""
    for _ in range(2):
        call()
    synchronise()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        synchronise()
        done += images
    return done / (time.perf_counter() - start)


def unchanged(start: nn.Module) -> nn.Module:
    return start


def last_channels(start: nn.Module) -> nn.Module:
    return start.to(memory_format=torch.channels_last)


def in_graph(case: Case, device: torch.device) -> Call:
    """Return a call that replays a captured step for each batch of an epoch; CUDA alone."""
    start, train = network(case, device), samples(case, device)
    optimiser = torch.optim.SGD(start.parameters(), fused=True, **OPTIONS)
    images, labels = train.images[:BATCH].clone(), train.labels[:BATCH].clone()
    order, augment = torch.Generator().manual_seed(0), CropAndFlip()

    def step() -> None:
        optimiser.zero_grad()
        cross_entropy(start(images), labels).backward()
        optimiser.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def steps() -> None:
        for batch in shuffled_batches(len(train), BATCH, order, device):
            images.copy_(augment(train.images[batch], order))
            labels.copy_(train.labels[batch])
            graph.replay()

    return steps


class Stacked:
    """Several networks with their parameters stacked, which take each step together."""

    def __init__(self, networks: list[nn.Sequential]) -> None:
        self.normalise, self.base = networks[0][0], networks[0][1:]
        self.state, self.buffers = stack_module_state([each[1:] for each in networks])
        self.state = {name: each.detach() for name, each in self.state.items()}
        self.momentum = {name: torch.zeros_like(each) for name, each in self.state.items()}
        self.gradient = vmap(grad(self.loss), in_dims=(0, 0, 0, 0))

    def loss(self, state: dict, buffers: dict, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(functional_call(self.base, (state, buffers), (images,)), labels)

    @torch.no_grad()
    def step(self, images: Tensor, labels: Tensor) -> None:
        """Take a step of SGD with Nesterov momentum; images (R, B, ...), labels (R, B)."""
        seen = self.normalise(images.flatten(0, 1)).contiguous().unflatten(0, images.shape[:2])
        found = self.gradient(self.state, self.buffers, seen, labels)
        beta, decay = OPTIONS["momentum"], OPTIONS["weight_decay"]
        for name, value in self.state.items():
            slope = found[name].add_(value, alpha=decay)
            self.momentum[name].mul_(beta).add_(slope)
            value.sub_(slope.add_(self.momentum[name], alpha=beta), alpha=OPTIONS["lr"])


def stacked(case: Case, device: torch.device, runs: int) -> Call:
    """Return a call that takes the steps of an epoch of several runs under `torch.func`."""
    together = Stacked([network(case, device) for _ in range(runs)])
    train, order, augment = samples(case, device), torch.Generator().manual_seed(0), CropAndFlip()

    def steps() -> None:
        orders = [shuffled_batches(len(train), BATCH, order, device) for _ in range(runs)]
        for batches in zip(*orders, strict=True):
            seen = [train[batch] for batch in batches]
            images = torch.stack([augment(each.images, order) for each in seen])
            together.step(images, torch.stack([each.labels for each in seen]))

    return steps


def in_processes(case: Case, device: torch.device, processes: int, seconds: float) -> float:
    """Return images a second of one run in each of several processes, all at the same time."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(processes), context.Queue()
    arguments = case, device, seconds, ready, rates
    helpers = [context.Process(target=_alone, args=arguments) for _ in range(processes)]
    for helper in helpers:
        helper.start()
    found = [rates.get(timeout=60) for _ in helpers]  # none comes from a helper that died
    for helper in helpers:
        helper.join()
    return sum(found)


def _alone(case: Case, device: torch.device, seconds: float, ready: Any, rates: Any) -> None:
    torch.set_num_threads(1)
    with repeatable():
        call = epoch(case, device, unchanged)
        call()
        ready.wait()
        rates.put(rate(call, BATCH * case.batches, seconds))


LEVERS = ("plain", "unfused", "channels_last", "bf16", "graph", "compile", "stacked", "processes")
CUDA_ONLY = ("graph",)


def measure_lever(lever: str, preset: str, device: torch.device) -> dict[str, Any]:
    """Measure a lever on both cases, as the engine computes: in fp32, or bf16, without TF32.

    Return images a second, and what they come to as a share of the measured peak.
    """
    found: dict[str, Any] = {}
    dtype = torch.bfloat16 if lever == "bf16" else torch.float32
    peak = product_rate(SIZES[preset][0], dtype, device)
    for case in cases(preset):
        start = network(case, device)
        work = flops(start, samples(case, device).images[:BATCH], training=True)
        with repeatable():
            rates = _rates(lever, case, SECONDS[preset], preset, device)
        for name, images_per_second in rates:
            found[f"{case.name}{name} images/s"] = images_per_second
            found[f"{case.name}{name} of the peak"] = work * images_per_second / peak
    return found


def _rates(lever: str, case: Case, seconds: float, preset: str, device: torch.device) -> list:
    images, many = BATCH * case.batches, SIDE_BY_SIDE[preset]
    if lever == "processes":
        return [(f" x {n}", in_processes(case, device, n, seconds)) for n in many]
    if lever == "stacked":
        calls = {n: stacked(case, device, n) for n in many}
        return [(f" x {n}", rate(each, n * images, seconds)) for n, each in calls.items()]
    context: AbstractContextManager = nullcontext()
    match lever:
        case "channels_last":
            call = epoch(case, device, last_channels)
        case "bf16":
            call = epoch(case, device, unchanged)
            context = torch.autocast(device.type, torch.bfloat16)
        case "graph":
            call = in_graph(case, device)
        case "compile":
            call = epoch(case, device, torch.compile)  # pyright: ignore[reportArgumentType]
        case _:
            call = epoch(case, device, unchanged, fused=lever != "unfused")
    with context:
        return [("", rate(call, images, seconds))]
