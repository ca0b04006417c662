"""Results tables: rows by run, read with strict keys and open measures, written atomically."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pandas as pd
from filelock import FileLock

from taskhead.experiments.images import RIGHT, store_right
from taskhead.experiments.inputs import Row
from taskhead.experiments.provenance import record_session
from taskhead.experiments.run import field_names, make_run, sort_key
from taskhead.tasks.storage import write_whole

OUTCOMES = ("done", "unreached", "diverged", "collapsed", "failed")
ROWS_OF_A_RUN = ("sample", "epoch")  # measures that tell rows of one run apart
TEXTS = ("outcome", "reason", "backbone_sha256")  # all other columns beside the keys are numbers
Rows = dict[Any, list[Row]]
_REMEDY = "move the file away, or restore it, and run again"


def table_path(results: Path, study: str, setting: str) -> Path:
    """Return the path of a results table: `results/study/setting.csv`."""
    return results / study / f"{setting}.csv"


def recorded_folder() -> Path:
    """Return the folder of the recorded results: the checkout's, or the one inside the package."""
    checkout = Path(__file__).parents[3] / "results"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "results_data"


def as_dataframe(rows: Rows, kind: type) -> pd.DataFrame:
    """Return rows by run as a data frame: typed keys, `outcome`, texts, and measures as numbers.

    A measure that a row does not have is NaN.
    """
    whole = [_as_row(run) | row for run in sorted(rows, key=sort_key) for row in rows[run]]
    keys = field_names(kind)
    table = pd.DataFrame(whole, columns=None if whole else [*keys, "outcome", "reason"])
    types = {name: _pandas_type(hint) for name, hint in get_type_hints(kind).items()}
    types |= {name: "string" for name in TEXTS}
    return table.astype({name: types.get(name, "float64") for name in table.columns})


def append(path: Path, kind: type, rows: Rows, session: Row) -> None:
    """Write rows to the table and the session to its provenance file, each atomically.

    The rows of a run take the place of earlier ones, and the table is kept in the order of its
    keys, whoever came first. Writers in other processes wait their turn. What rows hold of single
    images goes to a file of its own.
    """
    right = {run: row[RIGHT] for run, (row, *_) in rows.items() if RIGHT in row}
    rows = {run: [{k: row[k] for k in row if k != RIGHT} for row in rows[run]] for run in rows}
    with locked(path):
        if right:
            store_right(path, right)
        table = read(path, kind) | rows
        record_session(path, session, sum(map(len, rows.values())))
        keys = field_names(kind)
        measures = dict.fromkeys(name for each in table.values() for row in each for name in row)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*keys, *measures])
        for run in sorted(table, key=sort_key):
            key = list(_as_row(run).values())
            for row in table[run]:
                values = [row.get(name) for name in measures]
                numbers = [float(v) if isinstance(v, int) else v for v in values]
                writer.writerow([*key, *map(_cell, numbers)])
        write_whole(path, text.getvalue().encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let other processes wait while this one writes the table at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        yield


def read(path: Path, kind: type) -> Rows:
    """Return the rows of the table at `path` by run; none if there is no file.

    Keys must be those of the `kind` of run and are checked one by one; one that has a default may
    be missing, as from a table older than the key. Measures may be any.

    Raises `ValueError` if the file is damaged or holds runs of another kind; the message names
    file, line and value, and the file is left as it is.
    """
    if not path.exists():
        return {}
    try:
        return _parse(path, kind)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"results file {path}: {error}; {_REMEDY}") from None


def _parse(path: Path, kind: type) -> Rows:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text ({error})") from None
    if text.startswith("\ufeff") or "\0" in text:
        raise ValueError("it holds a byte-order mark or NUL; it is no table of this project")
    if not text.endswith("\n"):
        raise ValueError("it is empty or cut off in its last line")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, hints = next(lines), get_type_hints(kind)
    needed = [each.name for each in fields(kind) if each.default is MISSING]
    missing = [name for name in (*needed, "outcome") if name not in header]
    if missing or len(set(header)) < len(header):
        raise ValueError(
            f"missing columns {missing}, twice {sorted({n for n in header if header.count(n) > 1})}"
        )
    rows: Rows = {}
    for line in lines:
        where = f"line {lines.line_num}"
        if len(line) != len(header):
            raise ValueError(f"{where} has {len(line)} of {len(header)} values")
        cells = dict(zip(header, line, strict=True))
        try:
            keys = {name: hint for name, hint in hints.items() if name in header}
            values = {name: _key(name, cells.pop(name), hint) for name, hint in keys.items()}
            run = make_run(kind, values)
            row = {name: _measure(name, cell) for name, cell in cells.items()}
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        place = [row.get(name) for name in ROWS_OF_A_RUN]
        if place in [[each.get(name) for name in ROWS_OF_A_RUN] for each in rows.get(run, [])]:
            raise ValueError(f"{where} holds a run for the second time")
        rows.setdefault(run, []).append(row)
    return rows


def _key(name: str, cell: str, hint: Any) -> Any:
    """Return the value of a key; whatever this project would write in another way is refused."""
    kinds = get_args(hint) or (hint,)
    if cell == "" and (type(None) in kinds):
        return None
    if any(cell in get_args(kind) for kind in kinds):  # a word in place of a number
        return cell
    try:
        if bool in kinds:
            value: Any = {"True": True, "False": False}.get(cell)
        elif int in kinds and Ellipsis not in kinds:
            value = int(cell)
        elif float in kinds:
            value = float(cell)
        elif Ellipsis in kinds:
            value = tuple(map(int, cell.split()))
        else:
            value = cell
    except ValueError:
        value = None
    if value is None or (_cell(value) != cell and not (float in kinds and "_" not in cell)):
        raise ValueError(f"{name} has the value {cell!r}")
    return value


def _measure(name: str, cell: str) -> str | float | None:
    if name == "outcome" and cell not in OUTCOMES:
        raise ValueError(f"outcome has the value {cell!r}; valid: {', '.join(OUTCOMES)}")
    if cell == "" or name in TEXTS:
        return cell or None
    try:
        return float("no number" if "_" in cell else cell)
    except ValueError:
        raise ValueError(f"{name} has the value {cell!r}, which is no number") from None


def _as_row(run: Any) -> Row:
    return {k: _cell(v) if isinstance(v, tuple) else v for k, v in asdict(run).items()}


def _cell(value: Any) -> Any:
    """Return what stands in the file for a value: text, empty for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _pandas_type(hint: Any) -> str:
    kinds: Sequence[Any] = get_args(hint) or (hint,)
    if bool in kinds:
        return "bool"
    if int in kinds and Ellipsis not in kinds:
        return "Int64" if type(None) in kinds else "int64"
    words = any(get_args(kind) for kind in kinds)
    return "float64" if float in kinds and not words else "string"
