"""What the recorded energy sweeps took, and what they take on this machine on both sides."""

import statistics
import time
from typing import Any

import torch
from loky import ProcessPoolExecutor, cpu_count

from benchmarks.measure import Shares, alternate, extended
from benchmarks.scales import Scale
from benchmarks.sides import baselines, sweep_cost, sweep_shares
from taskhead import studies
from taskhead.backbones import extract_features
from taskhead.heads import make_head
from taskhead.parallel import keep_freed_memory, one_thread
from taskhead.presets import EnergySweep, load_preset
from taskhead.pretraining import pretrained_backbone
from taskhead.records import Row
from taskhead.runs import plan_finetuning
from taskhead.settings import DIGITS, NetworkSetting, get_setting
from taskhead.sweeps import compute_energy_sweep
from taskhead.tasks import Draw


def recorded_costs(scale: Scale, preset: str, device: torch.device) -> list[dict[str, Any]]:
    """Measure shares of every sweep that is recorded for the preset, once on both sides."""
    rows = []
    for name, (table, _) in studies.all_recorded("energy_sweep", preset=preset).items():
        setting, grid = get_setting(name), load_preset(preset).energy_sweep[name]
        if not isinstance(setting, NetworkSetting):
            continue
        shares = scale.digits_shares if name == DIGITS.name else scale.shares
        rows.append(
            {
                "setting": name,
                "runs": len(table),
                "ft_epochs": grid.ft_epochs,
                "recorded": float(table["wall_s"].sum()),
                "ours": _ours(setting, grid, preset, device, shares),
                "baseline": _baseline(setting, grid, device, shares),
            }
        )
    return rows


def _ours(
    setting: NetworkSetting, grid: EnergySweep, preset: str, device: torch.device, shares: Shares
) -> float:
    """Return the cost of a sweep: preparation once a seed and domain, runs dealt to the cores."""
    run = plan_finetuning(setting, preset, grid)[-1]  # probed for longest
    n_prepared = len(grid.seeds) * len(grid.domains)
    times: dict[str, list[float]] = {}
    prepared: list[float] = []
    with ProcessPoolExecutor(cpu_count()) as pool:
        for share in shares:
            work = (setting, {**run, "ft_epochs": share}, device)
            done = [pool.submit(_run, *work) for _ in range(cpu_count())]
            preparation, finetuning = zip(*(each.result() for each in done), strict=True)
            prepared += preparation
            times[f"run {share}"] = [statistics.mean(finetuning)]
    one_run = extended(times, "run", shares, grid.ft_epochs)[0]
    return n_prepared * (statistics.mean(prepared) + len(grid.taus) / cpu_count() * one_run)


def _run(setting: NetworkSetting, run: Row, device: torch.device) -> tuple[float, float]:
    """Compute a run in a process; return the seconds of its preparation and of its finetuning."""
    keep_freed_memory()
    start = time.perf_counter()
    with one_thread():
        ((row,),) = compute_energy_sweep(setting, [run], device)
    return time.perf_counter() - start - row["wall_s"], row["wall_s"]


def _baseline(
    setting: NetworkSetting, grid: EnergySweep, device: torch.device, shares: Shares
) -> float:
    sizes = (grid.image_size, grid.train_per_class, grid.val_per_class, grid.test_per_class)
    task = setting.load_task(Draw(grid.seeds[0], *sizes, domain=grid.domains[0])).to(device)
    backbone = pretrained_backbone(grid.backbone, device=device)
    side = baselines(task, backbone, setting, device)["B1"]
    n_features = extract_features(backbone, task.val.images[:1]).shape[1]
    head = make_head(n_features, task.n_classes, init_scale=setting.init_scale)
    times = alternate(sweep_shares("B1", side, head, shares), 1)
    return sweep_cost(times, "B1", grid, shares)[0]
