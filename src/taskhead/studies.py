"""Studies: the grid of runs behind each figure, computed run by run or loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pandas as pd
import torch
from tqdm import tqdm

from taskhead import drift, geometry, pretraining, records, runs, sweeps, toys
from taskhead.checks import check_choice
from taskhead.parallel import default_workers, one_thread, spread
from taskhead.presets import Scale, load_preset
from taskhead.records import Row
from taskhead.settings import IMAGEFOLDER, SETTINGS, NetworkSetting, configure, get_setting

RUNS_FOLDER = Path("runs")


@dataclass(frozen=True)
class Study:
    """A kind of table: its schema, what runs it wants, and how they are computed.

    `plan(setting, preset_name, scale)` returns the keys of all runs; `compute(setting, runs,
    device)` yields lists of rows, each of which is written to disk at once. `options` are those
    that it heeds. Rows that differ in the columns `together` alone are computed by one process,
    those alike in the columns `prepared_by` one after another, as they share their preparation.
    """

    columns: Mapping[str, type]
    key: Sequence[str]
    settings: Sequence[str]
    plan: Callable[[Any, str, Any], list[dict[str, Any]]]
    compute: Callable[[Any, Sequence[Row], torch.device], Iterator[list[Row]]]
    options: Sequence[str] = ()
    together: Sequence[str] = ()
    prepared_by: Sequence[str] = ()


_NETWORK_SETTINGS = [name for name, s in SETTINGS.items() if isinstance(s, NetworkSetting)]
_PROBING_OPTIONS = [
    "backbone",
    "weights",
    "data",
    "domain",
    "image_size",
    "train_per_class",
    "hp_lr",
]
_BATCHNORM_SETTINGS = ["digits", "cifar10-to-cifar100", "cifar10-to-stl10"]


def _sweep(plan: Callable[[Any, str, Any], list[dict[str, Any]]], *options: str) -> Study:
    """Return a study whose rows are those of the energy sweep."""
    return Study(
        columns=sweeps.ENERGY_SWEEP_COLUMNS,
        key=runs.FINETUNING_KEY,
        settings=_NETWORK_SETTINGS,
        plan=plan,
        compute=sweeps.compute_energy_sweep,
        options=[*_PROBING_OPTIONS, *options],
        prepared_by=["domain", "seed"],
    )


STUDIES = {
    "toy_linear": Study(
        columns=toys.TOY_LINEAR_COLUMNS,
        key=toys.TOY_LINEAR_KEY,
        settings=["toy"],
        plan=lambda setting, preset, scale: toys.plan_toy_linear(setting.name, preset, scale),
        compute=lambda setting, runs, device: toys.compute_toy_linear(runs),
        together=["init_scale", "tau", "seed"],
    ),
    "lazy_limit": Study(
        columns=toys.LAZY_LIMIT_COLUMNS,
        key=toys.LAZY_LIMIT_KEY,
        settings=["toy"],
        plan=lambda setting, preset, scale: toys.plan_lazy_limit(setting.name, preset, scale),
        compute=lambda setting, runs, device: toys.compute_lazy_limit(runs),
        together=["energy", "seed"],
    ),
    "energy_sweep": _sweep(runs.plan_finetuning, "ft_lr"),
    "rate_search": _sweep(sweeps.plan_rate_search),
    "length_search": _sweep(sweeps.plan_length_search, "ft_lr"),
    "feature_geometry": Study(
        columns=geometry.FEATURE_GEOMETRY_COLUMNS,
        key=geometry.FEATURE_GEOMETRY_KEY,
        settings=["digits"],
        plan=geometry.plan_feature_geometry,
        compute=geometry.compute_feature_geometry,
        options=[*_PROBING_OPTIONS, "ft_lr"],
        together=["sample"],
    ),
    "batchnorm_drift": Study(
        columns=drift.BATCHNORM_DRIFT_COLUMNS,
        key=runs.RUN_KEY,
        settings=_BATCHNORM_SETTINGS,
        plan=drift.plan_batchnorm_drift,
        compute=drift.compute_batchnorm_drift,
        options=_PROBING_OPTIONS,
        together=["tau"],
    ),
    "pretraining": Study(
        columns=pretraining.PRETRAINING_COLUMNS,
        key=pretraining.PRETRAINING_KEY,
        settings=_BATCHNORM_SETTINGS,
        plan=lambda setting, preset, scale: pretraining.plan_pretraining(
            setting.name, preset, scale.backbones
        ),
        compute=lambda setting, runs, device: pretraining.compute_pretraining(runs, device),
    ),
}


class Options(TypedDict, total=False):
    """What a run may take in place of its setting's and preset's own; "" and 0 change nothing.

    `data` is the image folder of the open setting `imagefolder`, `weights` the name of torchvision
    weights or a checkpoint file, `domain` the one target domain.
    """

    backbone: str
    weights: str
    data: str
    domain: str
    image_size: int
    train_per_class: int
    hp_lr: float
    ft_lr: float


def run(
    study: str,
    *,
    setting: str,
    preset: str,
    results: Path | str = RUNS_FOLDER,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    recompute: bool = False,
    workers: int | None = None,
    **options: Unpack[Options],
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
    workers
        Processes that compute side by side, each with one thread on the CPU. None takes one for
        each core on the CPU, if there is work enough for their start, and one on other devices. The
        table does not depend on it.
    options
        See `Options`.

    Returns
    -------
    DataFrame
        One row per run of the preset, in the order of its grid.

    Raises
    ------
    ValueError
        If a name is unknown, a seed, an option, the device or the number of workers is invalid, or
        the results file is damaged. Nothing has been computed or written then.
    """
    described, scale = _prepare(study, setting, preset, seeds, options)
    kind, torch_device = STUDIES[study], choose_device(device)
    plan = kind.plan(described, preset, scale)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    workers = workers or default_workers(torch_device)
    path = records.table_path(Path(results), study, setting)
    table = records.load(path, kind.columns)
    records.load_provenance(path)  # damaged, it must not cost the rows computed below
    pending = plan if recompute else records.missing_keys(plan, table, kind.key)
    if pending:
        records.check_folder(path.parent)
        with one_thread():  # as every run has
            session = records.describe_session(preset, scale.model_dump(), torch_device)
        others = records.select(table, [] if recompute else plan, kind.key)
        pending = sorted(pending, key=lambda run: [run[name] for name in kind.prepared_by])
        work = partial(_compute_and_store, study, described, torch_device, others, path, session)
        with tqdm(total=len(pending), desc=f"{study} {setting}", unit="run") as progress:
            for _ in spread(work, pending, together=kind.together, workers=workers):
                progress.update(records.rows_written(path, session) - progress.n)
            progress.update(len(pending) - progress.n)
        table = records.load(path, kind.columns)
    return records.select(table, plan, kind.key)


def recorded(
    study: str, *, setting: str, preset: str, **options: Unpack[Options]
) -> tuple[pd.DataFrame, Path] | None:
    """Return the preset's recorded rows and their table; None unless they are complete.

    Parameters and errors are those of `run`. Nothing is computed.
    """
    described, scale = _prepare(study, setting, preset, None, options)
    kind = STUDIES[study]
    plan = kind.plan(described, preset, scale)
    path = records.table_path(records.recorded_folder(), study, setting)
    table = records.load(path, kind.columns)
    if records.missing_keys(plan, table, kind.key):
        return None
    return records.select(table, plan, kind.key), path


def all_recorded(study: str, *, preset: str) -> dict[str, tuple[pd.DataFrame, Path]]:
    """Return the preset's recorded rows and their table for every setting that has them."""
    found = {
        name: recorded(study, setting=name, preset=preset)
        for name in getattr(load_preset(preset), study)
        if name != IMAGEFOLDER.name
        and records.table_path(records.recorded_folder(), study, name).exists()
    }
    return {name: table for name, table in found.items() if table}


def load_or_run(
    study: str,
    *,
    setting: str,
    preset: str,
    results: Path | str = "",
    device: str = "auto",
    recompute: bool = False,
    **options: Unpack[Options],
) -> tuple[pd.DataFrame, Path]:
    """Return the preset's rows and the table they stand in, computing only what is missing.

    Without a `results` folder the recorded results that come with the project serve if they are
    complete, and are never changed; else the folder `runs` below the working directory is used.
    Parameters and errors are those of `run`.
    """
    choose_device(device)
    if not results and not recompute:
        found = recorded(study, setting=setting, preset=preset, **options)
        if found:
            return found
    folder = Path(results) if results else RUNS_FOLDER
    table = run(
        study,
        setting=setting,
        preset=preset,
        results=folder,
        device=device,
        recompute=recompute,
        **options,
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


def _compute_and_store(
    study: str,
    setting: Any,
    device: torch.device,
    others: pd.DataFrame,
    path: Path,
    session: Row,
    pending: Sequence[Row],
) -> Iterator[None]:
    """Compute the pending runs and append them to the table as they come; yield after each."""
    kind = STUDIES[study]
    with one_thread():
        for rows in kind.compute(setting, pending, device):
            _check_same_backbone(rows, others, path)
            records.append(path, rows, kind.columns, key=kind.key, session=session)
            yield


def _check_same_backbone(rows: Sequence[Row], others: pd.DataFrame, path: Path) -> None:
    """Raise `ValueError` if other rows of this plan come from a backbone of other weights."""
    if "backbone_sha256" not in others:
        return
    for row in rows:
        alike = others.loc[others["backbone"] == row["backbone"], "backbone_sha256"]
        theirs = set(alike) - {row["backbone_sha256"], "unknown"}
        if theirs:
            raise ValueError(
                f"{path} holds rows of {row['backbone']} with weights {', '.join(theirs)}, now "
                f"they are {row['backbone_sha256']}; give another results folder"
            )


def _prepare(
    study: str, setting: str, preset: str, seeds: Sequence[int] | None, options: Options
) -> tuple[Any, Scale]:
    """Return the setting and the grid with the options in place."""
    check_choice("study", study, STUDIES)
    described, loaded = get_setting(setting), load_preset(preset)
    check_choice(f"setting of {study}", setting, STUDIES[study].settings)
    for name in (name for name, value in options.items() if value):
        if not STUDIES[study].options:
            raise ValueError(f"{study} takes no options, got {name}")
        check_choice(f"option of {study}", name, STUDIES[study].options)
    described = configure(
        described,
        data=options.get("data", ""),
        weights=options.get("weights", ""),
        hp_lr=options.get("hp_lr", 0.0),
        ft_lr=options.get("ft_lr", 0.0),
    )
    changes = {
        "backbone": options.get("backbone"),
        "image_size": options.get("image_size"),
        "train_per_class": options.get("train_per_class"),
        "domains": [options.get("domain")] if options.get("domain") else None,
        "seeds": None if seeds is None else list(seeds),
    }
    given = {name: value for name, value in changes.items() if value not in (None, "", 0)}
    return described, loaded.scale(study, setting, **given)
