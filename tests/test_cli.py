"""The command line: what it lists, what it computes, where it writes."""

import sys
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from problems import load_table

from taskhead.cli import main
from taskhead.experiments import results
from taskhead.experiments.provenance import load_provenance
from taskhead.experiments.settings import SETTING_NAMES, load_setting
from taskhead.experiments.studies import STUDY_NAMES
from taskhead.experiments.toy import LinearRun

TOY = ["run", "toy_linear", "--setting", "toy", "--preset", "smoke"]


def test_settings_are_listed_with_what_they_need(capsys: pytest.CaptureFixture):
    assert main(["settings"]) == 0
    listed = capsys.readouterr().out
    for setting in map(load_setting, SETTING_NAMES):
        assert all(text in listed for text in (setting.name, setting.description, setting.needs))
    assert all(study in listed for study in STUDY_NAMES)


def test_run_writes_one_row_a_run_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main([*TOY, "--results", str(tmp_path), "--seeds", "3", "--device", "cpu"]) == 0
    path = tmp_path / "toy_linear" / "toy.csv"
    rows = load_table(path, LinearRun)
    assert set(rows["seed"]) == {3}
    out = capsys.readouterr().out
    assert str(path) in out
    assert str(len(rows)) in out
    (session,) = load_provenance(path)
    assert session["parameters"]["seed"] == [3]
    assert (session["preset"], session["rows"]) == ("smoke", len(rows))


def test_recompute_writes_the_rows_again(tmp_path: Path):
    command = [*TOY, "--results", str(tmp_path), "--seeds", "3"]
    for options in ([], [], ["--recompute"]):
        assert main([*command, *options]) == 0
    sessions = load_provenance(tmp_path / "toy_linear" / "toy.csv")
    assert sum(session["rows"] for session in sessions) == 2 * 12


def test_interrupted_run_says_what_is_kept(tmp_path: Path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("taskhead.experiments.results.spread", interrupted)
    assert main([*TOY, "--results", str(tmp_path)]) == 130
    assert "finished runs are kept" in capsys.readouterr().err


def test_folders_that_cannot_be_made_are_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch, capsys
):
    file = tmp_path / "file"
    file.touch()
    assert main([*TOY, "--results", str(file / "results")]) == 1
    assert str(file / "results") in capsys.readouterr().err
    monkeypatch.setenv("TASKHEAD_DATA", str(file / "data"))
    sweep = ["run", "energy_sweep", "--setting", "digits", "--preset", "smoke"]
    assert main([*sweep, "--results", str(tmp_path)]) == 1
    assert f"{file}/data" in capsys.readouterr().err


def test_runs_go_to_the_folder_runs_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TOY, "--seeds", "3"]) == 0
    assert (tmp_path / "runs" / "toy_linear" / "toy.csv").exists()


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
    seen = {}
    rows = pd.DataFrame({"outcome": ["done"], "reason": [None]})
    monkeypatch.setattr(results, "compute_study", lambda _, **options: seen.update(options) or rows)
    words = [[f"--{name.replace('_', '-')}", str(value)] for name, value in given.items()]
    assert main([*TOY, *chain(*words)]) == 0
    assert given.items() <= seen.items()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--results", ""], "--results"),
        (["--data", ""], "--data"),
        (["--train", "12"], "--train 12"),
        (["--workers", "two"], "'two'"),
    ],
)
def test_option_without_a_value_or_a_whole_name_is_refused(words, error: str, capsys, monkeypatch):
    monkeypatch.setattr(
        results, "compute_study", lambda *_, **__: pytest.fail("something was computed")
    )
    with pytest.raises(SystemExit):
        main([*TOY, *words])
    (line,) = capsys.readouterr().err.splitlines()
    assert error in line


@pytest.mark.parametrize(
    ("study", "option", "value"),
    [
        ("energy_sweep", "--ft-lr", "0"),
        ("energy_sweep", "--image-size", "0"),
        ("energy_sweep", "--train-per-class", "0"),
        ("energy_sweep", "--seeds", "-1"),
        ("energy_sweep", "--workers", "0"),
        ("energy_sweep", "--weights", "none.pth"),
        ("rate_search", "--ft-lr", "0.1"),
    ],
)
def test_options_out_of_range_are_named_as_typed(
    study: str, option: str, value: str, capsys, tmp_path: Path
):
    words = ["run", study, "--setting", "digits", "--preset", "smoke", option, value]
    assert main([*words, "--results", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert option in line
    assert option[2:].replace("-", "_") not in line.replace(option, "")
    assert value in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "place"), [("imagenet-to-pacs", "pacs"), ("minilm-to-trec", "text/trec.csv")]
)
def test_data_that_are_not_in_place_are_named_with_what_is_needed(
    setting: str, place: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    sweep = ["run", "energy_sweep", "--setting", setting, "--preset", "smoke"]
    assert main([*sweep, "--results", str(tmp_path / "results")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / place) in line
    assert load_setting(setting).needs in line


def outcomes(*names: str) -> pd.DataFrame:
    reasons = [None if name == "done" else "why" for name in names]
    return pd.DataFrame({"outcome": names, "reason": reasons})


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (outcomes("done", "done"), 0),
        (outcomes("done", "collapsed", "failed"), 0),
        (outcomes("collapsed", "diverged"), 3),
    ],
)
def test_status_says_whether_any_run_came_to_a_result(rows, status: int, monkeypatch, capsys):
    monkeypatch.setattr(results, "compute_study", lambda *_, **__: rows)
    assert main(TOY) == status
    out, err = capsys.readouterr()
    for name in set(rows["outcome"]) - {"done"}:
        assert f"1 {name}" in out
    assert ("why" in err) == (status == 3)


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
    assert {*STUDY_NAMES, *SETTING_NAMES, "smoke", "laptop", "gpu"} <= set(words)


def test_command_is_installed():
    assert Path(sys.executable).with_name("taskhead").exists()


def test_sweep_of_energies_that_hardly_differ_warns(tmp_path: Path, capsys: pytest.CaptureFixture):
    sweep = ["run", "energy_sweep", "--setting", "digits", "--preset", "smoke", "--workers", "1"]
    assert main([*sweep, "--results", str(tmp_path), "--hp-lr", "1e-6"]) == 0
    assert "warning: Its energies span" in capsys.readouterr().err
    assert main([*sweep, "--results", str(tmp_path / "auto")]) == 0
    assert "warning" not in capsys.readouterr().err
