"""Photographs of solar cells, functional or defective, from a Python package."""

from pathlib import Path

from taskhead.method.checks import find_package
from taskhead.tasks.folders import task_of_files
from taskhead.tasks.task import Draw, Task, check_enough


def solar_cells_task(draw: Draw) -> Task:
    """Return the task of telling defective solar cells from functional ones.

    2,624 electroluminescence photographs, grey, 300 x 300 pixels, of the package elpv-dataset
    (CC BY-NC-SA 4.0), which the extra `solar-cells` installs. Its experts gave each cell a
    probability of a defect, 0, 1/3, 2/3 or 1; above one half the cell is defective here.
    Source: Buerhop-Lutz et al. 2018; Deitsch et al. 2019 and 2021.

    Raises `ValueError` if the package is missing or damaged, or a class has too few images.
    """
    folder = (
        find_package("the setting of solar cells", "elpv_dataset", extra="solar-cells") / "data"
    )
    cells: dict[str, list[Path]] = {"defective": [], "functional": []}
    try:
        for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines():
            name, probability, _ = line.split()
            cells["defective" if float(probability) > 0.5 else "functional"].append(folder / name)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / 'labels.csv'} cannot be read: {error}") from None
    for name, files in cells.items():
        check_enough(name, len(files), draw, own_test=False)
    return task_of_files({"train": cells}, draw)
