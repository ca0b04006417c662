"""Results tables: append rows atomically, load them with a schema check, keep their provenance."""

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock

Columns = Mapping[str, type]
Row = Mapping[str, Any]
Value = str | int | float | None

_DTYPES = {str: "string", int: "int64", float: "float64"}
_PARSE = {
    str: lambda text: text or None,
    int: int,
    float: lambda text: float(text or "nan"),
}


def table_path(results: Path, study: str, setting: str) -> Path:
    """Return the path of a results table: `results/study/setting.csv`."""
    return results / study / f"{setting}.csv"


def recorded_folder() -> Path:
    """Return the folder of the recorded results: the checkout's, or the one inside the package."""
    checkout = Path(__file__).parents[2] / "results"
    return checkout if checkout.is_dir() else Path(__file__).parent / "results_data"


def load(path: Path, columns: Columns) -> pd.DataFrame:
    """Return the table at `path`, one row a run; an empty table if there is no file.

    Raises
    ------
    ValueError
        If the file is cut off or has another schema; the file is left as it is.
    """
    rows = _read(path, columns) if path.exists() else []
    table = pd.DataFrame(rows, columns=list(columns))
    return table.astype({name: _DTYPES[kind] for name, kind in columns.items()})


def append(
    path: Path, rows: Sequence[Row], columns: Columns, *, key: Sequence[str], session: Row
) -> None:
    """Write rows to the table and the session to its provenance file, each atomically.

    A row takes the place of an earlier one with the same key, and the table is kept in the order
    of its keys, whoever came first. Writers in other processes wait their turn.

    Parameters
    ----------
    path
        The table, `.../study/setting.csv`; its provenance lies beside it as `.json`.
    rows
        Dicts with exactly the `columns`; None stands for a measure that does not exist.
    columns, key
        The schema, and the columns that tell one run from another.
    session
        From `describe_session`; its entry counts the rows written by it so far.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if set(row) != set(columns):
            raise ValueError(
                f"a row must have exactly the columns {list(columns)}, differs in "
                f"{sorted(set(row) ^ set(columns))}"
            )
    with FileLock(path.with_suffix(".lock")):
        before = _read(path, columns) if path.exists() else []
        new = [[_typed(row[name], kind) for name, kind in columns.items()] for row in rows]
        places = [list(columns).index(name) for name in key]
        table = {tuple(row[place] for place in places): row for row in (*before, *new)}
        sessions = _count_rows(load_provenance(path), session, len(rows))
        # A process killed between the two leaves a count too high, not rows without a session.
        provenance = json.dumps({"sessions": sessions}, indent=1) + "\n"
        _replace(path.with_suffix(".json"), provenance)
        _replace(path, _as_csv([list(columns), *(table[run] for run in sorted(table))]))


def check_folder(folder: Path) -> None:
    """Raise `ValueError` if a folder of tables cannot be written to, or made."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"{nearest} is a file; give another results folder")
    if not os.access(nearest, os.W_OK):
        raise ValueError(f"results folder {folder} cannot be written to; give another")


def load_provenance(path: Path) -> list[dict[str, Any]]:
    """Return the sessions that wrote the table at `path`, oldest first; empty if none is kept."""
    provenance = path.with_suffix(".json")
    if not provenance.exists():
        return []
    try:
        sessions = json.loads(provenance.read_text(encoding="utf-8"))["sessions"]
        return [dict(session) for session in sessions]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"provenance file {provenance} is damaged; move it away") from None


def rows_written(path: Path, session: Row) -> int:
    """Return how many rows of the table at `path` this session has written so far."""
    return sum(known["rows"] for known in load_provenance(path) if _same(known, session))


def describe_session(preset: str, parameters: Row, device: torch.device) -> dict[str, Any]:
    """Return who computes: version, commit, date, preset, parameters, device, library versions."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "taskhead": version("taskhead"),
        "commit": commit("src", "presets"),
        "preset": preset,
        "parameters": dict(parameters),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: version(name) for name in ("torch", "torchvision", "numpy", "scipy")},
    }


BANDS = "bands are 95 percent confidence intervals of the mean over seeds"


def caption(table: pd.DataFrame, path: Path, *, spread: str = BANDS) -> str:
    """Return one line under a figure: number of seeds, preset, date, hardware and version.

    `spread` says how the figure shows the seeds; it is left out where there is one.

    Raises
    ------
    ValueError
        If the provenance beside the table does not tell who computed it.
    """
    seeds, preset = table["seed"].nunique(), table["preset"].iloc[0]
    shown = f"n = {seeds} seeds; {spread}" if seeds > 1 else "n = 1 seed"
    sessions = [session for session in load_provenance(path) if session["preset"] == preset]
    if not sessions:
        provenance = path.with_suffix(".json")
        raise ValueError(f"{provenance} has no session of preset {preset}; restore it")
    last = sessions[-1]
    return (
        f"*{shown}; preset {preset}; computed {last['started'][:10]} on {last['device']} "
        f"with taskhead {last['taskhead']}.*"
    )


def provenance_table(path: Path) -> pd.DataFrame:
    """Return one row per session that wrote the table at `path`, for a notebook's last cell."""
    shown = ["started", "preset", "rows", "taskhead", "commit", "device", "threads", "python"]
    sessions = [
        {name: session.get(name) for name in shown} | session["libraries"]
        for session in load_provenance(path)
    ]
    return pd.DataFrame(sessions).T


def missing_keys(
    wanted: Iterable[Row], table: pd.DataFrame, key: Sequence[str]
) -> list[dict[str, Any]]:
    """Return those of the `wanted` runs, dicts with the `key` columns, that the table lacks."""
    have = set(table[list(key)].itertuples(index=False, name=None))
    return [dict(run) for run in wanted if tuple(run[name] for name in key) not in have]


def select(table: pd.DataFrame, wanted: Sequence[Row], key: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the `wanted` runs, in their order.

    Raises
    ------
    ValueError
        If the table holds a run twice.
    """
    twice = table[table.duplicated(list(key))]
    if len(twice):
        raise ValueError(f"the table holds a run twice: {twice[list(key)].iloc[0].to_dict()}")
    index = pd.DataFrame(wanted, columns=list(key)).astype(table.dtypes[list(key)].to_dict())
    return index.merge(table, on=list(key), how="inner", validate="one_to_one")[table.columns]


def _read(path: Path, columns: Columns) -> list[list[Value]]:
    remedy = "move the file away, or restore it, and run again"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"results file {path} is no text: {error}; {remedy}") from None
    if not text.endswith("\n"):
        raise ValueError(f"results file {path} is empty or cut off in its last line; {remedy}")
    header, *lines = csv.reader(text.splitlines())
    if header != list(columns):
        missing = [name for name in columns if name not in header]
        surplus = [name for name in header if name not in columns]
        raise ValueError(
            f"results file {path} has another schema: missing columns {missing}, unknown columns "
            f"{surplus}; valid in this order: {', '.join(columns)}; {remedy}"
        )
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) != len(columns):
            raise ValueError(
                f"results file {path}, line {number} has {len(line)} of {len(columns)} values; "
                f"{remedy}"
            )
        try:
            rows.append(
                [_PARSE[kind](text) for kind, text in zip(columns.values(), line, strict=True)]
            )
        except ValueError as error:
            raise ValueError(
                f"results file {path}, line {number} holds a value of a wrong type: {error}; "
                f"{remedy}"
            ) from None
    return rows


def _typed(value: Any, kind: type) -> Value:
    return None if value is None else kind(value)


def _as_csv(lines: Iterable[Sequence[Value]]) -> str:
    """Return CSV in which None and NaN are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([None if value != value else value for value in line] for line in lines)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _count_rows(sessions: list[dict[str, Any]], session: Row, n_rows: int) -> list[dict[str, Any]]:
    for known in sessions:
        if _same(known, session):
            known["rows"] += n_rows
            return sessions
    return [*sessions, {**session, "rows": n_rows}]


def _same(session: Row, other: Row) -> bool:
    return {**session, "rows": 0} == {**other, "rows": 0}


def commit(*folders: str) -> str | None:
    """Return the checkout's commit, and whether these folders differ from it; None outside git."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    git = ["git", "-C", str(checkout)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", *folders],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}, changed" if changed else head


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or device.type
