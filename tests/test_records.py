"""Results tables: exact round trips, replaced rows, damaged files, and writers side by side."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskhead import records

COLUMNS = {"name": str, "seed": int, "value": float}
KEY = ("name", "seed")
SESSION = {"preset": "smoke", "started": "2000-01-01", "libraries": {}}

Append = Callable[..., Path]


@pytest.fixture
def append(tmp_path: Path) -> Append:
    def write(*values: float | None, seed: int = 0, session: dict = SESSION) -> Path:
        path = tmp_path / "study" / "setting.csv"
        rows = [{"name": "run", "seed": seed + i, "value": value} for i, value in enumerate(values)]
        records.append(path, rows, COLUMNS, key=KEY, session=session)
        return path

    return write


def values(path: Path) -> list[float]:
    return records.load(path, COLUMNS)["value"].tolist()


def test_path_is_study_then_setting():
    assert records.table_path(Path("r"), "study", "setting") == Path("r/study/setting.csv")


def test_no_file_is_an_empty_table_of_the_same_types(append: Append, tmp_path: Path):
    empty, full = records.load(tmp_path / "no.csv", COLUMNS), records.load(append(1.0), COLUMNS)
    assert len(empty) == 0
    assert empty.dtypes.equals(full.dtypes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_floats_come_back_exactly(append: Append, floats: list[float]):
    path = append(*floats)
    back = values(path)[: len(floats)]
    assert list(map(repr, back)) == list(map(repr, floats))
    path.unlink()


def test_measure_that_does_not_exist_is_an_empty_field(append: Append):
    path = append(None, 1.0)
    assert path.read_text() == "name,seed,value\nrun,0,\nrun,1,1.0\n"
    assert math.isnan(values(path)[0])
    append(2.0, seed=2)
    assert values(path)[1:] == [1.0, 2.0]


def test_row_takes_the_place_of_its_predecessor(append: Append):
    append(1.0, 2.0, 3.0)
    path = append(-2.0, seed=1)
    assert values(path) == [1.0, -2.0, 3.0]
    assert records.load(path, COLUMNS)["seed"].tolist() == [0, 1, 2]


def test_only_table_provenance_and_lock_are_left(append: Append):
    folder = append(1.0).parent
    assert {file.suffix for file in folder.iterdir()} <= {".csv", ".json", ".lock"}


def test_crash_while_writing_leaves_the_old_table(append: Append, monkeypatch: pytest.MonkeyPatch):
    path = append(1.0)
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(records.os, "fsync", full_disk)
        with pytest.raises(OSError, match="disk is full"):
            append(2.0, seed=1)
    assert path.read_bytes() == before
    append(3.0, seed=1)
    assert values(path) == [1.0, 3.0]


@pytest.mark.parametrize("row", [{"name": "a"}, {"name": "a", "seed": 0, "value": 1, "more": 2}])
def test_row_with_other_columns_is_refused(append: Append, row: dict):
    path = append(1.0)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"exactly the columns.*differs in \['(more|seed)'"):
        records.append(path, [row], COLUMNS, key=KEY, session=SESSION)
    assert path.read_bytes() == before


DAMAGES = {
    "cut off in its last line": b"name,seed,value\nrun,0,1.0\nrun,1,2",
    "is empty or cut off": b"",
    "missing columns ['value'], unknown columns []": b"name,seed\nrun,0\n",
    "unknown columns ['more']": b"name,seed,value,more\nrun,0,1.0,2\n",
    "valid in this order: name, seed, value": b"seed,name,value\n0,run,1.0\n",
    "line 3 has 2 of 3 values": b"name,seed,value\nrun,0,1.0\nrun,1\n",
    "line 2 has 4 of 3 values": b"name,seed,value\nrun,0,1.0,2.0\n",
    "a value of a wrong type": b"name,seed,value\nrun,0,much\n",
    "holds a value of a wrong": b"name,seed,value\nrun,0.5,1.0\n",
    "value of a wrong type": b"name,seed,value\nrun,,1.0\n",
    "is no text": b"name,seed,value\nr\xffn,0,1.0\n",
}


@pytest.mark.parametrize(("message", "content"), DAMAGES.items())
def test_damaged_table_is_named_and_left_as_it_is(append: Append, message: str, content: bytes):
    path = append(1.0)
    path.write_bytes(content)
    provenance = path.with_suffix(".json").read_bytes()
    for use in (lambda: records.load(path, COLUMNS), lambda: append(9.0, seed=9)):
        with pytest.raises(ValueError, match="results file") as caught:
            use()
        assert str(path) in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert path.with_suffix(".json").read_bytes() == provenance


@pytest.mark.parametrize("content", ["", "{", "{}", '{"sessions": 3}', '{"sessions": [3]}', "[]"])
def test_damaged_provenance_is_named_and_the_table_left(append: Append, content: str):
    path = append(1.0)
    before, provenance = path.read_bytes(), path.with_suffix(".json")
    provenance.write_text(content)
    for use in (lambda: records.load_provenance(path), lambda: append(2.0, seed=1)):
        with pytest.raises(ValueError, match="damaged; move it away") as caught:
            use()
        assert str(provenance) in str(caught.value)
    assert (path.read_bytes(), provenance.read_text()) == (before, content)


def test_each_session_counts_its_rows(append: Append):
    append(1.0, 2.0)
    append(3.0, seed=2)
    path = append(4.0, seed=3, session={**SESSION, "preset": "laptop"})
    sessions = records.load_provenance(path)
    assert [(s["preset"], s["rows"]) for s in sessions] == [("smoke", 3), ("laptop", 1)]
    assert records.provenance_table(path).loc["rows"].tolist() == [3, 1]
    assert records.load_provenance(path.with_name("other.csv")) == []


def test_sessions_that_take_turns_stay_two(append: Append):
    other = {**SESSION, "preset": "laptop"}
    for seed, session in enumerate((SESSION, other, SESSION, other)):
        path = append(1.0, seed=seed, session=session)
    assert [s["rows"] for s in records.load_provenance(path)] == [2, 2]


def test_session_says_what_made_the_rows(append: Append):
    session = records.describe_session("smoke", {"seeds": [0]}, torch.device("cpu"))
    assert {"started", "taskhead", "commit", "device", "threads", "python"} < set(session)
    assert session["libraries"]["torch"] == torch.__version__.split("+")[0]
    (kept,) = records.load_provenance(append(1.0, session=session))
    assert kept == json.loads(json.dumps(session)) | {"rows": 1}


def test_missing_keys_and_selection_follow_the_wanted_order(append: Append):
    table = records.load(append(1.0, 2.0, 3.0), COLUMNS)
    wanted = [{"name": "run", "seed": seed} for seed in (2, 7, 0)]
    assert records.missing_keys(wanted, table, KEY) == [{"name": "run", "seed": 7}]
    chosen = records.select(table, wanted, KEY)
    assert chosen["value"].tolist() == [3.0, 1.0]
    pd.testing.assert_series_equal(chosen.dtypes, table.dtypes)


WRITER = """
import sys
from pathlib import Path
from taskhead.records import append
first = int(sys.argv[2])
for seed in range(first, first + 25):
    row = {"name": "run", "seed": seed, "value": seed / 3}
    append(Path(sys.argv[1]), [row], {"name": str, "seed": int, "value": float},
           key=("name", "seed"), session={"preset": str(first), "libraries": {}})
"""


def test_two_writers_lose_nothing(tmp_path: Path):
    path = tmp_path / "study" / "setting.csv"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(first)]) for first in (0, 25)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    table = records.load(path, COLUMNS).sort_values("seed")
    assert table["seed"].tolist() == list(range(50))
    assert table["value"].tolist() == [seed / 3 for seed in range(50)]
    assert sum(session["rows"] for session in records.load_provenance(path)) == 50
    assert not list(path.parent.glob("*.new"))
