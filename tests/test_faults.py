"""Bad input: one line that names it, a non-zero exit, and results on disk untouched."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from taskhead import presets
from taskhead.cli import main
from taskhead.pretraining import checkpoint_path, pretrained_backbone
from taskhead.settings import SETTINGS

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


NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "sweep"}, "unknown study 'sweep'; valid: toy_linear, "),
        ({"--setting": "digit"}, "unknown setting 'digit'; valid: toy, digits"),
        ({"--setting": "toy"}, "unknown setting of energy_sweep 'toy'; valid: digits"),
        ({"--preset": "tiny"}, "unknown preset 'tiny'; valid: smoke, laptop, gpu"),
        ({"--device": "tpu"}, "unknown device 'tpu'; valid: auto, cuda, mps, cpu"),
        pytest.param({"--device": "cuda"}, "device 'cuda' is not available here", marks=NO_CUDA),
        ({"--seeds": "-1"}, "seeds.0: Input should be greater than or equal to 0, got -1"),
        ({"--seeds": "1 2 1"}, "values must differ, got [1, 2, 1]"),
        ({"--image-size": "16"}, "image_size of the handwritten digits must be 8, got 16"),
        ({"--image-size": "-8"}, "image_size: Input should be greater than or equal to 8, got -8"),
        ({"--train-per-class": "-1"}, "train_per_class: Input should be greater"),
        ({"--train-per-class": "200"}, "images; train_per_class=200 and val_per_class=40 need 240"),
        ({"--ft-lr": "-0.1"}, "ft_lr must be positive and finite, got -0.1"),
        ({"--ft-lr": "nan"}, "ft_lr must be positive and finite, got nan"),
        ({"--backbone": "resnet20"}, "unknown backbone of setting digits 'resnet20'; valid: small"),
        ({"--weights": "V1"}, "unknown weights 'V1' of small_convnet; valid: DEFAULT or a local"),
        ({"--domain": "photo"}, "setting digits has no domains, got domain 'photo'"),
        ({"--data": "photos"}, "setting digits has its own data; a folder, here 'photos', is for"),
        ({"--setting": "imagefolder"}, "setting imagefolder needs a folder of images; give data"),
        ({"--setting": "imagefolder", "--data": "no"}, "data folder no does not exist"),
    ],
)
def test_wrong_option_ends_the_command(capsys, results: Path, change: dict, message: str):
    before = files(results)
    assert message in complaint(capsys, command(results, **change))
    assert files(results) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 16, 256]", "[0, 256, 16]", "strictly increasing, got [0, 256, 16]"),
        ("[0, 16, 256]", "[-16, 0]", "tau must be at least 0, got -16"),
        ("[0, 16, 256]", "[0, much]", "energy_sweep.digits.taus"),
    ],
)
def test_wrong_preset_file_ends_the_command(
    capsys, results: Path, tmp_path: Path, monkeypatch, old: str, new: str, message: str
):
    text = (presets.folder() / "smoke.yaml").read_text()
    (tmp_path / "smoke.yaml").write_text(text.replace(old, new))
    monkeypatch.setattr(presets, "folder", lambda: tmp_path)
    before = files(results)
    assert message in complaint(capsys, command(results))
    assert files(results) == before


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("digits.csv", lambda data: data[:-9], "is empty or cut off in its last line"),
        ("digits.csv", lambda data: data.replace(b"aie", b"energy"), "missing columns ['aie']"),
        ("digits.csv", lambda data: data.replace(b",done,", b",", 1), "line 2 has"),
        ("digits.csv", lambda data: b"\xff" + data, "is no text"),
        ("digits.json", lambda data: data[:-9], "is damaged"),
    ],
)
def test_damaged_results_are_named_before_anything_is_computed(
    capsys, results: Path, monkeypatch, name: str, damage, message: str
):
    path = results / "energy_sweep" / name
    path.write_bytes(damage(path.read_bytes()))
    before = files(results)
    monkeypatch.setattr("taskhead.runs.probe_heads", lambda *_, **__: pytest.fail("computed"))
    line = complaint(capsys, [*command(results), "--recompute"])
    assert message in line
    assert str(path) in line
    assert files(results) == before


def test_results_in_a_file_are_refused_before_anything_is_computed(capsys, tmp_path: Path):
    file = tmp_path / "results"
    file.write_text("notes")
    assert f"{file} is a file; give another results folder" in complaint(capsys, command(file))
    assert files(tmp_path) == {file: b"notes"}


CHECKPOINTS = {
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "text": (lambda path: path.write_text("not a checkpoint"), "is damaged"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is damaged"),
    "code": (lambda path: torch.save(torch.nn.ReLU(), path), "is damaged"),
    "no state": (lambda path: torch.save(torch.zeros(3), path), "holds no state dict"),
    "other architecture": (
        lambda path: torch.save({"weight": torch.zeros(3)}, path),
        "does not fit the network",
    ),
}


@pytest.mark.parametrize("content", CHECKPOINTS)
def test_damaged_checkpoint_is_named(capsys, tmp_path: Path, monkeypatch, content: str):
    pretrained_backbone("small_convnet")
    whole = checkpoint_path("small_convnet")
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "data"))
    path = checkpoint_path("small_convnet")
    path.parent.mkdir(parents=True)
    shutil.copy(whole, path)
    damage, problem = CHECKPOINTS[content]
    damage(path)
    line = complaint(capsys, command(tmp_path / "results"))
    assert f"checkpoint {path} {problem}" in line
    assert "delete it and run again" in line
    assert not (tmp_path / "results").exists()


def test_results_folder_that_is_a_file_is_named(capsys, tmp_path: Path):
    (tmp_path / "results").write_text("")
    line = complaint(
        capsys, command(tmp_path / "results", study="toy_linear", **{"--setting": "toy"})
    )
    assert str(tmp_path / "results") in line


@pytest.mark.parametrize(
    ("notebook", "message"),
    [("no.ipynb", "no.ipynb does not exist"), ("page.ipynb", "page.ipynb")],
)
def test_notebook_that_cannot_be_read_is_named(capsys, tmp_path: Path, notebook, message):
    (tmp_path / "page.ipynb").write_text("{")
    arguments = ["notebook", str(tmp_path / notebook), str(tmp_path / "out.ipynb")]
    assert message in complaint(capsys, arguments)


def test_installed_command_ends_in_one_line_without_traceback(results: Path):
    before = files(results)
    taskhead = Path(sys.executable).with_name("taskhead")
    ended = subprocess.run(
        [taskhead, *command(results, **{"--setting": "digit"})], capture_output=True, text=True
    )
    assert ended.returncode == 1
    valid = ", ".join(SETTINGS)
    assert ended.stderr == f"taskhead: error: unknown setting 'digit'; valid: {valid}\n"
    assert files(results) == before
