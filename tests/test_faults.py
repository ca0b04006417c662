"""Bad input: one line that names it, a non-zero exit, and results on disk untouched."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taskhead.cli import main

SWEEP = {"study": "energy_sweep", "--setting": "digits", "--preset": "smoke", "--device": "cpu"}


def command(results: Path, **change: str) -> list[str]:
    options = SWEEP | {"--results": str(results)} | change
    study = options.pop("study")
    return ["run", study, *[word for pair in options.items() for word in " ".join(pair).split()]]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def results(smoke_results: Path, tmp_path: Path) -> Path:
    return shutil.copytree(smoke_results, tmp_path / "results")


def complaint(capsys: pytest.CaptureFixture, arguments: list[str]) -> str:
    """Return the one line on standard error with which the command gives up."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    *progress, line = err.splitlines()
    assert all("run/s]" in shown for shown in progress if shown)
    assert line.startswith("taskhead: error: ")
    return line


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"study": "sweep"}, "'sweep'"),
        ({"--setting": "digit"}, "'digit'"),
        ({"--preset": "tiny"}, "'tiny'"),
        ({"--device": "tpu"}, "'tpu'"),
        ({"--seeds": "-1"}, "-1"),
        ({"--image-size": "16"}, "16"),
        ({"--train-per-class": "200"}, "train_per_class=200"),
        ({"--ft-lr": "nan"}, "--ft-lr"),
        ({"--weights": "V1"}, "'V1'"),
        ({"--data": "photos"}, "'photos'"),
        ({"--setting": "imagefolder", "--data": "no"}, "folder no"),
    ],
)
def test_wrong_option_ends_the_command(capsys, results: Path, change: dict, named: str):
    before = files(results)
    assert named in complaint(capsys, command(results, **change))
    assert files(results) == before


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("digits.csv", lambda data: data[:-9], "cut off"),
        ("digits.csv", lambda data: data.replace(b"seed", b"sede"), "'seed'"),
        ("digits.csv", lambda data: data.replace(b",done,", b",", 1), "line 2"),
        ("digits.csv", lambda data: b"\xff" + data, "digits.csv"),
        ("digits.json", lambda data: data[:-9], "digits.json"),
    ],
)
def test_damaged_results_are_named_before_anything_is_computed(
    capsys, results: Path, monkeypatch, name: str, damage, message: str
):
    path = results / "energy_sweep" / name
    path.write_bytes(damage(path.read_bytes()))
    before = files(results)
    monkeypatch.setattr(
        "taskhead.experiments.network_runs.prepare_heads", lambda *_, **__: pytest.fail("computed")
    )
    line = complaint(capsys, [*command(results), "--recompute"])
    assert message in line
    assert str(path) in line
    assert files(results) == before


def test_results_in_a_file_are_refused_before_anything_is_computed(capsys, tmp_path: Path):
    file = tmp_path / "results"
    file.write_text("notes")
    assert str(file) in complaint(capsys, command(file))
    assert files(tmp_path) == {file: b"notes"}


def test_results_folder_that_is_a_file_is_named(capsys, tmp_path: Path):
    (tmp_path / "results").write_text("")
    line = complaint(
        capsys, command(tmp_path / "results", study="toy_linear", **{"--setting": "toy"})
    )
    assert str(tmp_path / "results") in line


def test_installed_command_ends_in_one_line_without_traceback(results: Path):
    before = files(results)
    taskhead = Path(sys.executable).with_name("taskhead")
    ended = subprocess.run(
        [taskhead, *command(results, **{"--setting": "digit"})], capture_output=True, text=True
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "'digit'" in line
    assert files(results) == before


def test_table_that_cannot_be_locked_costs_no_run(capsys, results: Path, monkeypatch):
    path = results / "energy_sweep" / "digits.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.mkdir()
    monkeypatch.setattr("taskhead.experiments.results.spread", None)
    line = complaint(capsys, command(results, **{"--seeds": "9"}))
    assert "digits.lock" in line
