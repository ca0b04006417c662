"""Rows of CSV files in which a sample, its label and perhaps its split stand."""

import csv
from collections.abc import Sequence
from pathlib import Path

from taskhead.tasks.levels import split_called


def read_rows(file: Path, sample: str, splits: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with the columns `sample` and label, and perhaps split.

    Columns are parted by commas, semicolons or tabs. All values are text, and a split is one of
    `splits`, as folders may be called; an empty one is "train".

    Raises `ValueError` if the file cannot be read, a column is missing, or a value is empty or no
    split.
    """
    columns = (sample, "label")
    asked = f"give a CSV file with the columns {sample} and label, and perhaps split"
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            lines.seek(0)
            mark = next((mark for mark in ",;\t" if mark in first), ",")
            table = csv.DictReader(lines, strict=True, delimiter=mark)
            given = list(table.fieldnames or ())
            missing = [name for name in columns if name not in given]
            rows = [] if missing else list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"file of {sample}s and labels {file} cannot be read: {reason}; {asked}"
        ) from None
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r} but {given}; {asked}")
    for number, row in enumerate(rows, start=1):
        split = split_called(row.get("split") or "train")
        for name, wrong in (
            *((name, not (row[name] or "").strip("\0 \t\n")) for name in columns),
            ("split", split not in splits),
        ):
            if wrong:
                raise ValueError(
                    f"{file}: row {number} has the {name} {row.get(name)!r}; no {sample} and no "
                    f"label may be empty, and a split is {' or '.join(splits)}"
                )
        row["split"] = str(split)
    return rows
