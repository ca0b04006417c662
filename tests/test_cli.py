"""The command line: what it lists, what it computes, where it writes."""

import sys
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

from taskhead import records, studies
from taskhead.cli import main
from taskhead.settings import SETTINGS
from taskhead.studies import STUDIES, Options

TOY = ["run", "toy_linear", "--setting", "toy", "--preset", "smoke"]


def test_settings_are_listed_with_what_they_need(capsys: pytest.CaptureFixture):
    assert main(["settings"]) == 0
    listed = capsys.readouterr().out
    for setting in SETTINGS.values():
        assert f"{setting.name}\n    {setting.description}\n    needs: {setting.needs}" in listed
    assert all(study in listed for study in STUDIES)


def test_run_writes_one_row_a_run_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main([*TOY, "--results", str(tmp_path), "--seeds", "3", "--device", "cpu"]) == 0
    path = tmp_path / "toy_linear" / "toy.csv"
    table = records.load(path, STUDIES["toy_linear"].columns)
    assert set(table["seed"]) == {3}
    assert capsys.readouterr().out == f"{len(table)} runs in {path}\n"
    (session,) = records.load_provenance(path)
    assert session["parameters"]["seeds"] == [3]
    assert (session["preset"], session["rows"]) == ("smoke", len(table))


def test_recompute_writes_the_rows_again(tmp_path: Path):
    command = [*TOY, "--results", str(tmp_path), "--seeds", "3"]
    for options in ([], [], ["--recompute"]):
        assert main([*command, *options]) == 0
    sessions = records.load_provenance(tmp_path / "toy_linear" / "toy.csv")
    assert len({session["rows"] for session in sessions}) == 1
    assert sum(session["rows"] for session in sessions) == 2 * 12


def test_interrupted_run_says_what_is_kept(tmp_path: Path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("taskhead.toys.compute_toy_linear", interrupted)
    assert main([*TOY, "--results", str(tmp_path)]) == 130
    assert "finished runs are kept" in capsys.readouterr().err


def test_folders_that_cannot_be_made_are_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch, capsys
):
    file = tmp_path / "file"
    file.touch()
    assert main([*TOY, "--results", str(file / "results")]) == 1
    assert f"{file} is a file; give another results folder" in capsys.readouterr().err
    monkeypatch.setenv("TASKHEAD_DATA", str(file / "data"))
    sweep = ["run", "energy_sweep", "--setting", "digits", "--preset", "smoke"]
    assert main([*sweep, "--results", str(tmp_path)]) == 1
    assert f"data folder {file}/data cannot be made" in capsys.readouterr().err


def test_runs_go_to_the_folder_runs_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TOY, "--seeds", "3"]) == 0
    assert (tmp_path / "runs" / "toy_linear" / "toy.csv").exists()


def test_notebook_is_executed_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    page, out, seen = REPOSITORY / "notebooks" / "quickstart.ipynb", tmp_path / "out.ipynb", []
    monkeypatch.setattr("papermill.execute_notebook", lambda *given: seen.append(given))
    assert main(["notebook", str(page), str(out), "-p", "preset", "smoke"]) == 0
    assert seen == [(page, out, {"preset": "smoke"})]
    assert capsys.readouterr().out == f"executed notebook in {out}\n"


def test_every_option_of_a_run_reaches_it(monkeypatch: pytest.MonkeyPatch):
    given = {
        "backbone": "resnet20",
        "weights": "V1",
        "data": "photos",
        "domain": "sketch",
        "image_size": 64,
        "train_per_class": 5,
        "hp_lr": 0.5,
        "ft_lr": 0.25,
    }
    assert set(given) == set(Options.__annotations__)
    seen = {}
    monkeypatch.setattr(
        studies, "run", lambda study, **options: seen.update(options) or pd.DataFrame()
    )
    words = [[f"--{name.replace('_', '-')}", str(value)] for name, value in given.items()]
    assert main([*TOY, *chain(*words)]) == 0
    assert given.items() <= seen.items()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--results", ""], "--results: must not be ''; leave it out"),
        (["--train", "12"], "unrecognized arguments: --train 12; usage: taskhead run [-h]"),
        (["--workers", "two"], "--workers: invalid int value: 'two'; usage: taskhead run [-h]"),
    ],
)
def test_option_without_a_value_or_a_whole_name_is_refused(words, error: str, capsys, monkeypatch):
    monkeypatch.setattr(studies, "run", lambda *_, **__: pytest.fail("something was computed"))
    with pytest.raises(SystemExit):
        main([*TOY, *words])
    (line,) = capsys.readouterr().err.splitlines()
    assert error in line


@pytest.mark.parametrize("option", ["--ft-lr", "--image-size", "--train-per-class"])
def test_zero_is_refused_and_not_taken_for_the_default(option: str, capsys, monkeypatch):
    monkeypatch.setattr(studies, "run", lambda *_, **__: pytest.fail("something was computed"))
    assert main([*TOY, option, "0"]) == 1
    assert f"{option} must not be 0" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["prepare"], ["run"], [*TOY, "--seeds", "one"]])
def test_incomplete_command_shows_usage(arguments: list[str], capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: taskhead" in capsys.readouterr().err


def test_help_names_every_study_setting_and_preset(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    assert caught.value.code == 0
    words = capsys.readouterr().out.replace(",", " ").split()
    assert {*STUDIES, *SETTINGS, "smoke", "laptop", "gpu"} <= set(words)


def test_command_is_installed():
    assert Path(sys.executable).with_name("taskhead").exists()
