"""What the recorded energy sweeps took, and what they take on this machine on both sides.

Both sides are extended from a twentieth and a fifth of the epochs, in digits from more.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from loky import ProcessPoolExecutor

from benchmarks.measure import Shares, extended, seconds, warm_up
from benchmarks.scales import Scale
from benchmarks.sides import baselines, processes, recipe, sweep_cost, sweep_shares
from taskhead import studies
from taskhead.parallel import keep_freed_memory, one_thread
from taskhead.presets import EnergySweep, load_preset
from taskhead.pretraining import pretrained_backbone
from taskhead.records import Row
from taskhead.runs import plan_finetuning, prepare
from taskhead.settings import DIGITS, NetworkSetting, get_setting
from taskhead.sweeps import compute_energy_sweep

Costs = Mapping[str, list[float]]


def sweep_costs(scale: Scale, preset: str, device: torch.device) -> list[dict[str, Any]]:
    """Measure shares of every sweep that is recorded for the preset, on both sides in turn."""
    rows = []
    for name, (table, _) in studies.all_recorded("energy_sweep", preset=preset).items():
        setting, grid = get_setting(name), load_preset(preset).energy_sweep[name]
        if not isinstance(setting, NetworkSetting):
            continue
        epochs = grid.ft_epochs
        shares = (epochs // 20, epochs // 5) if name != DIGITS.name else scale.digits_shares
        rows.append(
            {
                "setting": name,
                "runs": len(table),
                "ft_epochs": epochs,
                "recorded": float(table["wall_s"].sum()),
                **_both(setting, grid, preset, device, shares, scale.repetitions),
            }
        )
    return rows


def _both(
    setting: NetworkSetting,
    grid: EnergySweep,
    preset: str,
    device: torch.device,
    shares: Shares,
    repetitions: int,
) -> Costs:
    """Return the cost of a sweep on both sides, for each repetition."""
    runs = plan_finetuning(setting, preset, grid)[: len(grid.taus)]  # one seed, one domain
    backbone = pretrained_backbone(grid.backbone, device=device)
    prepared = prepare(setting, backbone, runs[0], device)
    shared = recipe(setting, backbone, grid.image_size)
    side = baselines(prepared.task, backbone, shared, device)["B1"]
    calls = sweep_shares("B1", side, prepared.head, shares)
    times: dict[str, list[float]] = {name: [] for name in calls}
    ours: list[float] = []
    with ProcessPoolExecutor(processes(device)) as pool:
        _ours(pool, setting, grid, runs, device, (1, 2))
        warm_up(*(partial(part, prepared.head, 1) for part in (side.probe, side.finetune)))
        for _ in range(repetitions):
            ours.append(_ours(pool, setting, grid, runs, device, shares))
            for name, call in calls.items():
                times[name].append(seconds(call))
    return {"ours": ours, "baseline": sweep_cost(times, "B1", grid, shares)}


def _ours(
    pool: ProcessPoolExecutor,
    setting: NetworkSetting,
    grid: EnergySweep,
    runs: Sequence[Row],
    device: torch.device,
    shares: Shares,
) -> float:
    """Return our cost: each process prepares the seeds and domains of its block of runs."""
    preparations: list[float] = []
    times: dict[str, list[float]] = {}
    for share in shares:
        work = [{**run, "ft_epochs": share} for run in (runs[len(runs) // 2], runs[-1])]
        done = [pool.submit(_run, setting, work, device) for _ in range(processes(device))]
        preparation, finetuning = zip(*(each.result() for each in done), strict=True)
        preparations += preparation
        times[f"run {share}"] = [statistics.mean(finetuning)]
    (run,) = extended(times, "run", shares, grid.ft_epochs)
    seeds = len(grid.seeds) * len(grid.domains) / processes(device)
    return math.ceil(seeds) * statistics.mean(preparations) + seeds * len(grid.taus) * run


def _run(setting: NetworkSetting, runs: Sequence[Row], device: torch.device) -> tuple[float, float]:
    """Prepare, probe for all of the runs, finetune the first; return the seconds of each part."""
    keep_freed_memory()
    start = time.perf_counter()
    with one_thread():
        (row,) = next(compute_energy_sweep(setting, runs, device))
    if row["status"] != "done":
        raise RuntimeError(f"a run of {setting.name} has {row['status']}; it says nothing of cost")
    return time.perf_counter() - start - row["wall_s"], row["wall_s"]
