"""Results tables: exact round trips, open measures, replaced runs, damage, writers side by side."""

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
from problems import SESSION, load_table

from taskhead.experiments import table
from taskhead.experiments.provenance import describe_session, load_provenance
from taskhead.experiments.run import Run
from taskhead.experiments.toy import LazyRun

DONE = {"outcome": "done", "reason": None}
HEADER = "setting,preset,head_norm,energy,seed,outcome,reason,value\n"
ROW = "toy,smoke,2.0,0.5,0,done,,1.0\n"

Append = Callable[..., Path]


def lazy(seed: int) -> LazyRun:
    return LazyRun(setting="toy", preset="smoke", head_norm=2.0, energy=0.5, seed=seed)


@pytest.fixture
def append(tmp_path: Path) -> Append:
    def write(*values: float | None, seed: int = 0, session: dict = SESSION, **more) -> Path:
        path = tmp_path / "study" / "toy.csv"
        rows = {lazy(seed + i): [DONE | {"value": v} | more] for i, v in enumerate(values)}
        table.append(path, LazyRun, rows, session)
        return path

    return write


def values(path: Path) -> list[float]:
    return load_table(path, LazyRun)["value"].tolist()


def test_path_is_study_then_setting():
    assert table.table_path(Path("r"), "study", "setting") == Path("r/study/setting.csv")


def test_no_file_is_an_empty_table(tmp_path: Path):
    empty = load_table(tmp_path / "no.csv", LazyRun)
    assert len(empty) == 0
    assert {"setting", "seed", "outcome", "reason"} <= set(empty)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_floats_come_back_exactly(append: Append, floats: list[float]):
    path = append(*floats)
    assert list(map(repr, values(path)[: len(floats)])) == list(map(repr, floats))
    path.unlink()


def test_keys_come_back_exactly(tmp_path: Path):
    run = Run(
        setting="digits",
        preset="smoke",
        backbone="small, quoted",
        data="line\u2028separator\nand break",
        image_size=8,
        train_per_class=1,
        val_per_class=2,
        seed=2**32 - 1,
        hp_lr=1e-5,
        batch_size=4,
        hidden=(512, 8),
        tau=3,
        ft_lr=0.1 + 0.2,
        ft_epochs=1,
        weight_decay=0.0,
    )
    path = tmp_path / "t.csv"
    table.append(path, Run, {run: [DONE]}, SESSION)
    assert list(table.read(path, Run)) == [run]
    before = path.read_bytes()
    table.append(path, Run, {run: [DONE]}, SESSION)
    assert path.read_bytes() == before


def test_measure_that_does_not_exist_is_missing(append: Append):
    path = append(None, 1.0)
    assert (
        path.read_text() == f"{HEADER}toy,smoke,2.0,0.5,0,done,,\ntoy,smoke,2.0,0.5,1,done,,1.0\n"
    )
    assert math.isnan(values(path)[0])
    append(2.0, seed=2)
    assert values(path)[1:] == [1.0, 2.0]


def test_table_recorded_before_a_measure_existed_is_still_read(append: Append):
    append(1.0)
    path = append(2.0, seed=1, rank=7.0)
    rows = load_table(path, LazyRun)
    assert rows["value"].tolist() == [1.0, 2.0]
    assert math.isnan(rows["rank"][0])
    assert rows["rank"][1] == 7


def test_rows_of_a_run_take_the_place_of_their_predecessors(append: Append):
    append(1.0, 2.0, 3.0)
    path = append(-2.0, seed=1)
    assert values(path) == [1.0, -2.0, 3.0]
    assert load_table(path, LazyRun)["seed"].tolist() == [0, 1, 2]


def test_a_run_may_have_one_row_a_sample(tmp_path: Path):
    path = tmp_path / "t.csv"
    rows = [DONE | {"sample": i, "value": i / 2} for i in range(3)]
    for _ in range(2):
        table.append(path, LazyRun, {lazy(0): rows}, SESSION)
    assert load_table(path, LazyRun)["value"].tolist() == [0, 0.5, 1]


def test_only_table_provenance_and_lock_are_left(append: Append):
    folder = append(1.0).parent
    assert {file.suffix for file in folder.iterdir()} <= {".csv", ".json", ".lock"}


def test_crash_while_writing_leaves_the_old_table_and_nothing_else(append: Append, monkeypatch):
    path = append(1.0)
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="disk is full"):
            append(2.0, seed=1)
    assert path.read_bytes() == before
    assert {file.suffix for file in path.parent.iterdir()} <= {".csv", ".json", ".lock"}
    append(3.0, seed=1)
    assert values(path) == [1.0, 3.0]


def row(**change: str) -> str:
    cells = dict(zip(HEADER.strip().split(","), ROW.strip().split(","), strict=True)) | change
    return ",".join(cells.values()) + "\n"


DAMAGES = {
    "cut off": (HEADER + ROW + "toy,smo", "cut off"),
    "empty": ("", "cut off"),
    "column gone": (HEADER.replace(",seed", "") + "toy,smoke,2.0,0.5,done,,1.0\n", "'seed'"),
    "column twice": (HEADER.replace("value", "seed") + ROW, "'seed'"),
    "too few values": (HEADER + ROW + "toy,smoke\n", "line 3"),
    "too many values": (HEADER + ROW.replace("\n", ",1\n"), "line 2"),
    "no outcome": (HEADER + row(outcome=""), "line 2.*outcome.*''"),
    "bogus outcome": (HEADER + row(outcome="perfect"), "line 2.*'perfect'"),
    "underscore in a seed": (HEADER + row(seed="1_0"), "line 2.*seed.*'1_0'"),
    "seed of 30 digits": (HEADER + row(seed="9" * 30), f"line 2.*seed.*{'9' * 30}"),
    "seed with a sign": (HEADER + row(seed="+1"), "line 2.*seed.*'\\+1'"),
    "no seed": (HEADER + row(seed=""), "line 2.*seed.*''"),
    "seed nan": (HEADER + row(seed="nan"), "line 2.*seed.*'nan'"),
    "energy nan": (HEADER + row(energy="nan"), "line 2.*energy.*nan"),
    "energy empty": (HEADER + row(energy=""), "line 2.*energy.*''"),
    "no setting": (HEADER + row(setting=""), "line 2.*setting"),
    "measure no number": (HEADER + row(value="much"), "line 2.*value.*'much'"),
    "a run twice": (HEADER + ROW + ROW, "line 3"),
    "byte-order mark": ("\ufeff" + HEADER + ROW, "byte-order"),
    "NUL": (HEADER + ROW.replace("toy", "t\0y"), "NUL"),
    "open quote": (HEADER + '"' + ROW, "csv"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_table_is_named_and_left_as_it_is(append: Append, damage: str):
    path = append(1.0)
    content, named = DAMAGES[damage]
    path.write_bytes(content.encode())
    provenance = path.with_suffix(".json").read_bytes()
    for use in (lambda: load_table(path, LazyRun), lambda: append(9.0, seed=9)):
        with pytest.raises(ValueError, match=named) as caught:
            use()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == content.encode()
    assert path.with_suffix(".json").read_bytes() == provenance


def test_table_that_is_no_text_is_named(append: Append):
    path = append(1.0)
    path.write_bytes(b"\xff" + path.read_bytes())
    with pytest.raises(ValueError, match=r"toy\.csv"):
        load_table(path, LazyRun)


def test_table_saved_by_pandas_is_read(append: Append):
    path = append(1.0, None)
    before = load_table(path, LazyRun)
    before.to_csv(path, index=False)
    pd.testing.assert_frame_equal(load_table(path, LazyRun), before)


DEEP = '{"sessions": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        '{"sessions": 3}',
        '{"sessions": [3]}',
        '{"sessions": [{"preset": "smoke", "rows": 1}]}',
        "[]",
        DEEP,
        None,
    ],
    ids=["empty", "open", "none", "number", "numbers", "bare", "list", "deep", "gone"],
)
def test_damaged_provenance_is_named_and_the_table_left(append: Append, content: str | None):
    path = append(1.0)
    before, provenance = path.read_bytes(), path.with_suffix(".json")
    provenance.unlink() if content is None else provenance.write_text(content)
    for use in (lambda: load_provenance(path), lambda: append(2.0, seed=1)):
        with pytest.raises(ValueError, match=r"toy\.json") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert content is None or provenance.read_text() == content


def test_sessions_that_take_turns_are_told_apart_by_their_id_alone(append: Append):
    other = {**SESSION, "id": "b"}
    for seed, session in enumerate((SESSION, other, SESSION, SESSION)):
        path = append(1.0, seed=seed, session=session)
    assert [(s["id"], s["rows"]) for s in load_provenance(path)] == [("a", 3), ("b", 1)]
    assert load_provenance(path.with_name("other.csv")) == []


def test_session_says_what_made_the_rows(append: Append):
    first, second = (
        describe_session("smoke", {"seed": [0]}, torch.device("cpu")) for _ in range(2)
    )
    assert first["id"] != second["id"]
    assert {"started", "taskhead", "commit", "device", "threads", "python"} < set(first)
    assert first["libraries"]["torch"] == torch.__version__.split("+")[0]
    (kept,) = load_provenance(append(1.0, session=first))
    assert kept == json.loads(json.dumps(first)) | {"rows": 1}


WRITER = """
import sys
from pathlib import Path
from taskhead.experiments.table import append
from taskhead.experiments.toy import LazyRun
from problems import SESSION, load_table
first = int(sys.argv[2])
for seed in range(first, first + 15):
    run = LazyRun(setting="toy", preset="smoke", head_norm=1.0, energy=1.0, seed=seed)
    row = {"outcome": "done", "reason": None, "value": seed / 3}
    append(Path(sys.argv[1]), LazyRun, {run: [row]}, SESSION | {"id": str(first)})
"""


def test_two_writers_lose_nothing(tmp_path: Path):
    path = tmp_path / "study" / "toy.csv"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(first)], cwd=Path(__file__).parent
        )
        for first in (0, 15)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    rows = load_table(path, LazyRun)
    assert rows["seed"].tolist() == list(range(30))
    assert rows["value"].tolist() == [seed / 3 for seed in range(30)]
    assert [session["rows"] for session in load_provenance(path)] == [15, 15]
    assert not list(path.parent.glob("*.new"))
