"""Units spread over processes: one result whoever computes it, and faults that come through."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from taskhead.experiments import results, workers
from taskhead.experiments.cache import cache_last, clear_cache
from taskhead.experiments.workers import one_thread, spread

UNITS = list(range(24))


def wait_for_helper(parent: int, begun: Path) -> bool:
    """Say whether a helper asks, whose start this process waits for."""
    if os.getpid() != parent:
        begun.touch()
        return True
    wait_until(begun.exists)
    return False


def own_pid(parent: int, begun: Path, unit: int) -> tuple[int, int]:
    wait_for_helper(parent, begun)
    return unit, os.getpid()


def fail(parent: int, begun: Path, where: str, unit: int) -> int:
    if where == "parent" or wait_for_helper(parent, begun):
        raise FloatingPointError(f"failed in the {where}")
    return unit


def be_killed(parent: int, begun: Path, unit: int) -> int:
    if wait_for_helper(parent, begun):
        os.kill(os.getpid(), signal.SIGKILL)
    return unit


def test_every_unit_is_computed_once_and_neighbours_stay_together(tmp_path: Path):
    who = dict(spread(partial(own_pid, os.getpid(), tmp_path / "begun"), UNITS, 2))
    assert sorted(who) == UNITS
    assert [unit for unit in UNITS if who[unit] == os.getpid()] == [0]  # helpers did not wait
    helpers = set(who.values()) - {os.getpid()}
    assert len(helpers) == 2
    for helper in helpers:
        own = sorted(unit for unit in who if who[unit] == helper)
        assert own == list(range(own[0], own[-1] + 1))


def test_one_worker_is_this_process():
    assert list(spread(abs, [1, -2], 1)) == [1, 2]


def precision(unit: int) -> tuple[bool, bool]:
    return torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32


def test_units_are_computed_in_fp32_and_repeatably_and_the_flags_are_restored():
    before = precision(0)
    assert set(spread(precision, [1, 2], 1)) == {(True, False)} != {before}
    assert precision(0) == before


def test_small_work_starts_no_helper(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("started"))
    assert list(spread(abs, UNITS, None)) == UNITS


@pytest.mark.parametrize("where", ["parent", "helper"])
def test_error_of_any_process_comes_through(where: str, tmp_path: Path):
    with pytest.raises(FloatingPointError, match=where):
        list(spread(partial(fail, os.getpid(), tmp_path / "begun", where), UNITS, 2))


def test_killed_helper_is_reported_with_what_to_do(tmp_path: Path):
    with pytest.raises(ChildProcessError, match="fewer workers"):
        list(spread(partial(be_killed, os.getpid(), tmp_path / "begun"), UNITS, 2))


def test_helpers_end_with_their_parent(tmp_path: Path):
    script = """
import os, sys, time
from functools import partial
from pathlib import Path
from taskhead.experiments.workers import spread

def work(folder, parent, unit):
    Path(folder, str(os.getpid())).touch()
    time.sleep(0.2 if os.getpid() == parent else 600)

list(spread(partial(work, sys.argv[1], os.getpid()), range(200), 2))
"""
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
        helpers = {int(file.name) for file in tmp_path.iterdir()} - {parent.pid}
        assert all(map(psutil.pid_exists, helpers))
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(map(psutil.pid_exists, helpers)))


def hold_memory(parent: int, begun: Path, _: int) -> int:
    if wait_for_helper(parent, begun):
        held.append(b"1" * 200_000_000)
        time.sleep(0.6)  # loky looks for leaks once a second
    return os.getpid()


held: list[bytes] = []


def test_helper_that_needs_memory_is_not_started_again(tmp_path: Path):
    compute = partial(hold_memory, os.getpid(), tmp_path / "begun")
    assert len(set(spread(compute, range(12), 2)) - {os.getpid()}) == 2


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_number_of_workers_below_one_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"workers.* 0"):
        results.compute_study(
            "energy_sweep", setting="digits", preset="smoke", results=tmp_path, workers=0
        )
    assert not list(tmp_path.iterdir())


def test_threads_are_restored():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_last_result_is_remembered_until_other_arguments_come_or_it_is_forgotten():
    made = []

    @cache_last
    def make(name: str) -> list:
        made.append(name)
        return [name]

    assert make("a") is make("a")
    make("b")
    make("a")
    clear_cache()
    make("a")
    assert made == ["a", "b", "a", "a"]
