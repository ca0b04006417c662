"""Runs spread over processes: one table whoever computes them, and faults that come through."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

from taskhead import parallel, studies
from taskhead.data import one_process
from taskhead.parallel import default_workers, one_thread, spread
from taskhead.records import Row

RUNS = [{"seed": seed, "tau": tau} for seed in range(3) for tau in range(4)]


def write_pid(folder: Path, runs: Sequence[Row]) -> Iterator[None]:
    for run in runs:
        (folder / f"{run['seed']}-{run['tau']}").write_text(str(os.getpid()))
        yield


def fail(seed: int, runs: Sequence[Row]) -> Iterator[None]:
    for run in runs:
        if run["seed"] == seed:
            raise FloatingPointError(f"seed {seed} diverged")
        yield


def be_killed(parent: int, runs: Sequence[Row]) -> Iterator[None]:
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    yield


def pids(folder: Path) -> dict[tuple[int, int], int]:
    found = {}
    for file in folder.iterdir():
        seed, tau = map(int, file.name.split("-"))
        found[seed, tau] = int(file.read_text())
    return found


@pytest.mark.parametrize("together", [(), ("tau",)])
def test_every_run_is_computed_once_and_units_stay_together(tmp_path: Path, together):
    for _ in spread(partial(write_pid, tmp_path), RUNS, together=together, workers=2):
        pass
    who = pids(tmp_path)
    assert set(who) == {(run["seed"], run["tau"]) for run in RUNS}
    assert who[0, 0] == os.getpid() != who[2, 3]
    assert len(set(who.values())) == 2
    if together:
        assert all(len({who[seed, tau] for tau in range(4)}) == 1 for seed in range(3))


@pytest.mark.parametrize(
    ("cores", "patience_s", "start_s", "helpers"),
    [
        pytest.param(3, 0.0, 0.0, True, id="waits for two"),
        pytest.param(3, 0.0, 1e9, False, id="is as fast as two that start"),
        pytest.param(2, 0.0, 0.0, False, id="is as fast as one that starts"),
        pytest.param(2, 60.0, 0.0, False, id="starts none"),
    ],
)
def test_helpers_work_only_where_it_is_worth_to_wait_for_them(
    tmp_path: Path, monkeypatch, cores: int, patience_s: float, start_s: float, helpers: bool
):
    monkeypatch.setattr(parallel, "PATIENCE_S", patience_s)
    monkeypatch.setattr(parallel, "START_S", start_s)
    monkeypatch.setattr(parallel, "cpu_count", lambda: cores)
    for _ in spread(partial(write_pid, tmp_path), RUNS, together=(), workers=None):
        pass
    who = pids(tmp_path)
    assert len(who) == len(RUNS)
    assert bool(set(who.values()) - {os.getpid()}) == helpers


@pytest.mark.parametrize(("device", "workers"), [("cpu", None), ("cuda", 1), ("mps", 1)])
def test_runs_do_not_queue_for_a_device(device: str, workers: int | None):
    assert default_workers(torch.device(device)) == workers


@pytest.mark.parametrize("seed", [1, 2], ids=["main", "helper"])
def test_error_of_any_process_comes_through(seed: int):
    with pytest.raises(FloatingPointError, match=f"seed {seed} diverged"):
        list(spread(partial(fail, seed), RUNS, together=("tau",), workers=2))


def test_killed_helper_is_reported_with_what_to_do():
    with pytest.raises(ChildProcessError, match="continue with fewer workers"):
        list(spread(partial(be_killed, os.getpid()), RUNS, together=(), workers=2))


def test_helpers_end_with_their_parent(tmp_path: Path):
    script = """
import os, sys, time
from pathlib import Path
from taskhead.parallel import spread

def work(runs):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)
    yield

list(spread(work, [{"seed": 0}, {"seed": 1}], together=(), workers=2))
"""
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        (helper,) = {int(file.name) for file in tmp_path.iterdir()} - {parent.pid}
        assert psutil.pid_exists(helper)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not psutil.pid_exists(helper))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_table_does_not_depend_on_the_number_of_workers(tmp_path: Path):
    tables, sweep = [], {"setting": "digits", "preset": "smoke", "device": "cpu"}
    for workers in (1, 2):
        results = tmp_path / str(workers)
        studies.run("energy_sweep", results=results, workers=workers, **sweep)
        tables.append(pd.read_csv(results / "energy_sweep" / "digits.csv").drop(columns="wall_s"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_two_processes_pretrain_the_backbone_once(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "data"))
    sweep = {"setting": "digits", "preset": "smoke", "device": "cpu"}
    studies.run("energy_sweep", results=tmp_path, workers=2, **sweep)
    assert capfd.readouterr().err.count("pretraining small_convnet once") == 1


def test_read_only_data_folder_is_taken_to_be_complete(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with one_process("cifar10"):
        assert not list(tmp_path.iterdir())


def test_number_of_workers_below_one_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        studies.run("energy_sweep", setting="digits", preset="smoke", results=tmp_path, workers=0)
    assert not list(tmp_path.iterdir())


def test_threads_are_restored():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
