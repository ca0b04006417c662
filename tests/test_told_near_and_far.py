"""What pages tell of near and far targets is what the recorded tables show."""

import pytest
from test_recorded import table

from taskhead.experiments import table as tables
from taskhead.experiments.results import read_study
from taskhead.report import principle_tables
from taskhead.report.series import stops


@pytest.mark.parametrize("target", ["vehicles", "plants"])
def test_page_on_new_blocks_says_what_its_tables_show(target: str):
    runs, sweep = (
        table(study, f"cifar10-to-{target}") for study in ("partial_backbone", "energy_sweep")
    )
    shown = principle_tables.by_new_blocks(runs)
    gains = shown["gain over no new block"].drop(0)
    assert (gains > shown["± 95 %"].drop(0)).all()
    highest = sweep.groupby(stops(sweep))["test_accuracy"].mean().max()
    assert (shown["test_accuracy"].drop(0) > highest).all()
    by_tau = runs.pivot_table("test_accuracy", "tau", "reinitialised_blocks")
    least, most = by_tau.index.min(), by_tau.index.max()
    assert (shown["probed_epochs"] == most).all()
    if target == "plants":
        assert (by_tau.loc[least, [1, 2]] > by_tau.loc[least, 0] + 0.05).all()
        assert (by_tau[[1, 2]].max() - by_tau.loc[least, [1, 2]]).max() < 0.025
        near = principle_tables.by_new_blocks(table("partial_backbone", "cifar10-to-vehicles"))
        assert (gains < near["gain over no new block"].drop(0)).all()
        return
    assert abs(by_tau.loc[least, 1] - by_tau.loc[least, 0]) < 0.01
    assert by_tau.idxmax().drop(0).tolist() == [most] * 2
    assert (shown["aie"].drop(0) < 0.4 * shown["aie"][0]).all()
    assert (shown["relative_euclidean"].drop(0) > 1.5 * shown["relative_euclidean"][0]).all()


def test_page_on_the_length_of_probing_says_what_near_and_far_targets_prefer():
    found = principle_tables.best_energies(read_study("energy_sweep", tables.recorded_folder()))
    pairs = [
        ("cifar10-to-vehicles", "cifar10-to-plants"),
        ("imagenet-to-pacs (photo)", "imagenet-to-pacs (sketch)"),
    ]
    for near, far in (found.loc[list(pair)].to_dict("records") for pair in pairs):
        accuracy = "accuracy, longest probed head"
        assert far[accuracy] < near[accuracy]
        assert 0 < far["best energy"] - near["best energy"] < 0.105
        both = min(near["to"], far["to"]) - max(near["from"], far["from"])
        assert both > 0.5 * (far["to"] - far["from"]) - 1e-9
        assert both > 0.5 * (near["to"] - near["from"])
