"""The benchmark: both sides compute the same, the report has its shape, and no test asks a time."""

import json
import statistics
import sys
from pathlib import Path

import pandas as pd
import prose
import pytest
import torch
from conftest import REPOSITORY
from torch import nn

from benchmarks import match, sides, works
from benchmarks.__main__ import main
from benchmarks.measure import bend, extended, total
from benchmarks.report import ALIKE, in_short, render, summary
from benchmarks.search import SEARCHES, _cost
from benchmarks.work import Work
from benchmarks.works import ON_A_GPU, WORKS
from taskhead.experiments.inputs import load
from taskhead.experiments.plan import make_plan
from taskhead.method.finetuning import finetune
from taskhead.method.heads import make_head
from taskhead.models.torchvision import Normalise
from taskhead.practice import recommend as recommending

RECORDED = sorted((REPOSITORY / "benchmarks" / "recorded").glob("*.json"))
GRID = {"setting": "digits", "preset": "smoke", "options": {"hp_lr": 0.05, "tau": [0, 16, 256]}}
RUN = make_plan("energy_sweep", **GRID).runs[0]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    file = tmp_path_factory.mktemp("benchmark") / "new" / "report.json"
    with pytest.MonkeyPatch.context() as patch:
        command = ["benchmarks", "--preset", "smoke", "--device", "cpu", "--json", str(file)]
        patch.setattr(sys, "argv", command)
        main()
    return json.loads(file.read_text())


def test_every_work_is_measured_on_both_sides_which_compute_the_same(report: dict):
    assert len(report["works"]) == len(WORKS)
    for work in report["works"]:
        assert min(*work["ours"], *work["baseline"], *work["b0"], work["floor"]) > 0
        assert work["difference"] <= 1e-4
        assert work["accuracy_gap"] == 0


def test_report_says_on_which_machine_and_can_be_printed(report: dict):
    assert {"device", "cores", "peak", "python", "torch"} <= set(report["machine"])
    printed = render(report)
    assert all(work["work"] in printed for work in report["works"])


@pytest.mark.parametrize(("weight_decay", "alike"), [(5e-4, True), (5e-3, False)])
def test_comparison_notices_another_weight_decay(monkeypatch, weight_decay: float, alike: bool):
    def ours(*arguments, **options):
        return finetune(*arguments, **{**options, "weight_decay": weight_decay})

    monkeypatch.setattr(match, "finetune", ours)
    plan = make_plan("energy_sweep", setting="digits", preset="smoke", device="cpu")
    start = load(plan.inputs, RUN)
    shared = sides.recipe(RUN, start.backbone)
    found, _ = match.difference(shared, start.task, start.backbone, make_head(64, 5))
    assert (found < 1e-4) == alike


def test_baseline_normalises_as_the_backbone_does():
    assert sides.recipe(RUN, nn.Sequential(nn.Flatten())).normalise is None
    backbone = nn.Sequential(Normalise((0.2,), (0.5,)), nn.Flatten())
    normalise = sides.recipe(RUN, backbone).normalise
    assert normalise.mean == pytest.approx([0.2])
    assert normalise.std == pytest.approx([0.5])


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_report_stands_in_the_readme(file: Path):
    recorded = json.loads(file.read_text())
    assert recorded["preset"] != "smoke"
    assert len(recorded["works"]) in (len(WORKS), len(ON_A_GPU), len(SEARCHES))
    assert all(len(work["ours"]) >= 3 for work in recorded["works"])
    assert all(work["difference"] <= ALIKE for work in recorded["works"])
    assert "changed" not in recorded["machine"]["commit"]
    assert render(recorded) in (REPOSITORY / "benchmarks" / "README.md").read_text()


def test_speed_page_explains_the_targets_that_are_missed():
    recorded = json.loads((REPOSITORY / "benchmarks" / "recorded" / "cpu.json").read_text())
    digits, resnet, probing = recorded["works"]
    assert (digits["met"], resnet["met"], probing["met"]) == (False, False, True)
    for missed in (digits, resnet):
        assert statistics.median(missed["baseline"]) / missed["floor"] > missed["least"]
    assert statistics.median(resnet["ours"]) > 2 * resnet["floor"]
    assert statistics.median(digits["ours"]) > 10 * digits["floor"]


def test_line_through_two_shares_gives_the_whole():
    times = {"FT 1": [3.0, 4.0], "FT 3": [7.0, 10.0]}
    assert extended(times, "FT", (1, 3), 20) == [41.0, 61.0]
    assert total([1.0, 2.0], [10.0, 20.0]) == [11.0, 22.0]


def test_line_below_the_cost_of_a_longer_run_has_a_negative_sign(monkeypatch):
    monkeypatch.setattr("benchmarks.measure.alternate", lambda *_: {"whole": [16.0]})
    times = {"FT 1": [3.0], "FT 3": [7.0]}  # 13 for 6 epochs
    assert "-19 %" in bend(times, "FT", (1, 3), lambda epochs: None)


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError("no network")])
def test_report_is_replaced_only_when_all_is_measured(problem, tmp_path: Path, monkeypatch):
    file = tmp_path / "report.json"
    file.write_text("{}")

    def fail(*_):
        raise problem

    monkeypatch.setattr("benchmarks.__main__.WORKS", {"digits-sweep": fail})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--preset", "smoke", "--json", str(file)])
    with pytest.raises(SystemExit):
        main()
    assert file.read_text() == "{}"


@pytest.mark.parametrize(
    ("ours", "difference", "met"),
    [([2.0, 1.0, 3.0], 0, True), ([2.1], 0, False), ([1], 0.02, False)],
)
def test_target_is_met_or_not(ours: list[float], difference: float, met: bool):
    work = Work("a", 4, ours, [8.0], [9.0], 1.0, difference, 0, 1.0, "")
    row = summary(work)
    assert row["met"] is met
    assert ("is met." if met else "is missed.") in in_short([row])


def test_cost_of_a_sweep_probes_every_run_from_scratch():
    plan = make_plan("energy_sweep", **GRID)
    times = {"B1 HP 1": [1.0], "B1 HP 2": [2.0], "B1 FT 1": [10.0], "B1 FT 2": [20.0]}
    (cost,) = sides.sweep_cost(times, "B1", plan.runs, (1, 2))
    assert cost == 2 * (16 + 256) + 2 * 3 * 10 * 2


def test_search_is_measured_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"EPOCHS": (1, 2), "SPLITS": 2, "RATES": (1e-4, 1e-3)}.items():
        monkeypatch.setattr(recommending, name, value)
    file = tmp_path / "search.json"
    command = ["benchmarks", "--search", "--preset", "smoke", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(file)])
    main()
    (work,) = json.loads(file.read_text())["works"]
    assert min(*work["ours"], work["floor"]) > 0  # the baseline's times are extended from tiny ones
    assert work["difference"] <= 1e-4


def test_cost_of_a_search_probes_once_for_each_split_and_smoothing():
    times = {"B1 HP 1": [1.0], "B1 HP 2": [2.0], "B1 FT 1": [10.0], "B1 FT 2": [20.0]}
    rows = [(0, 0.0, 2), (0, 0.0, 5), (0, 0.3, 5), (1, 0.0, 5)]
    evidence = pd.DataFrame(rows, columns=["split", "eps", "epochs"])
    assert _cost(times, "B1", [evidence], (1, 2)) == [3 * recommending.END + 10 * 17]


def test_libraries_are_compared_seed_by_seed(tmp_path: Path):
    file = tmp_path / "libraries.csv"
    assert prose.libraries(file) == prose.NOT_RECORDED
    common = {"folder": "photos", "images": 100, "classes": 2, "what": "as ever", "minutes": 2.0}
    accuracies = {"taskhead 1": [0.9, 0.8, 0.7], "fastai 2": [0.8, 0.7, 0.6]}
    pd.DataFrame(
        common | {"library": library, "seed": seed, "test_accuracy": accuracy}
        for library, own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ).to_csv(file, index=False)
    head, _, ours, theirs, *_ = prose.libraries(file).splitlines()
    assert "taskhead is better by" in head
    assert "80.0 %" in ours
    assert "10.0 ± 0.0" in theirs


def test_made_images_are_of_ten_classes(tmp_path: Path):
    folder = Path(works.made_images(tmp_path))
    assert len(list(folder.iterdir())) == 10
    assert torch.load(works.made_weights(tmp_path, nn.Conv2d(1, 1, 1)), weights_only=True)
