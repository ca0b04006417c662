"""What the recorded energy sweeps took, and what they would have taken with the baseline."""

from typing import Any

import torch

from benchmarks.measure import alternate
from benchmarks.scales import Scale
from benchmarks.sides import baselines, sweep_cost, sweep_shares
from taskhead import studies
from taskhead.backbones import extract_features
from taskhead.heads import make_head
from taskhead.presets import load_preset
from taskhead.pretraining import pretrained_backbone
from taskhead.settings import DIGITS, NetworkSetting, get_setting
from taskhead.tasks import Draw


def recorded_costs(scale: Scale, preset: str, device: torch.device) -> list[dict[str, Any]]:
    """Measure the baseline once on shares of every sweep that is recorded for the preset."""
    rows = []
    for name, (table, _) in studies.all_recorded("energy_sweep", preset=preset).items():
        setting, grid = get_setting(name), load_preset(preset).energy_sweep[name]
        if not isinstance(setting, NetworkSetting):
            continue
        sizes = (grid.image_size, grid.train_per_class, grid.val_per_class, grid.test_per_class)
        task = setting.load_task(Draw(grid.seeds[0], *sizes, domain=grid.domains[0])).to(device)
        backbone = pretrained_backbone(grid.backbone, device=device)
        shares = scale.digits_shares if name == DIGITS.name else scale.shares
        side = baselines(task, backbone, setting, device)["B1"]
        n_features = extract_features(backbone, task.val.images[:1]).shape[1]
        head = make_head(n_features, task.n_classes, init_scale=setting.init_scale)
        times = alternate(sweep_shares("B1", side, head, shares), 1)
        rows.append(
            {
                "setting": name,
                "runs": len(table),
                "ft_epochs": grid.ft_epochs,
                "ours": float(table["wall_s"].sum()),
                "baseline": sweep_cost(times, "B1", grid, shares)[0],
            }
        )
    return rows
