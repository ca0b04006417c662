"""From a folder of images to a model, its report and predictions."""

import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import write_tree
from test_recommend import blobs

from taskhead import HeadPreparation, make_head, pretrained_backbone
from taskhead.cli import main
from taskhead.practice import model_files, search
from taskhead.practice import prepare as preparing
from taskhead.practice import recommend as recommending
from taskhead.practice.model_files import load_model, predict

SHORT = ["--backbone", "resnet20", "--image-size", "32", "--minutes", "10", "--device", "cpu"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("pictures") / "mine", per_class=12)


@pytest.fixture(scope="module")
def prepared(pictures: Path, mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the command writes, on a search of few and short finetunings."""
    out = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        assert main(["prepare", str(pictures), *SHORT, "--out", str(out)]) == 0
    return out


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recommending, "EPOCHS", (1, 2))
    patch.setattr(recommending, "SPLITS", 2)
    patch.setattr(recommending, "RATES", (1e-3, 1e-2))


def test_model_knows_its_classes_and_tells_images_apart(prepared: Path, pictures: Path):
    _, facts = load_model(prepared)
    assert facts["classes"] == sorted(folder.name for folder in pictures.iterdir())
    files = sorted(pictures.rglob("*.png"))
    table = predict(prepared, files)
    assert table["file"].tolist() == [str(file) for file in files]
    shares = table.filter(like="p(")
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert (table["class"] == [file.parent.name for file in files]).mean() > 0.6
    assert facts["test_accuracy"].keys() >= {"no probing", "probing to the end"}
    by_class = facts["test_accuracy_by_class"]
    assert list(by_class) == facts["classes"]
    assert facts["macro_test_accuracy"] == pytest.approx(sum(by_class.values()) / len(by_class))


def test_weights_and_program_are_one_network(prepared: Path):
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    network, facts = load_model(prepared)
    parts = torch.load(prepared / "model.pt", weights_only=True)
    head = make_head(64, len(facts["classes"]))
    head.load_state_dict(parts["head"])
    backbone = pretrained_backbone(facts["backbone"])
    backbone.load_state_dict(parts["backbone"])
    with torch.no_grad():
        assert network(images) == pytest.approx(head(backbone(images)), abs=1e-4)


def test_onnx_is_the_same_network(prepared: Path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(prepared / model_files.ONNX))
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        assert logits == pytest.approx(load_model(prepared)[0](images).numpy(), abs=1e-4)


def test_report_needs_no_other_file_and_says_what_is_recommended(prepared: Path):
    page = (prepared / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    told = re.findall('<img[^>]* alt="([^"]+)"', page)
    assert len(told) == page.count("<img")
    for figure in ("Energy against the epochs", "accuracy against the energy", "Confusion matrix"):
        assert sum(figure in alt for alt in told) == 1
    facts = json.loads((prepared / "model.json").read_text(encoding="utf-8"))
    assert facts["reason"][1:] in page
    for name in facts["classes"]:
        assert name in page
    runs = pd.read_csv(prepared / "runs.csv")
    assert set(runs["outcome"]) == {"done"}


def test_the_same_line_repeats_no_finetuning_of_the_search(
    prepared: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    shorten(monkeypatch)
    out = shutil.copytree(prepared, tmp_path / "out")

    def refused(*_, **__):
        raise AssertionError("the search finetunes again")

    monkeypatch.setattr(search, "finetune", refused)
    assert main(["prepare", str(pictures), *SHORT, "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    before = json.loads((prepared / "model.json").read_text(encoding="utf-8"))
    assert facts["preparation"] == before["preparation"]
    assert facts["test_accuracy"] == before["test_accuracy"]


def test_prediction_is_printed_as_a_table(prepared: Path, pictures: Path, capsys):
    files = [str(file) for file in sorted(pictures.rglob("*.png"))[:2]]
    assert main(["predict", str(prepared), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("file,class,probability,p(")
    assert [line.split(",")[0] for line in lines[1:]] == files


def test_prediction_goes_past_what_cannot_be_read(
    prepared: Path, pictures: Path, tmp_path: Path, capsys
):
    folder = shutil.copytree(pictures, tmp_path / "folder")
    readable = sorted(folder.rglob("*.png"))
    broken, none, empty = (
        readable[0].parent / "broken.png",
        tmp_path / "none.png",
        tmp_path / "empty",
    )
    broken.write_bytes(b"no image")
    empty.mkdir()
    assert main(["predict", str(prepared), *map(str, (none, folder, empty))]) == 1
    said = capsys.readouterr()
    _, *rows = said.out.splitlines()
    assert sorted(row.split(",")[0] for row in rows) == [str(file) for file in readable]
    for path in (broken, none, empty):
        assert sum(str(path) in line for line in said.err.splitlines()) == 1
    assert len(said.err.splitlines()) == 3
    assert main(["predict", str(prepared), str(none)]) == 1
    assert not capsys.readouterr().out
    with pytest.raises(ValueError, match=r"none\.png"):
        predict(prepared, [*readable, none])


def test_names_that_are_no_utf8_are_printed_and_written(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini_data: Path, capsys
):
    folder, out = shutil.copytree(pictures, tmp_path / "folder"), tmp_path / "out"
    odd = sorted(folder.iterdir())[0]
    odd.rename(folder / os.fsdecode(b"caf\xe9"))
    shorten(monkeypatch)
    assert main(["prepare", str(folder), *SHORT, "--out", str(out)]) == 0
    assert "caf\\xe9" in (out / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", str(out), str(folder)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "p(caf\\xe9)" in head
    assert len(rows) == len(list(folder.rglob("*.png")))


def test_example_runs_as_printed_and_tells_the_same(prepared: Path, pictures: Path, tmp_path: Path):
    page = (prepared / "report.html").read_text(encoding="utf-8")
    (code,) = (text for text in re.findall("<pre>(.*?)</pre>", page, re.S) if "import" in text)
    file = next(pictures.rglob("*.png"))
    copy = shutil.copytree(prepared, tmp_path / "elsewhere")
    (copy / "example.py").write_text(html.unescape(code), encoding="utf-8")
    line = [sys.executable, str(copy / "example.py"), str(file)]
    shares = ast.literal_eval(subprocess.run(line, check=True, capture_output=True).stdout.decode())
    (row,) = predict(prepared, [file]).filter(like="p(").to_dict("records")
    assert {f"p({name})": share for name, share in shares.items()} == pytest.approx(row, abs=1e-5)


def test_fixed_choices_that_would_not_end_in_time_are_left_out(
    prepared: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    shorten(monkeypatch)
    real = preparing._finish

    def at_last(*arguments):
        monkeypatch.setattr(preparing, "WRITING", 600)
        return real(*arguments)

    monkeypatch.setattr(preparing, "_finish", at_last)
    out = shutil.copytree(prepared, tmp_path / "out")
    assert main(["prepare", str(pictures), *SHORT, "--out", str(out)]) == 0
    facts = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert len(facts["test_accuracy"]) == 1
    assert "left out, as its finetuning would not end in time" in capsys.readouterr().out


def test_energy_out_of_reach_gives_the_nearest_head():
    backbone, how = torch.nn.Linear(8, 4), {"augment": None, "batch_size": 8, "seed": 0}
    ways = [HeadPreparation(tau=0), HeadPreparation(energy=1.3)]
    start, nearest = preparing._heads(backbone, blobs(), ways, how).values()
    assert (nearest.tau, nearest.aie) == (0, start.aie)


def test_changed_or_missing_models_are_refused(prepared: Path, tmp_path: Path, capsys):
    assert main(["predict", str(tmp_path), "a.png"]) == 1
    assert "holds no model.json" in capsys.readouterr().err
    copy = shutil.copytree(prepared, tmp_path / "copy")
    (copy / model_files.PROGRAM).write_bytes(b"other")
    with pytest.raises(ValueError, match=r"model\.pt2 is not the file that was written"):
        load_model(copy)
    whole = (copy / model_files.FACTS).read_text()
    for damaged in ("{}", "[]", whole[: len(whole) // 2]):
        (copy / model_files.FACTS).write_text(damaged)
        with pytest.raises(ValueError, match=r"model\.json is not the file that was written"):
            load_model(copy)


@pytest.mark.parametrize(
    "option",
    [
        ("--image-size", "4"),
        ("--minutes", "-1"),
        ("--minutes", "nan"),
        ("--seed", "-1"),
        ("--weights", "none.pth"),
    ],
)
def test_options_out_of_range_are_named_as_given_before_images_are_read(
    option: tuple[str, str], pictures: Path, tmp_path: Path, capsys
):
    assert main(["prepare", str(pictures), *SHORT, *option, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert option[1] in said.err
    assert option[0] in said.err


def test_images_held_out_by_the_search_are_told(pictures: Path, tmp_path: Path, capsys, mini_data):
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        main(["prepare", str(pictures), *SHORT, "--out", str(tmp_path / "out")])
    assert "holds out a fifth" in capsys.readouterr().out


def test_images_that_cannot_be_read_are_named_before_anything_is_computed(
    pictures: Path, tmp_path: Path, capsys
):
    folder = shutil.copytree(pictures, tmp_path / "folder")
    (next(folder.iterdir()) / "broken.png").write_bytes(b"no image")
    assert main(["prepare", str(folder), *SHORT, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "broken.png" in error
    assert "\n" not in error.strip()
    assert not (tmp_path / "out").exists()
