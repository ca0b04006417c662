"""Options of a run: they reach the rows, keep rows apart, and are refused where they do not fit."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_tree
from torchvision import models

from taskhead import records
from taskhead.backbones import small_convnet
from taskhead.settings import DIGITS, IMAGENET_TO_PACS, PACS_DOMAINS
from taskhead.studies import STUDIES, recorded, run
from taskhead.tasks import folder_label

SMOKE = {"preset": "smoke", "device": "cpu"}
FOLDER = {"setting": "imagefolder", **SMOKE}
PACS = {"setting": "imagenet-to-pacs", **SMOKE}
DIGITS_RUN = {"setting": "digits", **SMOKE}


def load(results: Path, setting: str) -> pd.DataFrame:
    path = records.table_path(results, "energy_sweep", setting)
    return records.load(path, STUDIES["energy_sweep"].columns)


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
    table = run("energy_sweep", results=tmp_path, data=str(photos), **options, **FOLDER)
    assert len(table) == 3
    for name, value in options.items():
        assert table[name].unique().tolist() == [value]
    assert table["data"].unique().tolist() == [folder_label(photos)]
    assert set(table["status"]) == {"done"}


def test_options_stand_in_the_provenance(photos: Path, tmp_path: Path):
    run("energy_sweep", results=tmp_path, data=str(photos), train_per_class=3, **FOLDER)
    path = records.table_path(tmp_path, "energy_sweep", "imagefolder")
    (session,) = records.load_provenance(path)
    assert session["parameters"]["train_per_class"] == 3
    assert str(tmp_path) not in path.read_text()


def test_two_folders_have_rows_of_their_own(photos: Path, tmp_path: Path):
    sketches = write_tree(tmp_path / "other" / "photos", per_class=8, seed=8)
    first, second = (
        run("energy_sweep", results=tmp_path, data=str(folder), **FOLDER)
        for folder in (photos, sketches)
    )
    assert not set(first["data"]) & set(second["data"])
    assert not set(first["aie"]) & set(second["aie"])
    both = pd.concat([first, second]).sort_values("data", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(load(tmp_path, "imagefolder"), both)


def test_moved_folder_keeps_its_rows(photos: Path, tmp_path: Path):
    first = run("energy_sweep", results=tmp_path, data=str(photos), **FOLDER)
    moved = shutil.move(photos, tmp_path / "elsewhere" / "photos")
    again = run("energy_sweep", results=tmp_path, data=str(moved), **FOLDER)
    pd.testing.assert_frame_equal(again, first)


def test_weights_have_rows_of_their_own(tmp_path: Path):
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        file = tmp_path / str(seed) / "mine.pt"
        torch.save(small_convnet(seed=seed).state_dict(), file)
        run("energy_sweep", results=tmp_path, seeds=[0], weights=str(file), **DIGITS_RUN)
    table = load(tmp_path, "digits")
    for name in ("weights", "backbone_sha256"):
        assert table.groupby(name).size().tolist() == [3, 3]
    assert all(label.startswith("mine.pt-") for label in table["weights"])


def test_sweep_at_another_rate_stands_beside_the_first(results: Path):
    before = load(results, "digits")
    table = run("energy_sweep", results=results, ft_lr=0.02, **DIGITS_RUN)
    assert set(table["ft_lr"]) == {0.02}
    both = load(results, "digits")
    assert set(both["ft_lr"]) == {DIGITS.ft_lr, 0.02}
    pd.testing.assert_frame_equal(both[: len(before)], before)


def test_domain_restricts_the_rows(results: Path, smoke_results: Path):
    table = run("energy_sweep", results=results, domain="sketch", **PACS)
    whole = load(smoke_results, "imagenet-to-pacs")
    expected = whole[whole["domain"] == "sketch"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, expected)
    assert len(table) == len(whole) / 2


def test_domain_that_the_preset_lacks_may_be_asked_for(tmp_path: Path):
    table = run("energy_sweep", results=tmp_path, domain="cartoon", **PACS)
    assert set(table["domain"]) == {"cartoon"}


def test_domain_of_a_folder_of_ones_own_is_finetuned_on(mini_data: Path, tmp_path: Path):
    folder = str(mini_data / "pacs")
    table = run("energy_sweep", results=tmp_path, data=folder, domain="cartoon", **FOLDER)
    assert set(table["domain"]) == {"cartoon"}
    assert table["ood_accuracy"].notna().all()
    with pytest.raises(ValueError, match="choose one with domain: art_painting, cartoon, photo"):
        run("energy_sweep", results=tmp_path, data=folder, **FOLDER)


def test_accuracy_on_other_domains_is_the_mean_of_those_listed(smoke_results: Path):
    table = load(smoke_results, "imagenet-to-pacs")
    for row in table.to_dict("records"):
        listed = dict(part.split("=") for part in row["ood_by_domain"].split())
        assert set(listed) == set(PACS_DOMAINS) - {row["domain"]}
        mean = np.mean([float(value) for value in listed.values()])
        assert row["ood_accuracy"] == pytest.approx(mean, abs=1e-4)


def test_rows_taken_out_are_computed_again_bit_for_bit(results: Path, smoke_results: Path):
    whole = load(smoke_results, "imagenet-to-pacs")
    path = records.table_path(results, "energy_sweep", "imagenet-to-pacs")
    whole.drop(index=[1, 3, 5]).to_csv(path, index=False)
    returned = run("energy_sweep", results=results, **PACS)
    pd.testing.assert_frame_equal(
        returned.drop(columns="wall_s"), whole.drop(columns="wall_s"), check_exact=True
    )
    kept = [0, 2, 4]
    assert returned["wall_s"][kept].tolist() == whole["wall_s"][kept].tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (FOLDER, "setting imagefolder needs a folder of images; give data"),
        (FOLDER | {"data": "nowhere"}, "data folder nowhere does not exist"),
        (PACS | {"data": "photos"}, "setting imagenet-to-pacs has its own data; .*'photos'"),
        (PACS | {"domain": "clay"}, "domain: art_painting, cartoon, photo, sketch; got 'clay'"),
        (PACS | {"backbone": "resnet20"}, "backbone of setting imagenet-to-pacs 'resnet20'; valid"),
        (PACS | {"image_size": 4}, "image_size: Input should be greater than or equal to 8, got 4"),
        (PACS | {"ft_lr": -1.0}, "ft_lr must be positive and finite, got -1.0"),
        (PACS | {"tau": 3}, "option of energy_sweep 'tau'; valid: backbone, weights, data"),
        (DIGITS_RUN | {"domain": "photo"}, "setting digits has no domains, got domain 'photo'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, given: dict, message: str):
    with pytest.raises(ValueError, match=message):
        run("energy_sweep", results=tmp_path, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{}, {"domain": "", "image_size": 0, "ft_lr": 0.0}])
def test_complete_recorded_results_are_found(smoke_results: Path, monkeypatch, options: dict):
    monkeypatch.setattr(records, "recorded_folder", lambda: smoke_results)
    found = recorded("energy_sweep", setting="imagenet-to-pacs", preset="smoke", **options)
    assert found
    table, path = found
    assert path == records.table_path(smoke_results, "energy_sweep", "imagenet-to-pacs")
    pd.testing.assert_frame_equal(table, load(smoke_results, "imagenet-to-pacs"))


@pytest.mark.parametrize(
    "options", [{"domain": "cartoon"}, {"image_size": 64}, {"ft_lr": 2 * IMAGENET_TO_PACS.ft_lr}]
)
def test_what_was_not_recorded_is_not_found(smoke_results: Path, monkeypatch, options: dict):
    monkeypatch.setattr(records, "recorded_folder", lambda: smoke_results)
    given = {"setting": "imagenet-to-pacs", "preset": "smoke", **options}
    assert recorded("energy_sweep", **given) is None


def test_incomplete_recorded_results_are_not_found(results: Path, monkeypatch):
    monkeypatch.setattr(records, "recorded_folder", lambda: results)
    path = records.table_path(results, "energy_sweep", "imagenet-to-pacs")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert recorded("energy_sweep", setting="imagenet-to-pacs", preset="smoke") is None


@pytest.mark.parametrize(
    ("study", "setting", "options", "message"),
    [
        ("rate_search", "digits", {"ft_lr": 0.1}, "'ft_lr'; valid: backbone, weights, data"),
        ("batchnorm_drift", "digits", {"ft_lr": 0.1}, "'ft_lr'; valid: backbone"),
        (
            "pretraining",
            "digits",
            {"weights": "no"},
            "pretraining takes no options, got weights",
        ),
        ("toy_linear", "toy", {"image_size": 32}, "toy_linear takes no options, got image_size"),
    ],
)
def test_no_study_ignores_an_option(tmp_path: Path, study, setting, options, message: str):
    with pytest.raises(ValueError, match=message):
        run(study, setting=setting, preset="smoke", results=tmp_path, **options)
    assert not any(tmp_path.iterdir())


def test_one_table_does_not_mix_two_networks(mini_data: Path, tmp_path: Path, monkeypatch):
    run("energy_sweep", results=tmp_path, seeds=[0], **PACS)
    before = load(tmp_path, "imagenet-to-pacs")
    monkeypatch.setattr("taskhead.runs.fingerprint", lambda _: "another")
    with pytest.raises(ValueError, match=r"holds rows of squeezenet1_1 .* now they are another"):
        run("energy_sweep", results=tmp_path, seeds=[0, 1], **PACS)
    pd.testing.assert_frame_equal(load(tmp_path, "imagenet-to-pacs"), before)
    again = run("energy_sweep", results=tmp_path, seeds=[0], recompute=True, **PACS)
    assert set(again["backbone_sha256"]) == {"another"}


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "inception_v3", "image_size": 32}, "inception_v3 does not take images of 32"),
        ({"backbone": "vit_b_16", "image_size": 32}, "vit_b_16 does not take images of 32"),
    ],
)
def test_image_size_that_a_backbone_does_not_take_is_named(
    photos: Path, tmp_path: Path, options: dict, message: str
):
    file = tmp_path / "weights.pth"
    torch.save(models.get_model(options["backbone"], weights=None).state_dict(), file)
    with pytest.raises(ValueError, match=message):
        run(
            "energy_sweep",
            results=tmp_path,
            data=str(photos),
            weights=str(file),
            **options,
            **FOLDER,
        )
    assert not (tmp_path / "energy_sweep").exists()


def test_backbone_with_dropout_gives_the_same_table_twice(photos: Path, tmp_path: Path):
    file = tmp_path / "weights.pth"
    torch.save(models.efficientnet_b0(weights=None).state_dict(), file)
    options = {"data": str(photos), "weights": str(file), "backbone": "efficientnet_b0"}
    first, again = (
        run("energy_sweep", results=tmp_path / name, ft_lr=0.01, **options, **FOLDER)
        for name in ("first", "again")
    )
    pd.testing.assert_frame_equal(first.drop(columns="wall_s"), again.drop(columns="wall_s"))
