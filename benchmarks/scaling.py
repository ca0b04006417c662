"""How cost and memory of the engine grow with heads, taus, seeds and images, on Linux."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from loky import ProcessPoolExecutor
from torch import nn

from benchmarks.measure import seconds
from benchmarks.scales import made_task
from taskhead.backbones import CHECKPOINT_MEAN, CHECKPOINT_STD, Normalise, extract_features
from taskhead.finetuning import finetune
from taskhead.heads import make_head
from taskhead.parallel import keep_freed_memory, one_thread
from taskhead.presets import load_preset
from taskhead.probing import probe_head, probe_heads
from taskhead.resnets import CifarResNet
from taskhead.runs import plan_finetuning
from taskhead.settings import DIGITS
from taskhead.sweeps import compute_energy_sweep
from taskhead.tasks import Draw

Axis = tuple[str, Callable[[int, torch.device], None], Sequence[int]]


def of_heads(count: int, device: torch.device) -> None:
    features, labels = torch.rand(1000, 64, device=device), torch.arange(1000, device=device) % 10
    heads = [make_head(64, 10, seed=seed) for seed in range(count)]
    numbers = range(count)
    probe_heads(
        features, labels, heads, taus=[20], lr=0.01, eps=[0.1] * count, seeds=numbers, batch_size=32
    )


def of_taus(count: int, device: torch.device) -> None:
    features, labels = torch.rand(1000, 64, device=device), torch.arange(1000, device=device) % 10
    taus = np.linspace(0, 199, count + 1).astype(int).tolist()[1:]
    probe_head(features, labels, make_head(64, 10), taus=taus, lr=0.01)


def of_seeds(count: int, device: torch.device) -> None:
    grid = load_preset("laptop").energy_sweep["digits"]
    grid = grid.model_copy(update={"seeds": list(range(count)), "taus": [0, 64], "ft_epochs": 10})
    list(compute_energy_sweep(DIGITS, plan_finetuning(DIGITS, "laptop", grid), device))


def of_images(count: int, device: torch.device) -> None:
    task = made_task(Draw(0, 32, train_per_class=count // 10, val_per_class=2)).to(device)
    backbone = nn.Sequential(Normalise(CHECKPOINT_MEAN, CHECKPOINT_STD), CifarResNet(20))
    backbone = backbone.to(device).eval()
    extract_features(backbone, task.train.images)
    finetune(backbone, make_head(64, 10), task, epochs=1, backbone_lr=0, head_lr=0)


AXES: dict[str, Axis] = {
    "heads": ("HP side by side, 20 epochs, 1,000 features", of_heads, (1, 4, 16, 64, 256)),
    "taus": ("HP of a grid up to 199 epochs, 1,000 features", of_taus, (1, 4, 16, 64)),
    "seeds": ("digits sweep, 2 taus x 10 FT epochs, one process", of_seeds, (1, 2, 4, 8)),
    "images": ("ResNet-20: features and one FT epoch", of_images, (250, 500, 1000, 2000)),
}


def scaling(*, points: int, repetitions: int, device: torch.device) -> list[dict]:
    """Measure the first `points` numbers of each axis, each in a process of its own.

    A cost is the median of some calls after a first one, in a process that keeps freed memory.
    The slope is that of a straight line through logarithms of cost and number, and that between the
    last two.
    """
    rows = []
    for name, (work, call, all_numbers) in AXES.items():
        numbers = list(all_numbers[:points])
        measured = [_alone(call, number, repetitions, device) for number in numbers]
        times, peaks = zip(*measured, strict=True)
        rows.append(
            {
                "of": name,
                "work": work,
                "numbers": numbers,
                "seconds": list(times),
                "slope": _slope(numbers, times),
                "last_slope": _slope(numbers[-2:], times[-2:]),
                "peak_mib": list(peaks),
            }
        )
    return rows


def _slope(numbers: Sequence[int], times: Sequence[float]) -> float:
    return float(np.polyfit(np.log(numbers), np.log(times), 1)[0])


def _alone(
    call: Callable, number: int, repetitions: int, device: torch.device
) -> tuple[float, float]:
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_measure, call, number, repetitions, device).result()


def _measure(
    call: Callable, number: int, repetitions: int, device: torch.device
) -> tuple[float, float]:
    """Return the median seconds of a call, and the peak memory of the process in MiB."""
    keep_freed_memory()
    with one_thread():
        call(number, device)
        times = [seconds(partial(call, number, device)) for _ in range(repetitions)]
    taken = statistics.median(times)
    if device.type == "cuda":
        return taken, torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return taken, int(status.split("VmHWM:")[1].split()[0]) / 2**10
