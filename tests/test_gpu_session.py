"""The GPU session: a box of time, its jobs in order, resuming, faults, and the table."""

import json
import os
import re
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import psutil
import pytest
import torch
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_packaging import PROJECT

from benchmarks import gpu_session, levers, recording, same_numbers
from benchmarks.jobs import computations, job_list
from benchmarks.size import LIMIT_MIB, SHARED, mebibytes
from benchmarks.time_box import Job, Outcome, keep, table, work_through
from taskhead.experiments.results import load_recorded
from taskhead.experiments.run import make_run
from taskhead.method.finetuning import take_steps

CPU = torch.device("cpu")
RESNET = levers.Case("resnet20 32 px", size=32, batches=1)
THERE = {  # on a machine for GPUs, with what they need
    *("torch", "torchvision", "pandas", "seaborn", "scikit-learn", "timm", "pyyaml", "psutil"),
    "filelock",
}


def job(name: str, code: str, folder: Path, *, limit: float = 20, **options) -> Job:
    """Return a job that executes code, in which `done(result)` writes its file."""
    done = (
        "import json, os, sys, time\n"
        f"def done(result): open({str(folder / name)!r} + '.json', 'w').write(json.dumps(result))\n"
    )
    least = options.pop("least", limit)
    return Job(name, (sys.executable, "-c", done + code), limit, least, **options)


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {each.job: each.state for each in outcomes}


def test_jobs_run_in_order_and_none_dies_of_another(tmp_path: Path):
    jobs = [
        job("raises", "raise ValueError('no data')", tmp_path),
        job("crashes", "os.abort()", tmp_path),
        job("silent", "pass", tmp_path),
        job("lacks", "done({})", tmp_path, lacks="papermill"),
        job("works", "done({'rate': 2.5, 'rows': [1]})", tmp_path),
    ]
    found = list(work_through(jobs, tmp_path, 60))
    assert [each.job for each in found] == [each.name for each in jobs]
    expected = ["failed", "failed", "failed", "skipped", "done"]
    assert list(states(found).values()) == expected
    said = [each.result for each in found]
    assert said[0] == "ValueError: no data"
    assert said[2] == "it printed nothing"
    assert "papermill" in said[3]
    assert said[4] == "rate 2.5"


def test_job_that_hangs_is_stopped_with_what_it_started(tmp_path: Path):
    file = tmp_path / "pid"
    code = f"trap '' TERM; sleep 60 & echo $! > {file}; wait"
    (found,) = work_through([Job("hangs", ("bash", "-c", code), 1, 1)], tmp_path, 60)
    assert found.state == "stopped"
    assert found.result == "not done after 1 s"
    helper = int(file.read_text())
    end = time.monotonic() + 10
    while psutil.pid_exists(helper) and psutil.Process(helper).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_a_stopped_job_has_written_stays_and_the_next_session_goes_on(tmp_path: Path):
    rows = tmp_path / "rows"
    code = (
        f"rows = open({str(rows)!r}, 'a')\nrows.write('row\\n'); rows.flush()\n"
        f"if open({str(rows)!r}).read().count('row') < 2: time.sleep(60)\n"
        "done({'rows': 2})"
    )
    first = job("first", "done({'value': 1})", tmp_path)
    slow = job("slow", code, tmp_path, limit=3)
    assert states(list(work_through([first, slow], tmp_path, 60)))["slow"] == "stopped"
    assert rows.read_text() == "row\n"
    found = list(work_through([first, slow], tmp_path, 60))
    assert states(found) == {"first": "done before", "slow": "done"}
    assert found[0].result == "value 1"


def test_what_does_not_fit_is_skipped_and_says_so_and_what_is_shorter_still_runs(tmp_path: Path):
    jobs = [
        job("long", "done({})", tmp_path, limit=100),
        job("short", "done({})", tmp_path),
        job("partial", "time.sleep(60)", tmp_path, limit=100, least=1),
        job("late", "done({})", tmp_path),
    ]
    clock = iter([0, 10, 11, 58, 60])  # at the start, and before each job
    found = list(work_through(jobs, tmp_path, 60, clock=lambda: next(clock)))
    assert list(states(found).values()) == ["skipped", "done", "stopped", "skipped"]
    assert found[0].result == "needs 100 s, 50 s are left"
    assert found[2].result == "not done after 2 s"


def test_damaged_result_is_named(tmp_path: Path):
    (tmp_path / "a.json").write_text("{")
    (found,) = work_through([job("a", "done({})", tmp_path)], tmp_path, 60)
    assert "remove it" in found.result


def test_table_has_a_row_for_each_outcome_and_is_kept_as_it_grows(tmp_path: Path):
    outcomes = [Outcome("facts", "done", 3.4, "a|b"), Outcome("levers", "skipped", 0, "no time")]
    lines = table(outcomes).splitlines()
    assert lines[0] == "| job | state | seconds | result |"
    assert lines[2:] == ["| facts | done | 3 | a/b |", "| levers | skipped | 0 | no time |"]
    keep(outcomes, tmp_path)
    kept = json.loads((tmp_path / "session.json").read_text())
    assert [each["job"] for each in kept] == ["facts", "levers"]


@pytest.mark.parametrize("preset", ["smoke", "gpu"])
def test_session_has_its_jobs_in_order_and_can_compute_each(preset: str, tmp_path: Path):
    jobs = job_list(preset, "cpu", tmp_path)
    names = [each.name for each in jobs]
    kinds = list(dict.fromkeys(name.split("-")[0] for name in names))
    assert kinds == ["facts", "same", "record", "engine", "lever", "notebook"]
    assert set(names) == set(computations(preset, "cpu", tmp_path))
    assert {each.name: each.lacks for each in jobs}["lever-graph"] == "CUDA"
    at_hand = [name for name in names if name.startswith("record-")]
    assert at_hand[0].startswith("record-imagenet-to-cifar10")


def test_session_computes_a_job_alone_and_prints_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    options = ["--preset", "smoke", "--device", "cpu", "--out", str(tmp_path / "new")]
    monkeypatch.setattr(sys, "argv", ["gpu_session", "--minutes", "4", *options])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(gpu_session, "job_list", lambda *given: job_list(*given)[:1])
    gpu_session.main(began=time.time())
    assert "| facts | done |" in capsys.readouterr().out
    found = json.loads((tmp_path / "new" / "facts.json").read_text())
    assert min(found[name] for name in ("bf16 TFLOP/s", "fp32 TFLOP/s", "launches/s")) > 0


def test_what_a_session_takes_to_start_counts(tmp_path: Path, monkeypatch, capsys):
    options = ["--minutes", "4", "--preset", "smoke", "--device", "cpu", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu_session", *options])
    late = [job("late", "done({})", tmp_path, least=30)]
    monkeypatch.setattr(gpu_session, "job_list", lambda *_: late)
    gpu_session.main(began=time.time() - 4 * 60 + 20)
    assert re.search(r"\| late \| skipped .*needs 30 s, [12]\d s are left", capsys.readouterr().out)


@pytest.mark.parametrize(("shift", "alike"), [(1.0, True), (1.02, False)])
def test_same_numbers_are_held_to_the_tolerance_and_to_each_other(
    shift: float, alike: bool, monkeypatch: pytest.MonkeyPatch
):
    whole, _ = load_recorded("energy_sweep", setting="digits", preset="laptop") or (None, None)
    assert whole is not None
    rows = whole[(whole["seed"] == 0) & ((whole["tau"] == 0) | (whole["energy"] == 0.49))]
    answers = iter([rows.assign(aie=shift * rows["aie"]), rows])
    monkeypatch.setattr(same_numbers, "computed", lambda *_: next(answers))
    found = same_numbers.same_numbers("digits", CPU)
    assert found["runs"] == 2
    assert found["the same twice"] == found["within the tolerance"] == alike
    assert found["worst against recorded"] == pytest.approx(100 * (shift - 1), abs=0.01)


@pytest.mark.parametrize("lever", ["plain", "unfused", "channels_last", "bf16", "stacked"])
def test_lever_gives_images_a_second(lever: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(levers, "cases", lambda _: [RESNET])
    monkeypatch.setattr(levers, "BATCH", 4)
    monkeypatch.setitem(levers.SECONDS, "smoke", 0.01)
    assert min(levers.measure_lever(lever, "smoke", CPU).values()) > 0


def test_stacked_runs_take_the_steps_of_runs_that_are_alone():
    alone = [levers.network(RESNET, CPU) for _ in range(2)]
    together = levers.Stacked([levers.network(RESNET, CPU) for _ in range(2)])
    for index, network in enumerate(alone):
        network.load_state_dict(
            {name: each[index] for name, each in together.state.items()}
            | {name: each[index] for name, each in together.buffers.items()},
            strict=False,
        )
    train = levers.samples(RESNET, CPU)
    batches = torch.arange(12).split(4)
    for network in alone:
        optimiser = torch.optim.SGD(network.parameters(), **levers.OPTIONS)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
        draw = {"augment": None, "generator": torch.Generator()}
        take_steps(network, train, batches, optimiser, schedule, 0.0, **draw)
    for batch in batches:
        seen = train[batch]
        together.step(torch.stack([seen.images] * 2), torch.stack([seen.labels] * 2))
    for index, network in enumerate(alone):
        for name, value in network.named_parameters():
            torch.testing.assert_close(together.state[name][index], value, rtol=1e-3, atol=1e-5)


def test_what_a_setting_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    assert recording.lacks("digits") is None
    assert recording.lacks("imagenet-to-cifar10") == "squeezenet1_1-imagenet.pth"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "squeezenet1_1-imagenet.pth").touch()
    assert recording.lacks("imagenet-to-cifar10") == "cifar10"
    (tmp_path / "cifar10").mkdir()
    assert recording.lacks("imagenet-to-cifar10") is None
    assert recording.lacks("minilm-to-trec") == "trec.csv"


def test_recording_at_preset_gpu_fits_into_six_minutes_and_paper_does_not():
    assert sum(recording.minutes("gpu").values()) <= 6
    assert recording.minutes("gpu")["imagenet-to-cifar10"] <= 3
    assert min(recording.minutes("paper").values()) > 60
    readme = (REPOSITORY / "benchmarks" / "README.md").read_text()
    assert all(recording.table(preset) in readme for preset in ("gpu", "paper"))


def test_recording_at_preset_gpu_fits_the_images_at_hand():
    most = {"cifar100": (50, 20), "cifar10": (300, 150)}  # to train and validate on, and to test
    for name in recording.AT_HAND:
        data = recording.load_setting(name).data
        for run in recording.plan(name, "gpu"):
            drawn = run.train_per_class + run.val_per_class, run.test_per_class
            if data and data.name in most:
                assert all(n <= there for n, there in zip(drawn, most[data.name], strict=True))
            else:
                assert sum(drawn) <= 80


def test_arithmetic_counts_passes_by_hand():
    runs = [make_run(type(run), vars(run)) for run in recording.plan("cifar10-to-plants", "gpu")]
    row = recording.arithmetic("cifar10-to-plants", "gpu")
    by_hand = sum(
        run.ft_epochs * 10 * (run.train_per_class + run.val_per_class / 3) for run in runs
    )
    assert row["million images"] == pytest.approx(by_hand / 1e6)
    assert row["runs"] == len(runs)


def test_a_record_continues_in_the_next_session(tmp_path: Path):
    first = recording.record("digits", "smoke", [0], "cpu", tmp_path)
    again = recording.record("digits", "smoke", [0, 1], "cpu", tmp_path)
    assert (first["runs"], again["runs"]) == (3, 6)
    table_of = (tmp_path / "results" / "energy_sweep" / "digits.csv").read_text()
    assert len(table_of.splitlines()) == 7


def closure(names: set[str]) -> set[str]:
    """Return packages with all that they require on this machine."""
    found, left = set(), set(names)
    while left:
        name = canonicalize_name(left.pop())
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            needs = [Requirement(each) for each in requires]
            left |= {n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})}
    return found


def test_wheels_are_what_a_machine_for_gpus_lacks():
    wanted = closure({Requirement(each).name for each in PROJECT["dependencies"]})
    makefile = (REPOSITORY / "Makefile").read_text()
    (listed,) = re.findall(r"^GPU_WHEELS = (.*)$", makefile, re.M)
    wheels = {canonicalize_name(name) for name in listed.split()}
    assert wanted - closure(THERE) <= wheels


def test_project_and_data_can_travel_together():
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED.name} beside the project")
    assert sum(mebibytes().values()) <= LIMIT_MIB
