"""Photographs of solar cells, in a package of the same format and, if it is there, the real one."""

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import torch

from taskhead.method import checks
from taskhead.tasks.solar_cells import solar_cells_task
from taskhead.tasks.task import Draw

DRAW = Draw(seed=0, image_size=16, train_per_class=2, val_per_class=2)


def test_cells_above_one_half_are_defective(mini_data: Path):
    """In the package of the tests the grey level of a cell is its probability of a defect."""
    task = solar_cells_task(DRAW)
    for part in (task.train, task.val, task.test):
        grey = part.images.float().mean(dim=(1, 2, 3)) / 255
        assert torch.equal(part.labels == 0, grey > 0.5)
        assert set(part.labels.tolist()) == {0, 1}


def test_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"elpv_dataset; pip install 'taskhead\[solar-cells\]'"):
        solar_cells_task(DRAW)


@pytest.mark.parametrize("table", [None, "images/a.png\n", "images/a.png high mono\n"])
def test_damaged_package_is_named(table: str | None, tmp_path: Path, monkeypatch):
    use_package(tmp_path, monkeypatch)
    (tmp_path / "data").mkdir()
    if table is not None:
        (tmp_path / "data" / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match=r"labels.csv cannot be read"):
        solar_cells_task(DRAW)


def test_real_package_has_the_published_number_of_cells(monkeypatch):
    try:
        package = distribution("elpv-dataset")
    except PackageNotFoundError:
        pytest.skip("needs the package elpv-dataset")
    use_package(Path(str(package.locate_file("elpv_dataset"))), monkeypatch)
    every = Draw(0, 32, train_per_class=1, val_per_class=1, test_per_class=10_000)
    task = solar_cells_task(every)
    assert task.test.labels.bincount().tolist() == [821 - 2, 1803 - 2]


def use_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("elpv_dataset", folder / "__init__.py")
    monkeypatch.setattr(checks, "find_spec", lambda _: spec)
