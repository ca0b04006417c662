"""Results: complete tables, identical resumption, and what is not computed again."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SMOKE_GRIDS, own_data
from problems import SESSION, load_table

from taskhead.experiments import inputs, kinds, network_runs, table
from taskhead.experiments.plan import make_plan
from taskhead.experiments.results import compute_study, load_or_compute, load_recorded
from taskhead.experiments.studies import load_study
from taskhead.method.adaptation import measure
from taskhead.method.evaluation import evaluate
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import Prepared
from taskhead.models.backbones import pretrained_backbone
from taskhead.report import claims, figures
from taskhead.report.choices import chosen_stop
from taskhead.tasks.datasets import digits_task
from taskhead.tasks.task import Draw, Task

SWEEP = {"setting": "digits", "preset": "smoke", "device": "cpu", "workers": 1}
AFTER_FINETUNING = ["euclidean", "cosine", "dot", "norm", "z0_norm", "test_accuracy", "test_loss"]
OF_PROBING = ["aie", "last_layer_norm", "probe_train_loss", "probe_val_accuracy"]


def load(results: Path, study: str, setting: str) -> pd.DataFrame:
    kind = kinds.KINDS[load_study(study).kind]
    return load_table(table.table_path(results, study, setting), kind.run)


def without_time(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="wall_s", errors="ignore")


def measures(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return columns, those that no row has as NaN."""
    return rows.reindex(columns=names)


@pytest.fixture
def results(smoke_results: Path, tmp_path: Path) -> Path:
    return shutil.copytree(smoke_results, tmp_path / "results")


@pytest.fixture
def forbid_computing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    for name, kind in kinds.KINDS.items():
        forbidden = replace(kind, compute=lambda *_: pytest.fail("something was computed"))
        monkeypatch.setitem(kinds.KINDS, name, forbidden)


@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_every_run_of_the_plan_is_done_and_has_its_measures(
    smoke_results: Path, study: str, setting: str
):
    rows = load(smoke_results, study, setting)
    plan = make_plan(study, setting=setting, preset="smoke", options=own_data(setting))
    found = table.read(table.table_path(smoke_results, study, setting), plan.kind.run)
    assert list(found) == list(plan.runs)
    assert set(rows["outcome"]) == {"done"}
    assert rows["reason"].isna().all()
    numbers = rows.select_dtypes("float64")
    other_domains = [name for name in numbers if name.startswith("test_accuracy on ")]
    assert (
        ("ood_accuracy" in rows)
        == bool(other_domains)
        == (setting == "imagenet-to-pacs" and load_study(study).kind == "adaptation")
    )
    numbers = numbers.drop(columns=other_domains).dropna(axis=1, how="all")
    assert np.isfinite(numbers).all().all()


@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_second_call_computes_nothing(results: Path, forbid_computing, study: str, setting: str):
    path = table.table_path(results, study, setting)
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    again = compute_study(
        study, setting=setting, preset="smoke", results=results, **own_data(setting)
    )
    pd.testing.assert_frame_equal(again, load(results, study, setting))
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before


@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_resumed_table_is_the_uninterrupted_one(
    results: Path, smoke_results: Path, study: str, setting: str
):
    path = table.table_path(results, study, setting)
    kind = kinds.KINDS[load_study(study).kind]
    runs = list(table.read(path, kind.run))
    units = kind.units(runs)
    first = set(units[0].runs) if len(units) > 1 else set()
    lines = path.read_text().splitlines(keepends=True)
    kept = sum(len(rows) for run, rows in table.read(path, kind.run).items() if run in first)
    path.write_text("".join(lines[: 1 + kept]))
    grid = {"setting": setting, "preset": "smoke", "results": results, "device": "cpu"}
    returned = compute_study(study, workers=1, **grid, **own_data(setting))
    whole = without_time(load(smoke_results, study, setting))
    for ours in (returned, load(results, study, setting)):
        pd.testing.assert_frame_equal(without_time(ours), whole, check_exact=True)


def test_rows_of_a_batch_that_is_cut_are_those_of_the_whole_batch(
    results: Path, smoke_results: Path
):
    path = table.table_path(results, "toy_linear", "toy")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
    returned = compute_study("toy_linear", setting="toy", preset="smoke", results=results)
    whole = without_time(load(smoke_results, "toy_linear", "toy"))
    pd.testing.assert_frame_equal(without_time(returned), whole, check_exact=True)


def test_continued_probing_is_asked_for_all_stops_of_the_plan(tmp_path: Path, monkeypatch):
    asked = []

    def prepare(*arguments: Any, **options: Any) -> list[Prepared]:
        asked.append([each.tau for each in arguments[2]])
        return prepare_heads(*arguments, **options)

    monkeypatch.setattr(network_runs, "prepare_heads", prepare)
    grid = {"setting": "digits", "preset": "smoke", "results": tmp_path, "seeds": [0]}
    compute_study("energy_sweep", workers=1, **grid)
    path = table.table_path(tmp_path, "energy_sweep", "digits")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    compute_study("energy_sweep", workers=1, **grid)
    assert asked == [[0, 4, 64]] * 2


def test_table_does_not_depend_on_the_number_of_workers(smoke_results: Path, tmp_path: Path):
    rows = compute_study("energy_sweep", results=tmp_path, **SWEEP | {"workers": 2})
    whole = load(smoke_results, "energy_sweep", "digits")
    pd.testing.assert_frame_equal(without_time(rows), without_time(whole), check_exact=True)


def wrongly_validated(*_: Any) -> Task:
    """Make an early epoch the best, so that z_T and the accuracies come from two networks."""
    draw = Draw(seed=1, image_size=8, train_per_class=10, val_per_class=40)
    task = digits_task(draw, classes=range(5, 10))
    return replace(task, val=replace(task.val, labels=task.val.labels.roll(120)))


def test_row_of_the_sweep_is_what_the_library_computes_call_by_call(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(inputs, "load_task", wrongly_validated)
    rows = compute_study("energy_sweep", results=tmp_path, seeds=[1], **SWEEP)
    row = rows[rows["tau"] == 4].iloc[0]
    task, backbone = wrongly_validated(), pretrained_backbone("small_convnet")
    (prepared,) = prepare_heads(
        backbone,
        task.train,
        [HeadPreparation(tau=4)],
        val=task.val,
        batch_size=32,
        seed=1,
    )
    tuned = finetune(
        prepared.backbone,
        prepared.head,
        task.train,
        task.val,
        epochs=2,
        lr=0.005,
        batch_size=32,
        seed=1,
    )
    z0, zT = (extract_features(b, task.val.images) for b in (backbone, tuned.last[0]))
    assert tuned.best_epoch == 1
    assert (row["aie"], row["last_layer_norm"]) == (prepared.aie, prepared.last_layer_norm)
    assert row["probe_val_accuracy"] == prepared.val_accuracy
    assert (row["test_accuracy"], row["test_loss"]) == evaluate(tuned.best, task.test)
    for name, value in vars(measure(z0, zT)).items():
        assert row[name] == value, name


def test_a_seed_is_probed_once_for_all_lengths(tmp_path: Path, monkeypatch):
    probed, prepare = [], network_runs.prepare_heads

    def noting(*args: Any, **options: Any) -> list:
        probed.append(options["seed"])
        return prepare(*args, **options)

    monkeypatch.setattr(network_runs, "prepare_heads", noting)
    compute_study("length_search", results=tmp_path, **SWEEP)
    assert probed == [100]


def test_knobs_of_the_preparation_are_columns_and_act(tmp_path: Path):
    knobs = {"eps": [0.0, 0.3], "hidden": [[], [8]], "init_scale": [1.0]}
    plan = make_plan(
        "energy_sweep", setting="digits", preset="smoke", options=knobs | {"tau": [256]}, seeds=[0]
    )
    for unit in plan.kind.units(plan.runs):
        rows = dict(plan.kind.compute(plan.inputs, unit))
        table.append(tmp_path / "t.csv", plan.kind.run, rows, SESSION)
    rows = load_table(tmp_path / "t.csv", plan.kind.run)
    assert set(rows["hidden"].fillna("")) == {"", "8"}
    smoothed = rows[rows["eps"] == 0.3]["aie"]
    assert smoothed.min() > rows[rows["eps"] == 0.0]["aie"].max()
    assert rows["aie"].nunique() == 4


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"results": "elsewhere"}])
def test_what_is_not_recorded_is_computed_elsewhere(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict
):
    monkeypatch.setattr(table, "recorded_folder", lambda: results)
    monkeypatch.chdir(tmp_path)
    path = table.table_path(results, "toy_linear", "toy")
    if not options:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    before = path.read_bytes()
    rows, where = load_or_compute("toy_linear", setting="toy", preset="smoke", **options)
    assert where == Path(options.get("results", "runs")) / "toy_linear" / "toy.csv"
    assert len(load(where.parents[1], "toy_linear", "toy")) == len(rows)
    assert path.read_bytes() == before


def test_recorded_results_are_shown_and_nothing_is_computed(
    results: Path, monkeypatch: pytest.MonkeyPatch, forbid_computing
):
    monkeypatch.setattr(table, "recorded_folder", lambda: results)
    rows, path = load_or_compute("energy_sweep", setting="digits", preset="smoke")
    assert path == table.table_path(results, "energy_sweep", "digits")
    assert len(rows) == 6
    assert load_recorded("energy_sweep", setting="digits", preset="smoke", ft_lr=0.3) is None


@pytest.fixture
def some_diverged(results: Path) -> Path:
    """Make the run with the most energy of one seed a diverged one."""
    path = table.table_path(results, "energy_sweep", "digits")
    rows = load(results, "energy_sweep", "digits")
    lost = (rows["seed"] == 1) & (rows["tau"] == 0)
    rows.loc[lost, "outcome"] = "diverged"
    rows.loc[lost, [*AFTER_FINETUNING, "val_accuracy"]] = np.nan
    rows.to_csv(path, index=False)
    return results


def test_diverged_run_is_not_computed_again(some_diverged: Path, forbid_computing):
    rows = compute_study("energy_sweep", results=some_diverged, **SWEEP)
    assert rows["outcome"].tolist().count("diverged") == 1


def test_claims_and_figures_leave_diverged_runs_out(some_diverged: Path):
    rows = load(some_diverged, "energy_sweep", "digits")
    kept = rows[rows["tau"] != 0]
    effects = [claims.judge(each)["effect"] for each in (rows, kept)]
    pd.testing.assert_series_equal(*effects)
    pd.testing.assert_frame_equal(chosen_stop(rows), chosen_stop(kept))
    for draw in (figures.overview, figures.adaptation_against_energy):
        draw(rows).canvas.draw()


def test_rows_of_a_backbone_with_other_weights_are_not_mixed(results: Path):
    path = table.table_path(results, "energy_sweep", "digits")
    rows = load(results, "energy_sweep", "digits")
    rows["backbone_sha256"] = "000000000000"
    rows.iloc[:3].to_csv(path, index=False)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"small_convnet.*000000000000"):
        compute_study("energy_sweep", results=results, **SWEEP)
    assert path.read_bytes() == before
