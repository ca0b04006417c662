"""The benchmark: both sides compute the same, the report has its shape, and no test asks a time."""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from taskhead.backbones import Normalise
from taskhead.finetuning import finetune
from taskhead.heads import make_head
from taskhead.pretraining import pretrained_backbone
from taskhead.settings import DIGITS
from torch import nn

from benchmarks import networks, sides
from benchmarks.__main__ import PARTS, WORKS, main
from benchmarks.costs import sweep_costs
from benchmarks.measure import bend, extended, total
from benchmarks.report import ALIKE, render, summary
from benchmarks.scales import SCALES, Work
from benchmarks.scaling import AXES
from taskhead import studies
from taskhead.tasks import Draw

RECORDED = sorted((REPOSITORY / "benchmarks" / "recorded").glob("*.json"))
QUICK = [name for name in PARTS if name != "book"]  # other tests build it


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    file = tmp_path_factory.mktemp("benchmark") / "report.json"
    command = [sys.executable, "-m", "benchmarks", "--preset", "smoke", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--only", *QUICK, "--json", str(file)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())
    assert done.stdout.strip() == render(measured).strip()
    return measured


def test_every_work_is_measured_on_both_sides(report: dict):
    assert len(report["works"]) == len(WORKS) - 1
    assert all(min(work["ours"]) > 0 for work in report["works"])
    (alone,) = (work["work"] for work in report["works"] if not work["baseline"])
    assert alone.startswith("import of taskhead")


def test_both_sides_compute_the_same(report: dict):
    compared = [work for work in report["works"] if work["difference"] is not None]
    assert len(compared) == 5
    for work in compared:
        allowed = 1e-2 if work["work"].startswith("toy") else 1e-4
        assert work["difference"] <= allowed, work["work"]
    gaps = [work["accuracy_gap"] for work in compared if work["work"].startswith("whole")]
    assert gaps == [0, 0]


@pytest.mark.parametrize(("weight_decay", "alike"), [(5e-4, True), (5e-3, False)])
def test_comparison_notices_another_weight_decay(monkeypatch, weight_decay: float, alike: bool):
    def ours(*arguments, **options):
        return finetune(*arguments, **{**options, "weight_decay": weight_decay})

    monkeypatch.setattr(networks, "finetune", ours)
    draw = Draw(0, 8, train_per_class=10, val_per_class=10)
    backbone = pretrained_backbone("small_convnet")
    shared = sides.recipe(DIGITS, backbone, 8)
    found, _ = networks.difference(shared, DIGITS.load_task(draw), backbone, make_head(64, 5))
    assert (found < 1e-4) == alike


def test_recorded_sweeps_are_costed_on_both_sides(monkeypatch):
    recorded = studies.all_recorded("energy_sweep", preset="laptop")
    only_digits = {"digits": recorded["digits"]}
    monkeypatch.setattr(studies, "all_recorded", lambda *_, **__: only_digits)
    (row,) = sweep_costs(SCALES["smoke"], "laptop", torch.device("cpu"))
    assert row["runs"] == len(recorded["digits"][0])
    assert len(row["ours"]) == len(row["baseline"]) == 1
    assert min(*row["ours"], *row["baseline"]) > 0


def test_baseline_normalises_as_the_backbone_does():
    plain = sides.recipe(DIGITS, pretrained_backbone("small_convnet"), 8)
    assert plain.normalise is None
    backbone = nn.Sequential(Normalise((0.2,), (0.5,)), nn.Flatten())
    normalise = sides.recipe(DIGITS, backbone, 32).normalise
    assert normalise.mean == pytest.approx([0.2])
    assert normalise.std == pytest.approx([0.5])


def test_cost_and_memory_are_measured_along_every_axis(report: dict):
    assert [row["of"] for row in report["scaling"]] == list(AXES)
    for row in report["scaling"]:
        assert len(row["numbers"]) == len(row["seconds"]) == len(row["peak_mib"]) == 2
        assert math.isfinite(row["slope"])


def test_report_says_on_which_machine(report: dict):
    assert {"device", "cores", "peak", "python", "torch"} <= set(report["machine"])


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_report_stands_in_the_readme(file: Path):
    recorded = json.loads(file.read_text())
    assert recorded["preset"] != "smoke"
    assert len(recorded["works"]) == len(WORKS)
    assert all(len(work["ours"]) >= 3 for work in recorded["works"])
    assert all((work["difference"] or 0) <= ALIKE for work in recorded["works"])
    assert "changed" not in recorded["machine"]["commit"]
    assert render(recorded) in (REPOSITORY / "benchmarks" / "README.md").read_text()


def test_speed_page_explains_the_targets_that_are_missed():
    works = json.loads(RECORDED[0].read_text())["works"]
    sweep, toy = (row for row in works if not row["met"])
    assert sweep["work"].startswith("whole energy sweep, resnet20")
    assert statistics.median(sweep["baseline"]) / sweep["floor"] > 2
    assert sweep["floor"] / statistics.median(sweep["ours"]) == pytest.approx(0.5, abs=0.1)
    assert toy["work"].startswith("toy linear grid")
    assert statistics.median(toy["baseline"]) / toy["floor"] < 50


def test_line_through_two_shares_gives_the_whole():
    times = {"FT 1": [3.0, 4.0], "FT 3": [7.0, 10.0]}
    assert extended(times, "FT", (1, 3), 20) == [41.0, 61.0]
    assert total([1.0, 2.0], [10.0, 20.0]) == [11.0, 22.0]


def test_line_below_the_cost_of_a_longer_run_has_a_negative_sign(monkeypatch):
    monkeypatch.setattr("benchmarks.measure.alternate", lambda *_: {"whole": [16.0]})
    times = {"FT 1": [3.0], "FT 3": [7.0]}  # 13 for 6 epochs
    assert bend(times, "FT", (1, 3), lambda epochs: None) == "for 6 epochs FT -19 %"


def test_process_that_keeps_memory_serves_every_repetition():
    def use_much() -> int:
        assert b"1" * (400 * 2**20)
        return os.getpid()

    with sides.as_command(use_much) as whole:
        first = whole()
        time.sleep(1.1)  # from then on loky looks at memory
        assert len({first, whole(), whole()}) == 1


def test_other_parts_of_a_report_are_not_overwritten(tmp_path: Path, monkeypatch, capsys):
    file = tmp_path / "report.json"
    file.write_text("{}")
    command = ["benchmarks", "--preset", "smoke", "--only", "import", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    assert "give another file" in capsys.readouterr().err
    assert file.read_text() == "{}"


@pytest.mark.parametrize(
    ("problem", "said"),
    [(KeyboardInterrupt(), "stopped"), (OSError("no network"), "error: no network")],
)
def test_report_is_replaced_only_when_all_is_measured(
    problem: BaseException, said: str, tmp_path: Path, monkeypatch
):
    file = tmp_path / "report.json"
    file.write_text("{}")

    def fail(*_):
        raise problem

    works = {**dict.fromkeys(WORKS, lambda *_: Work("a", [1.0], "", most=2)), "book": fail}
    monkeypatch.setattr("benchmarks.__main__.WORKS", works)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--preset", "smoke", "--json", str(file)])
    with pytest.raises(SystemExit, match=said):
        main()
    assert file.read_text() == "{}"
    unfinished = json.loads((tmp_path / "report.json.part").read_text())
    assert len(unfinished["works"]) == len(WORKS) - 1


@pytest.mark.parametrize(
    ("work", "met"),
    [
        (Work("a", [2.0, 1.0, 3.0], "", least=4, baseline=[8.0, 8.0, 8.0]), True),
        (Work("b", [2.0], "", least=4, baseline=[7.9]), False),
        (Work("fast but wrong", [1.0], "", least=4, baseline=[9.0], difference=0.02), False),
        (Work("c", [60.0], "", most=60), True),
        (Work("d", [60.1], "", most=60), False),
        (Work("e", [-0.1], "", most=0.3), True),
    ],
)
def test_target_is_met_or_not(work: Work, met: bool):
    assert summary(work)["met"] is met


def test_report_names_only_levers_that_are_measured_now(report: dict):
    recorded = json.loads(RECORDED[0].read_text())
    compiled = {row["lever"] for row in recorded["levers"] if "compilation" in row["lever"]}
    now = {row["lever"] for row in report["levers"]}
    assert {row["lever"] for row in recorded["levers"]} == now | compiled
