"""Network runs: what their rows hold, at which energies they start, and what lies beside tables."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import write_tree
from problems import SESSION, load_table

from taskhead.experiments import dynamics, inputs, table
from taskhead.experiments.images import load_right
from taskhead.experiments.plan import make_plan
from taskhead.experiments.results import compute_study
from taskhead.experiments.run import Run
from taskhead.experiments.settings import load_setting
from taskhead.method.heads import make_head
from taskhead.tasks.task import Draw

SWEEP = {"setting": "digits", "preset": "smoke", "device": "cpu", "workers": 1}


def test_heads_are_probed_down_to_energies_and_those_out_of_reach_say_so(tmp_path: Path):
    levels = [0.6, 0.3, 1.3]
    rows = compute_study("energy_sweep", **SWEEP, results=tmp_path, seeds=[0], energy=levels)
    rows = rows.set_index("energy")
    assert rows.loc[[0.3, 0.6], "aie"].tolist() == pytest.approx([0.3, 0.6], abs=2e-4)
    assert rows["outcome"].tolist() == ["done", "done", "unreached"]
    assert "1.3" in rows.loc[1.3, "reason"]
    assert rows["tau"].isna().all()
    assert rows["test_accuracy"].isna().tolist() == [False, False, True]


def test_table_older_than_a_key_is_read_with_its_default(tmp_path: Path):
    plan = make_plan("energy_sweep", setting="digits", preset="smoke", seeds=[0])
    path = tmp_path / "t.csv"
    table.append(path, plan.kind.run, {plan.runs[0]: [{"outcome": "done"}]}, SESSION)
    header, row = path.read_text().splitlines()
    place = header.split(",").index("energy")
    older = [",".join(v for i, v in enumerate(t.split(",")) if i != place) for t in (header, row)]
    path.write_text("\n".join(older) + "\n")
    assert list(table.read(path, plan.kind.run)) == [plan.runs[0]]


def test_row_holds_what_the_features_are_worth_and_how_the_last_epoch_does(tmp_path: Path):
    rows = compute_study("energy_sweep", **SWEEP, results=tmp_path, seeds=[0])
    for name in ("cka", "fresh_probe_accuracy", "source_probe_accuracy", "last_test_accuracy"):
        assert rows[name].between(0, 1).all(), name
    assert (rows["aie"] == rows["aie_clean"]).all()
    assert (rows["probed_epochs"] == rows["tau"]).all()
    assert (rows["source_probe_accuracy"] > 0.8).all()
    assert (rows[["first_step", "logit_change", "within_scatter", "test_nll", "test_ece"]] > 0).all(
        axis=None
    )
    assert (rows["relative_euclidean"] < rows["euclidean"] / rows["z0_norm"] * 1.5).all()


def test_probing_alone_gives_the_heads_of_the_sweep(smoke_results: Path):
    """At tau = 0 no view has been probed on, so their number cannot matter."""
    views, sweep = (
        pd.read_csv(table.table_path(smoke_results, study, "imagenet-to-cifar10"))
        for study in ("views", "energy_sweep")
    )
    start = views[views["tau"] == 0]
    known = sweep[sweep["tau"] == 0].iloc[0]
    for name in ("aie", "aie_clean", "last_layer_norm", "probe_val_accuracy"):
        assert start[name].tolist() == pytest.approx([known[name]] * 2, rel=1e-6)
    features = 512 * 4 * known["train_per_class"] * 3  # bytes of one view of three classes
    assert start["views_mb"].tolist() == [11 * features / 2**20, 12 * features / 2**20]
    assert "test_accuracy" not in views


@pytest.mark.parametrize("setting", ["digits", "imagenet-to-cifar10"])
def test_first_step_is_taken_apart_into_factors_that_multiply(smoke_results: Path, setting: str):
    steps = pd.read_csv(table.table_path(smoke_results, "one_step", setting))
    factors = steps[["ft_lr", "step_energy", "step_gain", "step_coherence", "step_kernel"]]
    assert factors.prod(axis=1).tolist() == pytest.approx(steps["step_predicted"].tolist())
    assert (steps["step_missed"] < steps["step_true"]).all()
    if setting == "digits":
        assert steps["step_energy"].tolist() == pytest.approx(steps["aie"].tolist(), rel=1e-5)


def test_rates_of_a_head_are_computed_together_as_if_alone(smoke_results: Path):
    plan = make_plan("one_step", setting="digits", preset="smoke", device="cpu")
    assert [len(unit.runs) for unit in plan.kind.units(plan.runs)] == [2, 2, 2]
    alone = [run for run in plan.runs if run.ft_lr == 1e-3]
    found = [plan.kind.compute(plan.inputs, unit) for unit in plan.kind.units(alone)]
    known = pd.read_csv(table.table_path(smoke_results, "one_step", "digits"))
    expected = known[known["ft_lr"] == 1e-3]["step_true"].tolist()
    assert [rows[0]["step_true"] for ((_, rows),) in found] == pytest.approx(expected)


@pytest.mark.parametrize("setting", ["digits", "imagenet-to-cifar10"])
def test_finetuning_is_followed_from_the_prepared_head_to_the_end(
    smoke_results: Path, setting: str
):
    found, sweep = (
        load_table(table.table_path(smoke_results, study, setting), Run)
        for study in ("dynamics", "energy_sweep")
    )
    epochs = {0, 1, int(found["ft_epochs"].max())}
    assert set(found["epoch"]) == epochs
    first, last = (found[found["epoch"] == each].set_index("tau") for each in (0, max(epochs)))
    sweep = sweep[sweep["seed"] == 0].set_index("tau")
    assert (first["kernel_change"] == 0).all()
    assert (first["euclidean"] == 0).all()
    assert (last["kernel_change"] > 0).all()
    assert first["kernel_cosine"].tolist() == pytest.approx([1] * 3)
    assert first["head_cosine"].tolist() == pytest.approx([1] * 3)
    assert last["euclidean"].tolist() == pytest.approx(sweep["euclidean"].tolist(), rel=1e-5)
    if setting == "digits":  # the views are the images as they are
        assert first["energy_left"].tolist() == pytest.approx(first["aie"].tolist(), rel=1e-5)
    assert (last["energy_left"] < first["energy_left"]).all()


def test_a_run_that_diverges_has_one_row_without_an_epoch(tmp_path: Path):
    rows = compute_study("dynamics", **SWEEP, results=tmp_path, tau=4, ft_lr=1e6)
    assert rows["outcome"].tolist() == ["diverged"]
    assert rows["aie"].notna().all()
    assert "epoch" not in rows


def test_linear_backbone_keeps_its_kernel():
    """For z = B x the kernel is <x_n, x_m>, wherever B goes."""
    plan = make_plan("dynamics", setting="digits", preset="smoke", device="cpu")
    run = plan.runs[0]
    start = inputs.load(plan.inputs, run)
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64))
    watch = dynamics._Watch(run, start)
    for epoch in (0, 1):
        watch(epoch, torch.nn.Sequential(backbone, make_head(64, 5)))
        torch.nn.init.normal_(backbone[1].weight)
    assert watch.rows[1]["kernel_change"] == pytest.approx(0, abs=1e-5)
    assert watch.rows[1]["kernel_cosine"] == pytest.approx(1)


def test_source_task_is_not_asked_for_where_it_is_not_at_hand(monkeypatch, tmp_path: Path):
    setting = load_setting("cifar10-to-cifar100")
    draw = Draw(seed=0, image_size=32, train_per_class=2, val_per_class=2, test_per_class=2)
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    assert inputs.load_source(setting, draw) is None
    write_tree(tmp_path / "cifar10" / "train", per_class=6)
    write_tree(tmp_path / "cifar10" / "test", per_class=6)
    source = inputs.load_source(setting, draw)
    assert source
    assert len(source.train) == 2 * source.n_classes


def test_every_test_image_is_told_right_or_wrong_for_every_run(tmp_path: Path):
    rows = compute_study("energy_sweep", **SWEEP, results=tmp_path)
    path = table.table_path(tmp_path, "energy_sweep", "digits")
    plan = make_plan("energy_sweep", setting="digits", preset="smoke")
    assert "right" not in rows
    for run, (_, row) in zip(plan.runs, rows.iterrows(), strict=True):
        right = load_right(path, run)
        assert right is not None
        assert right.dtype == bool
        assert len(right) == row["test_images"]
        assert right.mean() == pytest.approx(row["last_test_accuracy"])
    other = replace(plan.runs[0], seed=77)
    assert load_right(path, other) is None
