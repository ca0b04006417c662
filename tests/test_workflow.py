"""The workflow: what is computed again, and what is not."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest import REPOSITORY, Build, Checkout
from filelock import FileLock

TOY = "_build/results/smoke/toy_linear/toy.csv"


def test_killed_build_keeps_its_rows(build: Build):
    before, after = build.rows_before_kill, build.checkout.rows()
    assert set(before) <= set(after)
    assert 2 <= len(before) < len(after)


def test_second_build_does_nothing(build: Build):
    assert "Nothing to be done" in build.checkout.run()


def test_every_table_that_a_notebook_reads_is_an_output_of_the_workflow(build: Build):
    (runs,) = (build.checkout.path / "_build" / "runs").iterdir()
    results = build.checkout.path / "_build" / "results" / "smoke"
    written = {file.relative_to(runs): file.read_text() for file in runs.glob("*/*.csv")}
    declared = {file.relative_to(results): file.read_text() for file in results.glob("*/*.csv")}
    assert written == declared


def test_change_of_a_setting_opens_a_new_folder_of_runs(build: Build):
    setting = build.checkout.path / "src/taskhead/data/settings/digits.yaml"
    original = setting.read_text()
    setting.write_text(original + "# changed\n")
    plan = build.checkout.run("--dry-run", "--printshellcmds")
    setting.write_text(original)
    (old,) = (build.checkout.path / "_build" / "runs").iterdir()
    assert "--results _build/runs/" in plan
    assert old.name not in plan


def test_laptop_is_drawn_from_recorded_results_unless_they_are_refused(build: Build):
    plan = build.checkout.run("--dry-run", "--printshellcmds", preset="laptop")
    assert "rule html" in plan
    computed = [line for line in plan.splitlines() if "taskhead run" in line]
    assert computed
    assert all("--setting toy" in line for line in computed)
    again = build.checkout.run("--dry-run", preset="laptop", recorded="no")
    for study in ("energy_sweep/digits", "feature_geometry/digits", "toy_linear/toy"):
        assert f"_build/results/laptop/{study}.csv" in again


def test_settings_that_need_data_are_drawn_from_recorded_results(build: Build):
    plan = build.checkout.run("--dry-run", "--forceall", "--printshellcmds")
    shown = [line for line in plan.splitlines() if "papermill" in line]
    presets = {
        Path(line.split("notebooks/")[1].split()[0]).stem: line.split("-p preset ")[1].split()[0]
        for line in shown
    }
    for recorded in (
        "cifar-probing",
        "imagenet-probing",
        "sentences",
        "partial-backbone",
        "which-way",
    ):
        assert presets.pop(recorded) == "laptop"
    assert set(presets.values()) == {"smoke"}


def test_answer_that_is_neither_yes_nor_no_computes_nothing(build: Build):
    output = build.checkout.run(recorded="ture", rc=1)
    assert "recorded must be yes or no, got 'ture'" in output


def test_unknown_preset_lists_the_valid_ones(build: Build):
    valid = sorted(path.stem for path in (build.checkout.path / "presets").glob("*.yaml"))
    output = build.checkout.run(preset="lapptop", rc=1)
    assert f"unknown preset 'lapptop'; valid: {', '.join(valid)}" in output


def test_concurrent_build_waits(new_checkout: Callable[[], Checkout]):
    checkout = new_checkout()
    build = checkout.path / "_build"
    build.mkdir()
    with FileLock(build / ".lock"):
        second = checkout.start(TOY)
        assert second.stdout is not None
        heard = next(
            line for line in second.stdout if "Another build" in line or "rule study" in line
        )
        assert not (build / "runs").exists()
    second.communicate()
    assert "waiting" in heard
    assert (checkout.path / TOY).exists()


def test_pdf_without_latex_names_what_to_install(tmp_path: Path):
    make = shutil.which("make")
    assert make
    ready = [make, "-C", str(REPOSITORY), "-o", ".venv/installed", "pdf"]
    said = subprocess.run(ready, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert said.returncode
    assert "The PDF needs LaTeX. On Debian: apt-get install latexmk" in said.stdout
