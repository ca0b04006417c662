"""Studies: complete grids, identical resumption, and diverged runs that stay diverged."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMOKE_GRIDS, own_data

from taskhead import claims, figures, linear, records, runs, studies
from taskhead.adaptation import measure
from taskhead.backbones import extract_features
from taskhead.data import Task
from taskhead.energy import average_initial_energy
from taskhead.finetuning import finetune
from taskhead.heads import make_head
from taskhead.presets import load_preset
from taskhead.pretraining import pretrained_backbone
from taskhead.probing import probe_head
from taskhead.settings import DIGITS, SETTINGS, configure, get_setting
from taskhead.studies import STUDIES, load_or_run, run
from taskhead.tasks import NO_DOMAIN, Draw

SWEEP = {"setting": "digits", "preset": "smoke", "device": "cpu"}


def load(results: Path, study: str, setting: str) -> pd.DataFrame:
    return records.load(records.table_path(results, study, setting), STUDIES[study].columns)


def plan(study: str, setting: str) -> list[dict]:
    scale = load_preset("smoke").scale(study, setting)
    described = configure(get_setting(setting), **own_data(setting))
    return STUDIES[study].plan(described, "smoke", scale)


def without_time(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="wall_s", errors="ignore")


@pytest.fixture
def results(smoke_results: Path, tmp_path: Path) -> Path:
    return shutil.copytree(smoke_results, tmp_path / "results")


@pytest.fixture
def forbid_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(*_) -> Iterator[list]:
        pytest.fail("something was computed")

    for name, study in STUDIES.items():
        monkeypatch.setitem(STUDIES, name, replace(study, compute=compute))


@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_every_run_of_the_grid_has_one_complete_row(smoke_results: Path, study: str, setting: str):
    table, key = load(smoke_results, study, setting), list(STUDIES[study].key)
    assert table[key].to_dict("records") == [{k: r[k] for k in key} for r in plan(study, setting)]
    if "ood_accuracy" in table:
        other_domains = table.pop("ood_accuracy")
        assert (other_domains.notna() == (table["domain"] != NO_DOMAIN)).all()
    assert not table.isna().any().any()
    assert np.isfinite(table.select_dtypes("number")).all().all()
    if "status" in table:
        assert set(table["status"]) == {"done"}


def test_columns_of_the_energy_sweep_are_those_promised():
    promised = """setting preset backbone weights data domain image_size train_per_class
        val_per_class test_per_class seed tau eps head_depth init_scale bn_mode status aie head_norm
        probe_train_accuracy probe_train_loss probe_val_accuracy euclidean cosine dot norm z0_norm
        val_accuracy test_accuracy test_loss ood_accuracy ood_by_domain backbone_sha256 wall_s"""
    assert set(promised.split()) <= set(STUDIES["energy_sweep"].columns)


@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_second_run_computes_nothing(results: Path, forbid_computing, study: str, setting: str):
    path = records.table_path(results, study, setting)
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    again = run(study, setting=setting, preset="smoke", results=results, **own_data(setting))
    pd.testing.assert_frame_equal(again, load(results, study, setting))
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before


@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_resumed_table_is_the_uninterrupted_one(
    results: Path, smoke_results: Path, study: str, setting: str
):
    path = records.table_path(results, study, setting)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: 1 + len(lines) // 2]))
    grid = {"setting": setting, "preset": "smoke", "results": results, "device": "cpu"}
    returned = run(study, **grid, **own_data(setting))
    whole = without_time(load(smoke_results, study, setting))
    pd.testing.assert_frame_equal(without_time(returned), whole, check_exact=True)
    pd.testing.assert_frame_equal(
        without_time(load(results, study, setting)), whole, check_exact=True
    )


def test_rows_of_a_batch_that_is_cut_agree_to_the_tolerance_of_the_flow(
    results: Path, smoke_results: Path
):
    path = records.table_path(results, "toy_linear", "toy")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
    returned = run("toy_linear", setting="toy", preset="smoke", results=results)
    whole = without_time(load(smoke_results, "toy_linear", "toy"))
    pd.testing.assert_frame_equal(without_time(returned), whole, rtol=1e-6, atol=1e-7)


def test_features_of_more_samples_are_added_to_those_that_are_there(
    results: Path, smoke_results: Path
):
    path, whole = (
        records.table_path(folder, "feature_geometry", "digits")
        for folder in (results, smoke_results)
    )
    table = load(results, "feature_geometry", "digits")
    table[table["sample"] < 150].to_csv(path, index=False)
    returned = run("feature_geometry", results=results, **SWEEP)
    assert returned.to_csv(index=False) == whole.read_text()


def wrongly_validated(draw: Draw) -> Task:
    """Make an early epoch the best, so that z_T and the accuracies come from two networks."""
    task = DIGITS.load_task(draw)
    return replace(task, val=replace(task.val, labels=task.val.labels.roll(120)))


def test_row_of_the_sweep_is_what_the_library_computes_call_by_call(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "digits", replace(DIGITS, load_task=wrongly_validated))
    table = run("energy_sweep", results=tmp_path, seeds=[1], **SWEEP)
    row = table[table["tau"] == 16].iloc[0]
    draw = Draw(seed=1, image_size=8, train_per_class=10, val_per_class=40)
    task, backbone = wrongly_validated(draw), pretrained_backbone("small_convnet")
    z0, z0_val = (extract_features(backbone, part.images) for part in (task.train, task.val))
    head = make_head(z0.shape[1], task.n_classes, init_scale=DIGITS.init_scale, seed=1)
    (snapshot,) = probe_head(
        z0,
        task.train.labels,
        head,
        taus=[16],
        lr=DIGITS.hp_lr,
        batch_size=DIGITS.batch_size,
        seed=1,
    )
    tuned = finetune(
        backbone,
        snapshot.head,
        task,
        epochs=2,
        backbone_lr=DIGITS.ft_lr,
        head_lr=DIGITS.ft_lr,
        weight_decay=DIGITS.weight_decay,
        batch_size=DIGITS.batch_size,
        seed=1,
    )
    zT_val = extract_features(tuned.backbone, task.val.images)
    assert tuned.best_epoch == 1
    assert row["aie"] == average_initial_energy(snapshot.head(z0).detach(), task.train.labels)
    assert row["head_norm"] == snapshot.head_norm
    assert row["test_accuracy"] == tuned.test_accuracy
    for name, value in vars(measure(z0_val, zT_val)).items():
        assert row[name] == value, name


def test_a_seed_is_probed_once_for_all_lengths(tmp_path: Path, monkeypatch):
    probed, probe_heads = [], runs.probe_heads

    def noting(*args, **options) -> list:
        probed.append(options["seeds"])
        return probe_heads(*args, **options)

    monkeypatch.setattr(runs, "probe_heads", noting)
    grid = {"setting": "digits", "preset": "smoke", "results": tmp_path, "device": "cpu"}
    run("length_search", **grid, seeds=[3, 1], workers=1)
    assert probed == [[1], [3]]


def test_row_of_the_toy_is_what_the_linear_model_gives_run_by_run(smoke_results: Path):
    table = load(smoke_results, "toy_linear", "toy").set_index(["width", "init_scale", "tau"])
    row = table[table["seed"] == 1].to_dict("index")[(5, 0.3, 8)]
    rng = np.random.default_rng(1)
    X, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    y = rng.permutation(np.repeat([1.0, -1.0], 5))
    B0, v = rng.normal(size=(5, 10)) / np.sqrt(5), 0.3 * rng.normal(size=5) / np.sqrt(5)
    for _ in range(8):
        v = v + 0.1 * B0 @ X.T @ (y - X @ B0.T @ v)
    z0, zT = (torch.tensor(X @ B.T) for B in (B0, linear.flow(X, y, B0, v).B_T))
    assert row["aie"] == pytest.approx(np.abs(y - z0.numpy() @ v).mean())
    assert row["head_norm"] == pytest.approx(np.linalg.norm(v))
    for name, value in vars(measure(z0, zT)).items():
        assert row[name] == pytest.approx(value, rel=1e-6), name


def test_toy_tables_keep_what_the_linear_model_conserves(smoke_results: Path):
    toy = load(smoke_results, "toy_linear", "toy")
    assert toy["drift"].max() < 1e-6
    assert toy["final_residual"].max() < 1e-6
    unprobed, probed = (toy.loc[toy["tau"] == tau, "aie"].mean() for tau in (0, 64))
    assert probed < unprobed
    lazy = load(smoke_results, "lazy_limit", "toy")
    gap = (lazy["euclidean"] - lazy["lazy_euclidean"]).abs().groupby(lazy["head_norm"]).max()
    assert gap.loc[40.0] < gap.loc[5.0] / 20


def test_projected_features_start_in_one_place_for_every_tau(smoke_results: Path):
    table = load(smoke_results, "feature_geometry", "digits")
    assert table.groupby("sample")[["z0_x", "z0_y", "label"]].nunique().max().max() == 1
    assert table[["z0_x", "z0_y"]].std().is_monotonic_decreasing
    assert table.groupby("tau")["zT_x"].sum().nunique() == table["tau"].nunique()


def test_other_seeds_take_the_place_of_the_presets(tmp_path: Path):
    grid = {"setting": "toy", "preset": "smoke", "results": tmp_path}
    table = run("toy_linear", seeds=[5], **grid)
    assert set(table["seed"]) == {5}
    both = run("toy_linear", seeds=[6, 5], **grid)
    assert both["seed"].unique().tolist() == [6, 5]
    pd.testing.assert_frame_equal(both[both["seed"] == 5].reset_index(drop=True), table)


def test_recomputed_rows_replace_their_predecessors(results: Path, smoke_results: Path):
    path = records.table_path(results, "toy_linear", "toy")
    table = load(results, "toy_linear", "toy").assign(aie=-1.0)
    table.to_csv(path, index=False)
    again = run("toy_linear", setting="toy", preset="smoke", results=results, recompute=True)
    before = without_time(load(smoke_results, "toy_linear", "toy"))
    pd.testing.assert_frame_equal(without_time(again), before, check_exact=True)
    pd.testing.assert_frame_equal(load(results, "toy_linear", "toy"), again)
    assert [session["rows"] for session in records.load_provenance(path)][-1] == len(again)


def test_recorded_results_serve_and_do_not_change(
    results: Path, forbid_computing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(records, "recorded_folder", lambda: results)
    monkeypatch.chdir(tmp_path)
    path = records.table_path(results, "energy_sweep", "digits")
    before = path.read_bytes()
    table, where = load_or_run("energy_sweep", **SWEEP)
    assert where == path
    assert path.read_bytes() == before
    pd.testing.assert_frame_equal(table, load(results, "energy_sweep", "digits"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"results": "elsewhere"}])
def test_what_is_not_recorded_is_computed_elsewhere(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict
):
    monkeypatch.setattr(records, "recorded_folder", lambda: results)
    monkeypatch.chdir(tmp_path)
    path = records.table_path(results, "toy_linear", "toy")
    if not options:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    before = path.read_bytes()
    table, where = load_or_run("toy_linear", setting="toy", preset="smoke", **options)
    assert where == Path(options.get("results", "runs")) / "toy_linear" / "toy.csv"
    assert len(load(where.parents[1], "toy_linear", "toy")) == len(table)
    assert path.read_bytes() == before


AFTER_FINETUNING = ["euclidean", "cosine", "dot", "norm", "z0_norm", "test_accuracy", "test_loss"]
OF_PROBING = ["aie", "head_norm", "probe_train_loss", "probe_val_accuracy"]


def test_run_that_diverges_in_finetuning_has_no_measures_of_it(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "digits", replace(DIGITS, ft_lr=1e20))
    table = run("energy_sweep", results=tmp_path, seeds=[0], **SWEEP)
    assert set(table["status"]) == {"diverged"}
    assert table[AFTER_FINETUNING].isna().all().all()
    assert table[OF_PROBING].notna().all().all()
    with pytest.raises(FloatingPointError, match="the run with tau = 0 diverged"):
        run("feature_geometry", results=tmp_path, **SWEEP)


def test_run_that_diverges_in_probing_spares_those_probed_less(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(SETTINGS, "digits", replace(DIGITS, hp_lr=1e38))
    table = run("energy_sweep", results=tmp_path, seeds=[0], **SWEEP)
    assert table["status"].tolist() == ["done", "diverged", "diverged"]
    assert table.loc[1:, [*OF_PROBING, *AFTER_FINETUNING]].isna().all().all()


@pytest.fixture
def some_diverged(results: Path) -> Path:
    """Make the run with the most energy of one seed a diverged one."""
    path = records.table_path(results, "energy_sweep", "digits")
    table = load(results, "energy_sweep", "digits")
    lost = (table["seed"] == 1) & (table["tau"] == 0)
    table.loc[lost, "status"] = "diverged"
    table.loc[lost, [*AFTER_FINETUNING, "val_accuracy"]] = np.nan
    table.to_csv(path, index=False)
    return results


def test_diverged_run_is_not_computed_again(some_diverged: Path, forbid_computing):
    table = run("energy_sweep", results=some_diverged, **SWEEP)
    assert table["status"].tolist().count("diverged") == 1


def test_claims_and_figures_leave_diverged_runs_out(some_diverged: Path):
    table = load(some_diverged, "energy_sweep", "digits")
    kept = table[table["tau"] != 0]
    pd.testing.assert_frame_equal(claims.feature_trends(table), claims.feature_trends(kept))
    pd.testing.assert_frame_equal(claims.best_in_between(table), claims.best_in_between(kept))
    for draw in (figures.overview, figures.adaptation_against_energy):
        draw(table).canvas.draw()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "energy"}, "unknown study 'energy'; valid: toy_linear, lazy_limit, "),
        ({"setting": "toy"}, "unknown setting of energy_sweep 'toy'; valid: digits"),
        ({"preset": "big"}, "unknown preset 'big'; valid: smoke, laptop, gpu"),
        ({"device": "tpu"}, "unknown device 'tpu'; valid: auto, cuda, mps, cpu"),
    ],
)
def test_unknown_name_lists_the_valid_ones(tmp_path: Path, change: dict, message: str):
    given = {"study": "energy_sweep", **SWEEP} | change
    for compute in (run, load_or_run):
        with pytest.raises(ValueError, match=message):
            compute(given["study"], **{k: v for k, v in given.items() if k != "study"})
    assert not list(tmp_path.iterdir())


def test_auto_is_a_device_that_is_there():
    assert torch.zeros(1, device=studies.choose_device("auto")).sum() == 0
    assert studies.choose_device("cpu") == torch.device("cpu")
