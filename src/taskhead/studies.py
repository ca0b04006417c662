"""Studies: the grid of runs behind each figure, computed run by run or loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from taskhead import records, sweeps, toys
from taskhead.checks import check_choice
from taskhead.presets import load_preset
from taskhead.records import Row
from taskhead.settings import SETTINGS, NetworkSetting, get_setting

RUNS_FOLDER = Path("runs")


@dataclass(frozen=True)
class Study:
    """A kind of table: its schema, what runs it wants, and how they are computed.

    `plan(setting, preset_name, scale)` returns the keys of all runs; `compute(setting, runs,
    device)` yields lists of rows, each of which is written to disk at once.
    """

    columns: Mapping[str, type]
    key: Sequence[str]
    settings: Sequence[str]
    plan: Callable[[Any, str, Any], list[dict[str, Any]]]
    compute: Callable[[Any, Sequence[Row], torch.device], Iterator[list[Row]]]


_NETWORK_SETTINGS = [name for name, s in SETTINGS.items() if isinstance(s, NetworkSetting)]
STUDIES = {
    "toy_linear": Study(
        columns=toys.TOY_LINEAR_COLUMNS,
        key=toys.TOY_LINEAR_KEY,
        settings=["toy"],
        plan=lambda setting, preset, scale: toys.plan_toy_linear(setting.name, preset, scale),
        compute=lambda setting, runs, device: toys.compute_toy_linear(runs),
    ),
    "lazy_limit": Study(
        columns=toys.LAZY_LIMIT_COLUMNS,
        key=toys.LAZY_LIMIT_KEY,
        settings=["toy"],
        plan=lambda setting, preset, scale: toys.plan_lazy_limit(setting.name, preset, scale),
        compute=lambda setting, runs, device: toys.compute_lazy_limit(runs),
    ),
    "energy_sweep": Study(
        columns=sweeps.ENERGY_SWEEP_COLUMNS,
        key=sweeps.ENERGY_SWEEP_KEY,
        settings=_NETWORK_SETTINGS,
        plan=sweeps.plan_energy_sweep,
        compute=sweeps.compute_energy_sweep,
    ),
    "rate_search": Study(
        columns=sweeps.ENERGY_SWEEP_COLUMNS,
        key=sweeps.ENERGY_SWEEP_KEY,
        settings=_NETWORK_SETTINGS,
        plan=sweeps.plan_rate_search,
        compute=sweeps.compute_energy_sweep,
    ),
    "feature_geometry": Study(
        columns=sweeps.FEATURE_GEOMETRY_COLUMNS,
        key=sweeps.FEATURE_GEOMETRY_KEY,
        settings=_NETWORK_SETTINGS,
        plan=sweeps.plan_feature_geometry,
        compute=sweeps.compute_feature_geometry,
    ),
}


def run(
    study: str,
    *,
    setting: str,
    preset: str,
    results: Path | str = RUNS_FOLDER,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    recompute: bool = False,
) -> pd.DataFrame:
    """Compute what the table `results/study/setting.csv` lacks and return the preset's rows.

    Each row reaches the disk as soon as it is computed, so a killed call continues where it
    stopped.

    Parameters
    ----------
    study, setting, preset
        Names; `taskhead settings` lists the settings.
    results
        Folder of the tables; made if it does not exist.
    seeds
        In place of the preset's seeds.
    device
        "auto" (CUDA, then MPS, then CPU), "cpu", "cuda" or "mps".
    recompute
        Compute every row again; each replaces its predecessor when it is done.

    Returns
    -------
    DataFrame
        One row per run of the preset, in the order of its grid.

    Raises
    ------
    ValueError
        If a name is unknown, a seed or the device is invalid, or the results file is damaged.
        Nothing has been computed or written then.
    """
    plan = _plan(study, setting, preset, seeds)
    kind, torch_device = STUDIES[study], choose_device(device)
    if Path(results).is_file():
        raise ValueError(f"results {results} is a file; give a folder")
    path = records.table_path(Path(results), study, setting)
    table = records.load(path, kind.columns)
    records.load_provenance(path)  # damaged, it must not cost the rows computed below
    pending = plan if recompute else records.missing_keys(plan, table, kind.key)
    if pending:
        scale = load_preset(preset).scale(study, setting, seeds=seeds)
        session = records.describe_session(preset, scale.model_dump(), torch_device)
        with tqdm(total=len(pending), desc=f"{study} {setting}", unit="run") as progress:
            for rows in kind.compute(get_setting(setting), pending, torch_device):
                records.append(path, rows, kind.columns, key=kind.key, session=session)
                progress.update(len(rows))
        table = records.load(path, kind.columns)
    return records.select(table, plan, kind.key)


def load_or_run(
    study: str,
    *,
    setting: str,
    preset: str,
    results: Path | str = "",
    device: str = "auto",
    recompute: bool = False,
) -> tuple[pd.DataFrame, Path]:
    """Return the preset's rows and the table they stand in, computing only what is missing.

    Without a `results` folder the recorded results that come with the project serve if they are
    complete, and are never changed; else the folder `runs` below the working directory is used.
    Parameters and errors are those of `run`.
    """
    plan, kind = _plan(study, setting, preset, None), STUDIES[study]
    choose_device(device)
    if not results and not recompute:
        recorded = records.table_path(records.recorded_folder(), study, setting)
        table = records.load(recorded, kind.columns)
        if not records.missing_keys(plan, table, kind.key):
            return records.select(table, plan, kind.key), recorded
    folder = Path(results) if results else RUNS_FOLDER
    table = run(
        study, setting=setting, preset=preset, results=folder, device=device, recompute=recompute
    )
    return table, records.table_path(folder, study, setting)


def choose_device(name: str) -> torch.device:
    """Return the device of this name, "auto" being the fastest that is there.

    Raises
    ------
    ValueError
        If the name is unknown or this machine has no such device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    check_choice("device", name, ["auto", *available])
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        there = [kind for kind in available if available[kind]]
        raise ValueError(f"device {name!r} is not available here; valid: auto, {', '.join(there)}")
    return torch.device(name)


def _plan(
    study: str, setting: str, preset: str, seeds: Sequence[int] | None
) -> list[dict[str, Any]]:
    check_choice("study", study, STUDIES)
    described, scales = get_setting(setting), load_preset(preset)
    check_choice(f"setting of {study}", setting, STUDIES[study].settings)
    return STUDIES[study].plan(described, preset, scales.scale(study, setting, seeds=seeds))
