"""One copy of the repository, built in preset `smoke`, shared by the tests of workflow and book."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from taskhead.experiments import results
from taskhead.experiments.settings import load_setting
from taskhead.experiments.studies import STUDY_NAMES, load_study, settings_of
from taskhead.models.resnets import CifarResNet
from taskhead.tasks.storage import data_root

REPOSITORY = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("TASKHEAD_DATA", "/nowhere"))
CHOSEN_CLASSES = {  # of data sets that settings take in part
    "cifar100": [
        str(name)
        for setting in ("cifar10-to-vehicles", "cifar10-to-plants")
        for name in getattr(load_setting(setting).data, "classes", ())
    ]
}
SMOKE_GRIDS = [
    (study, setting) for study in STUDY_NAMES for setting in settings_of(load_study(study))
]
PACS_DOMAINS = load_setting("imagenet-to-pacs").data.domains
CLASS_COLOURS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "elk": (60, 60, 200)}


def repository_files() -> set[str]:
    """List what git tracks, and what it would track with the next `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {file for file in listed.stdout.splitlines() if (REPOSITORY / file).is_file()}


def real(*parts: str) -> Path:
    """Return a path below the TASKHEAD_DATA that the tests were started with, or skip the test."""
    path = REAL_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} below TASKHEAD_DATA")
    return path


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository in which the workflow runs."""

    path: Path
    data: Path

    def start(
        self,
        *options: str,
        preset: str = "smoke",
        url: str = "",
        recorded: str = "yes",
        output: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.Popen:
        config = ["--config", f"preset={preset}", f"repository_url={url}", f"recorded={recorded}"]
        environment = {k: v for k, v in os.environ.items() if k != "TASKHEAD_REPOSITORY_URL"}
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *options, *config],
            cwd=self.path,
            env=environment | {"TASKHEAD_DATA": str(self.data)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, rc: int = 0, **config: str) -> str:
        process = self.start(*options, **config)
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
    log = checkout.path.with_suffix(
        ".log"
    )  # a pipe that nobody reads would fill up and stop the build
    with log.open("w") as output:
        first = checkout.start(output=output)
        while len(checkout.rows()) < 2 and first.poll() is None:
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    rows = checkout.rows()
    swept = checkout.path / "_build/results/smoke/energy_sweep/digits.csv"
    assert not swept.exists(), log.read_text()
    checkout.run()
    return Build(checkout, rows)


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    """Return a small network with BatchNorm for images (N, 3, H, W), with six features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        return network.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())


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


def write_tree(
    folder: Path, *, per_class: int, size: int = 32, seed: int = 0, more: Sequence[str] = ()
) -> Path:
    """Write three classes of noise, each around a colour of its own, as `folder/CLASS/N.png`.

    The classes `more` have colours that are drawn.
    """
    rng, drawn = np.random.default_rng(seed), np.random.default_rng(0)
    colours = CLASS_COLOURS | {name: drawn.integers(60, 200, size=3) for name in more}
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            noise = rng.integers(-60, 56, size=(size, size + 8, 3))
            pixels = (np.array(colour) + noise).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def write_solar_cells(folder: Path) -> None:
    """Write a package in the format of elpv-dataset; a cell's mean grey is its probability."""
    rng = np.random.default_rng(0)
    (folder / "elpv_dataset" / "data" / "images").mkdir(parents=True)
    (folder / "elpv_dataset" / "__init__.py").touch()
    lines = []
    for number in range(28):
        probability = (0.0, 1 / 3, 2 / 3, 1.0)[number % 4]
        name = f"images/cell{number:04d}.png"
        lines.append(f"{name}  {probability}  {'mono' if number % 3 else 'poly'}\n")
        grey = 255 * probability + rng.integers(-60, 61, size=(30, 30))
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
        image.save(folder / "elpv_dataset" / "data" / name)
    (folder / "elpv_dataset" / "data" / "labels.csv").write_text("".join(lines))


def write_texts(folder: Path) -> None:
    """Write texts in the format of TREC, with a test split, and of Subj, without."""
    folder.mkdir()
    animals = ("cat", "dog", "elk")
    lines = [
        f'"How many, {name} number {n} ?",{name},{"test" if n % 3 else "train"}'
        for name in animals
        for n in range(12)
    ]
    (folder / "trec.csv").write_text("\n".join(["text,label,split", *lines]) + "\n")
    lines = [f"an {kind} plot of {n} words .,{kind}" for kind in ("odd", "even") for n in range(12)]
    (folder / "subj.csv").write_text("\n".join(["text,label", *lines]) + "\n")


def own_data(setting: str) -> dict[str, str]:
    """Return the options without which the open settings cannot run."""
    own = {"imagefolder": "stl10", "textfile": "text/subj.csv"}
    return {"data": str(data_root() / own[setting])} if setting in own else {}


@pytest.fixture(scope="session")
def mini_data(alone: None) -> Iterator[Path]:
    """Lay out small data sets and random checkpoints where the named settings look for theirs."""
    root = data_root()
    write_solar_cells(root / "packages")
    for seed, name in enumerate(("cifar10", "cifar100", "stl10", "flowers102")):
        more = CHOSEN_CLASSES.get(name, [])
        write_tree(root / name / "train", per_class=8, seed=seed, more=more)
        write_tree(root / name / "test", per_class=3, seed=seed + 100, more=more)
    write_texts(root / "text")
    for seed, domain in enumerate(PACS_DOMAINS):
        write_tree(root / "pacs" / domain, per_class=7, seed=seed + 200)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        resnet, squeezenet = CifarResNet(20), models.squeezenet1_1(weights=None)
    for module in resnet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # else features grow with every block
            torch.nn.init.constant_(module.weight, 0.5)
    state = {**resnet.state_dict(), "linear.weight": torch.zeros(10, 64)}
    state["linear.bias"] = torch.zeros(10)
    (root / "weights").mkdir()
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        root / "weights" / "resnet20-12fca82f.th",
    )
    torch.save(squeezenet.state_dict(), root / "weights" / "squeezenet1_1-imagenet.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "packages")
        yield root


@pytest.fixture(scope="session")
def smoke_results(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> Path:
    """Compute every grid of preset `smoke` once; use copies of the tables, never change them."""
    folder = tmp_path_factory.mktemp("smoke")
    for study, setting in SMOKE_GRIDS:
        grid = {"setting": setting, "preset": "smoke", "device": "cpu", **own_data(setting)}
        results.compute_study(study, results=folder, workers=1, **grid)
    return folder
