"""One copy of the repository, built in preset `smoke`, shared by the tests of workflow and book."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import torch

from taskhead import studies
from taskhead.studies import STUDIES

REPOSITORY = Path(__file__).parents[1]


def repository_files() -> set[str]:
    """List what git tracks, and what it would track with the next `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {file for file in listed.stdout.splitlines() if (REPOSITORY / file).is_file()}


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository in which the workflow runs."""

    path: Path
    data: Path

    def start(self, *options: str, preset: str = "smoke", url: str = "") -> subprocess.Popen:
        config = ["--config", f"preset={preset}", f"repository_url={url}"]
        environment = {k: v for k, v in os.environ.items() if k != "TASKHEAD_REPOSITORY_URL"}
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *options, *config],
            cwd=self.path,
            env=environment | {"TASKHEAD_DATA": str(self.data)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, preset: str = "smoke", url: str = "", rc: int = 0) -> str:
        process = self.start(*options, preset=preset, url=url)
        output, _ = process.communicate()
        assert process.returncode == rc, output
        return output

    def rows(self) -> list[str]:
        """Read the rows of the energy sweep that have reached the disk, header first."""
        tables = list(self.path.glob("_build/runs/*/energy_sweep/digits.csv"))
        return tables[0].read_text().splitlines() if tables else []


@dataclass(frozen=True)
class Build:
    """A finished build that was killed once in the middle of the energy sweep."""

    checkout: Checkout
    rows_before_kill: list[str]


@pytest.fixture(scope="session")
def new_checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Checkout]:
    data = tmp_path_factory.mktemp("data")

    def copy() -> Checkout:
        path = tmp_path_factory.mktemp("checkout")
        for file in repository_files():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / file, path / file)
        return Checkout(path, data)

    return copy


@pytest.fixture(scope="session")
def build(new_checkout: Callable[[], Checkout]) -> Build:
    checkout = new_checkout()
    first = checkout.start()
    while len(checkout.rows()) < 2 and first.poll() is None:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    output, _ = first.communicate()
    rows = checkout.rows()
    assert not (checkout.path / "_build/results/smoke/energy_sweep/digits.csv").exists(), output
    checkout.run()
    return Build(checkout, rows)


@pytest.fixture(scope="session", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pretrain into a temporary folder, on one thread: networks this small gain none from more."""
    hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("repeatable")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKHEAD_DATA", str(tmp_path_factory.mktemp("backbones")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def smoke_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compute every study in preset `smoke` once; use copies of it, never change it."""
    results = tmp_path_factory.mktemp("smoke")
    for study, kind in STUDIES.items():
        for setting in kind.settings:
            studies.run(study, setting=setting, preset="smoke", results=results, device="cpu")
    return results
