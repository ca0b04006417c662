"""Options of a run: they reach the rows, keep rows apart, and are refused where they do not fit."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PACS_DOMAINS, write_tree
from problems import load_table
from torchvision import models

from taskhead.experiments import table
from taskhead.experiments.provenance import load_provenance
from taskhead.experiments.results import compute_study, load_recorded
from taskhead.experiments.run import Run
from taskhead.models.pretraining import small_convnet
from taskhead.tasks.folders import folder_label

SMOKE = {"preset": "smoke", "device": "cpu", "workers": 1}
FOLDER = {"setting": "imagefolder", **SMOKE}
PACS = {"setting": "imagenet-to-pacs", **SMOKE}
DIGITS_RUN = {"setting": "digits", **SMOKE}


def load(results: Path, setting: str) -> pd.DataFrame:
    return load_table(table.table_path(results, "energy_sweep", setting), Run)


@pytest.fixture(autouse=True)
def offline(mini_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "photos", per_class=9, seed=7)


@pytest.fixture
def results(smoke_results: Path, tmp_path: Path) -> Path:
    shutil.copytree(smoke_results / "energy_sweep", tmp_path / "results" / "energy_sweep")
    return tmp_path / "results"


def test_options_stand_in_the_rows(photos: Path, tmp_path: Path):
    options = {"backbone": "resnet20", "image_size": 40, "train_per_class": 3, "ft_lr": 0.002}
    rows = compute_study("energy_sweep", results=tmp_path, data=str(photos), **options, **FOLDER)
    assert len(rows) == 3
    for name, value in options.items():
        assert rows[name].unique().tolist() == [value]
    assert rows["data"].unique().tolist() == [folder_label(photos)]
    assert set(rows["outcome"]) == {"done"}


def test_first_line_says_which_images_serve_for_what(photos: Path, tmp_path: Path, capsys):
    compute_study("energy_sweep", results=tmp_path, data=str(photos), **FOLDER)
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"18 of 27 images of 3 classes in {photos}: 6 for training, ")
    compute_study("energy_sweep", results=tmp_path, data=str(photos), **FOLDER)
    assert not capsys.readouterr().err


def test_options_stand_in_the_provenance(photos: Path, tmp_path: Path):
    compute_study("energy_sweep", results=tmp_path, data=str(photos), train_per_class=3, **FOLDER)
    path = table.table_path(tmp_path, "energy_sweep", "imagefolder")
    (session,) = load_provenance(path)
    assert session["parameters"]["train_per_class"] == 3
    assert str(tmp_path) not in path.read_text()


def test_two_folders_have_rows_of_their_own(photos: Path, tmp_path: Path):
    sketches = write_tree(tmp_path / "other" / "photos", per_class=8, seed=8)
    first, second = (
        compute_study("energy_sweep", results=tmp_path, data=str(folder), **FOLDER)
        for folder in (photos, sketches)
    )
    assert not set(first["data"]) & set(second["data"])
    assert not set(first["aie"]) & set(second["aie"])
    both = pd.concat([first, second]).sort_values("data", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(load(tmp_path, "imagefolder"), both)


def test_moved_folder_keeps_its_rows(photos: Path, tmp_path: Path):
    first = compute_study("energy_sweep", results=tmp_path, data=str(photos), **FOLDER)
    moved = shutil.move(photos, tmp_path / "elsewhere" / "photos")
    again = compute_study("energy_sweep", results=tmp_path, data=str(moved), **FOLDER)
    pd.testing.assert_frame_equal(again, first)


def test_weights_have_rows_of_their_own(tmp_path: Path):
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        file = tmp_path / str(seed) / "mine.pt"
        torch.save(small_convnet(seed=seed).state_dict(), file)
        compute_study("energy_sweep", results=tmp_path, seeds=[0], weights=str(file), **DIGITS_RUN)
    rows = load(tmp_path, "digits")
    for name in ("weights", "backbone_sha256"):
        assert rows.groupby(name).size().tolist() == [3, 3]
    assert all(label.startswith("mine.pt-") for label in rows["weights"])


def test_sweep_at_another_rate_stands_beside_the_first(results: Path):
    before = load(results, "digits")
    rows = compute_study("energy_sweep", results=results, ft_lr=0.02, **DIGITS_RUN)
    assert set(rows["ft_lr"]) == {0.02}
    both = load(results, "digits")
    assert set(both["ft_lr"]) == {0.005, 0.02}
    kept = both[both["ft_lr"] == 0.005].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)


def test_domain_restricts_the_rows(results: Path, smoke_results: Path):
    rows = compute_study("energy_sweep", results=results, domain="sketch", **PACS)
    whole = load(smoke_results, "imagenet-to-pacs")
    expected = whole[whole["domain"] == "sketch"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected)
    assert len(rows) == len(whole) / 2


def test_domain_that_the_preset_lacks_may_be_asked_for(tmp_path: Path):
    rows = compute_study("energy_sweep", results=tmp_path, domain="cartoon", **PACS)
    assert set(rows["domain"]) == {"cartoon"}


def test_domain_of_a_folder_of_ones_own_is_finetuned_on(mini_data: Path, tmp_path: Path):
    folder = str(mini_data / "pacs")
    rows = compute_study("energy_sweep", results=tmp_path, data=folder, domain="cartoon", **FOLDER)
    assert set(rows["domain"]) == {"cartoon"}
    assert rows["ood_accuracy"].notna().all()
    with pytest.raises(ValueError, match="art_painting, cartoon, photo"):
        compute_study("energy_sweep", results=tmp_path, data=folder, **FOLDER)


def test_accuracy_on_other_domains_is_the_mean_of_those_listed(smoke_results: Path):
    rows = load(smoke_results, "imagenet-to-pacs")
    for row in rows.to_dict("records"):
        tested = {name: row[f"test_accuracy on {name}"] for name in PACS_DOMAINS}
        assert {name for name in tested if np.isnan(tested[name])} == {row["domain"]}
        assert row["ood_accuracy"] == pytest.approx(np.nanmean(list(tested.values())))


def test_rows_taken_out_are_computed_again_bit_for_bit(results: Path, smoke_results: Path):
    whole = load(smoke_results, "imagenet-to-pacs")
    path = table.table_path(results, "energy_sweep", "imagenet-to-pacs")
    whole.drop(index=[1, 3, 5]).to_csv(path, index=False)
    returned = compute_study("energy_sweep", results=results, **PACS)
    pd.testing.assert_frame_equal(
        returned.drop(columns="wall_s"), whole.drop(columns="wall_s"), check_exact=True
    )
    kept = [0, 2, 4]
    assert returned["wall_s"][kept].tolist() == whole["wall_s"][kept].tolist()


@pytest.mark.parametrize("options", [{}, {"domain": None, "image_size": None, "ft_lr": None}])
def test_complete_recorded_results_are_found(smoke_results: Path, monkeypatch, options: dict):
    monkeypatch.setattr(table, "recorded_folder", lambda: smoke_results)
    found = load_recorded("energy_sweep", setting="imagenet-to-pacs", preset="smoke", **options)
    assert found
    rows, path = found
    assert path == table.table_path(smoke_results, "energy_sweep", "imagenet-to-pacs")
    pd.testing.assert_frame_equal(rows, load(smoke_results, "imagenet-to-pacs"))


@pytest.mark.parametrize("options", [{"domain": "cartoon"}, {"image_size": 64}, {"ft_lr": 2e-3}])
def test_what_was_not_recorded_is_not_found(smoke_results: Path, monkeypatch, options: dict):
    monkeypatch.setattr(table, "recorded_folder", lambda: smoke_results)
    given = {"setting": "imagenet-to-pacs", "preset": "smoke", **options}
    assert load_recorded("energy_sweep", **given) is None


def test_incomplete_recorded_results_are_not_found(results: Path, monkeypatch):
    monkeypatch.setattr(table, "recorded_folder", lambda: results)
    path = table.table_path(results, "energy_sweep", "imagenet-to-pacs")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert load_recorded("energy_sweep", setting="imagenet-to-pacs", preset="smoke") is None


def test_one_table_does_not_mix_two_networks(mini_data: Path, tmp_path: Path, monkeypatch):
    compute_study("energy_sweep", results=tmp_path, seeds=[0], **PACS)
    before = load(tmp_path, "imagenet-to-pacs")
    monkeypatch.setattr("taskhead.experiments.inputs.fingerprint", lambda _: "another")
    with pytest.raises(ValueError, match=r"squeezenet1_1.*another"):
        compute_study("energy_sweep", results=tmp_path, seeds=[0, 1], **PACS)
    pd.testing.assert_frame_equal(load(tmp_path, "imagenet-to-pacs"), before)
    again = compute_study("energy_sweep", results=tmp_path, seeds=[0], recompute=True, **PACS)
    assert set(again["backbone_sha256"]) == {"another"}


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "inception_v3", "image_size": 32}, "inception_v3 with image_size 32"),
        ({"backbone": "vit_b_16", "image_size": 32}, "vit_b_16 with image_size 32"),
    ],
)
def test_image_size_that_a_backbone_does_not_take_is_named(
    photos: Path, tmp_path: Path, options: dict, message: str
):
    file = tmp_path / "weights.pth"
    torch.save(models.get_model(options["backbone"], weights=None).state_dict(), file)
    with pytest.raises(ValueError, match=message):
        compute_study(
            "energy_sweep",
            results=tmp_path,
            data=str(photos),
            weights=str(file),
            **options,
            **FOLDER,
        )
    assert not list(tmp_path.rglob("*.csv"))


def test_backbone_with_dropout_gives_the_same_table_twice(photos: Path, tmp_path: Path):
    file = tmp_path / "weights.pth"
    torch.save(models.efficientnet_b0(weights=None).state_dict(), file)
    options = {"data": str(photos), "weights": str(file), "backbone": "efficientnet_b0"}
    first, again = (
        compute_study("energy_sweep", results=tmp_path / name, ft_lr=0.01, **options, **FOLDER)
        for name in ("first", "again")
    )
    pd.testing.assert_frame_equal(first.drop(columns="wall_s"), again.drop(columns="wall_s"))
