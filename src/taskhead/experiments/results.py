"""Results of a study: computed run by run, or read from what is recorded."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from taskhead.experiments import table
from taskhead.experiments.cache import clear_cache
from taskhead.experiments.inputs import Found, Inputs, Unit, describe_images
from taskhead.experiments.kinds import KINDS, Kind
from taskhead.experiments.plan import Plan, choose_device, make_plan
from taskhead.experiments.provenance import describe_session, load_provenance
from taskhead.experiments.studies import load_study, settings_of
from taskhead.experiments.workers import spread
from taskhead.tasks.storage import check_writable

RUNS_FOLDER = Path("runs")


def compute_study(
    study: str,
    *,
    setting: str,
    preset: str,
    results: Path | str = RUNS_FOLDER,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    recompute: bool = False,
    workers: int | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Compute what the table `results/study/setting.csv` lacks and return the preset's rows.

    Each row reaches the disk as soon as it is computed, so a killed call continues where it
    stopped. Runs that failed are tried again.

    Parameters
    ----------
    study, setting, preset
        Names; `taskhead settings` lists the settings.
    results
        Folder of the tables; made if it does not exist.
    seeds
        In place of the preset's seeds.
    device
        "auto" (the accelerator if there is one, else the CPU), "cpu", "cuda" or "mps".
    recompute
        Compute every row again; each replaces its predecessor when it is done.
    workers
        Processes that compute side by side, each with one thread on the CPU. None takes one for
        each core on the CPU, if there is work enough for their start, and one on other devices. The
        table does not depend on it.
    options
        Values of a run's fields in place of the setting's, as `backbone`, `image_size`, `hp_lr` or
        `ft_lr`; `data` is the image folder of the open setting `imagefolder`, `weights` a
        checkpoint file or the name of torchvision weights. None changes nothing.

    Returns
    -------
    DataFrame
        The rows of the plan, in the order of their keys.

    Raises
    ------
    ValueError
        If a name is unknown, a seed, an option, the device or the number of workers is invalid, or
        the results file is damaged. Nothing has been computed, and no row written, then.
    """
    plan = make_plan(
        study, setting=setting, preset=preset, device=device, seeds=seeds, options=options
    )
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    path = table.table_path(Path(results), study, setting)
    known = table.read(path, plan.kind.run)
    load_provenance(path)  # damaged, it must not cost the rows computed below
    pending = [run for run in plan.runs if recompute or not _is_complete(known.get(run))]
    if pending:
        check_writable(path.parent)
        with table.locked(path):  # what cannot be locked must not cost the first row
            pass
        kept = {} if recompute else {run: known[run] for run in plan.runs if run in known}
        _compute(plan, pending, kept, path, preset, workers)
        known = table.read(path, plan.kind.run)
    return table.as_dataframe({run: known[run] for run in plan.runs}, plan.kind.run)


def load_recorded(
    study: str, *, setting: str, preset: str, **options: Any
) -> tuple[pd.DataFrame, Path] | None:
    """Return the preset's recorded rows and their table; None unless they are complete.

    Parameters and errors are those of `compute_study`. Nothing is computed.
    """
    plan = make_plan(study, setting=setting, preset=preset, device="cpu", options=options)
    path = table.table_path(table.recorded_folder(), study, setting)
    known = table.read(path, plan.kind.run)
    if any(run not in known for run in plan.runs):
        return None
    return table.as_dataframe({run: known[run] for run in plan.runs}, plan.kind.run), path


def load_all_recorded(study: str, *, preset: str) -> dict[str, tuple[pd.DataFrame, Path]]:
    """Return the preset's recorded rows and their table for every setting that has them."""
    found = {
        name: load_recorded(study, setting=name, preset=preset)
        for name in settings_of(load_study(study))
        if table.table_path(table.recorded_folder(), study, name).exists()
    }
    return {name: rows for name, rows in found.items() if rows}


def read_study(study: str, results: Path) -> pd.DataFrame:
    """Return all rows of a study below a folder of results, the settings one below the other."""
    kind = KINDS[load_study(study).kind].run
    found = [table.read(path, kind) for path in sorted((results / study).glob("*.csv"))]
    frames = [table.as_dataframe(rows, kind) for rows in found if rows]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def load_or_compute(
    study: str,
    *,
    setting: str,
    preset: str,
    results: Path | str | None = None,
    device: str = "auto",
    recompute: bool = False,
    **options: Any,
) -> tuple[pd.DataFrame, Path]:
    """Return the preset's rows and the table they stand in, computing only what is missing.

    Without a `results` folder the recorded results that come with the project serve if they are
    complete, and are never changed; else the folder `runs` below the working directory is used.
    Parameters and errors are those of `compute_study`.
    """
    choose_device(device)
    if results is None and not recompute:
        found = load_recorded(study, setting=setting, preset=preset, **options)
        if found:
            return found
    folder = RUNS_FOLDER if results is None else Path(results)
    rows = compute_study(
        study,
        setting=setting,
        preset=preset,
        results=folder,
        device=device,
        recompute=recompute,
        **options,
    )
    return rows, table.table_path(folder, study, setting)


def _compute(
    plan: Plan,
    pending: Sequence[Any],
    kept: table.Rows,
    path: Path,
    preset: str,
    workers: int | None,
) -> None:
    """Compute the pending runs and append their rows to the table as they come.

    Units are those of the whole plan: a head depends on all the stops that its probing is asked
    for, so a table that is continued is the one of a single call.
    """
    device = plan.inputs.device
    session = describe_session(preset, plan.values, device)
    wanted = set(pending)
    units = [unit for unit in plan.kind.units(plan.runs) if wanted.intersection(unit.runs)]
    if device.type != "cpu":
        workers = workers or 1  # runs would queue for one device
    clear_cache()
    for line in describe_images(plan.inputs, plan.runs):
        print(line, file=sys.stderr)
    try:
        work = spread(partial(_attempt, plan.kind, plan.inputs), units, workers)
        with tqdm(total=len(pending), desc=path.parent.name + " " + path.stem, unit="run") as bar:
            for found in work:
                rows = {run: rows for run, rows in found if run in wanted}
                _check_same_backbone(rows, kept, path)
                table.append(path, plan.kind.run, rows, session)
                bar.update(len(rows))
    finally:
        clear_cache()


def _attempt(kind: Kind, inputs: Inputs, unit: Unit) -> Found:
    """Compute a unit; an error that is not the user's is an outcome of its runs."""
    try:
        return kind.compute(inputs, unit)
    except (ValueError, TypeError, OSError):
        raise
    except Exception as error:
        first, *_ = [*str(error).splitlines(), "no message"]
        row = {"outcome": "failed", "reason": f"{type(error).__name__}: {first}"}
        return [(run, [row]) for run in unit.runs]


def _is_complete(rows: list[table.Row] | None) -> bool:
    return bool(rows) and all(row["outcome"] != "failed" for row in rows or [])


def _check_same_backbone(rows: table.Rows, kept: table.Rows, path: Path) -> None:
    """Raise `ValueError` if other rows of this plan come from a backbone of other weights."""
    for run, (row, *_) in rows.items():
        if own := row.get("backbone_sha256"):
            others = {
                each.get("backbone_sha256")
                for other, known in kept.items()
                for each in known
                if other.backbone == run.backbone
            } - {own, None}
            if others:
                raise ValueError(
                    f"{path} holds rows of {run.backbone} with weights {sorted(map(str, others))}, "
                    f"now they are {own}; give another results folder"
                )
