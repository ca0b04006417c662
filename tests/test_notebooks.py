"""Notebooks: clean, alone and from anywhere with plain papermill, and loud about parameters."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from nbformat import NotebookNode

from taskhead.parameters import check_parameters

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
VALID = {"preset": "smoke, laptop, gpu", "setting": "toy, digits, cifar10-to-cifar100, "}
EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def check_cell(notebook: NotebookNode) -> NotebookNode:
    (cell,) = [cell for cell in code(notebook) if "globals()" in cell.source]
    return cell


def parameters_cell(notebook: NotebookNode) -> NotebookNode:
    (cell,) = [cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    return cell


@dataclass(frozen=True)
class Execution:
    """What papermill left behind."""

    folder: Path
    status: int
    errors: str

    @property
    def files(self) -> set[str]:
        return {file.name for file in self.folder.iterdir()}


def papermill(notebook: str | Path, parameters: str, folder: Path) -> Execution:
    """Execute a notebook in a folder from which nothing of the repository is in reach."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MPLBACKEND")}
    command = [Path(sys.executable).with_name("papermill"), notebook, "out.ipynb"]
    for parameter in parameters.split():
        command += ["-p", *parameter.split("=")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return Execution(folder, done.returncode, done.stderr)


@EVERY
def test_committed_notebook_is_clean(path: Path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        assert "papermill" not in cell.metadata
    assert "papermill" not in notebook.metadata


@EVERY
def test_parameters_are_plain_literals_and_are_checked_at_once(path: Path):
    cells = code(read(path))
    parameters = parameters_cell(read(path))
    namespace: dict = {}
    exec(parameters.source, {"__builtins__": {}}, namespace)
    assert namespace["preset"] == "laptop"
    following = cells[[cell.source for cell in cells].index(parameters.source) + 1]
    assert following.source == check_cell(read(path)).source


@EVERY
def test_notebook_defines_no_functions(path: Path):
    for cell in code(read(path)):
        assert not re.search(r"^\s*(def|class) ", cell.source, re.MULTILINE)


@pytest.fixture(scope="module")
def executions(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Execution]:
    """Execute everything that needs a kernel, two at a time; data and checkpoints are small."""
    with ThreadPoolExecutor(2) as pool:
        started = {}
        for path in NOTEBOOKS:
            folder, notebook = tmp_path_factory.mktemp(path.stem), read(path)
            notebook.cells.append(nbformat.v4.new_code_cell(check_cell(notebook).source))
            nbformat.write(notebook, folder / path.name)
            started[path.stem] = pool.submit(papermill, path.name, "preset=smoke", folder)
        elsewhere = {
            "results": ("toy-linear", "preset=smoke results=here"),
            "misspelt": ("energy-sweep", "presett=smoke"),
            "unfit": ("feature-geometry", "setting=toy"),
        }
        for key, (name, parameters) in elsewhere.items():
            path, folder = REPOSITORY / "notebooks" / f"{name}.ipynb", tmp_path_factory.mktemp(key)
            started[key] = pool.submit(papermill, path, parameters, folder)
    return {key: execution.result() for key, execution in started.items()}


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_alone_and_its_check_may_be_run_again(executions, name: str):
    done = executions[name]
    assert done.status == 0, done.errors
    outputs = [output for cell in code(read(done.folder / "out.ipynb")) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert done.files <= {f"{name}.ipynb", "out.ipynb", "runs"}


def test_notebook_runs_from_another_folder(executions):
    done = executions["results"]
    assert done.status == 0, done.errors
    assert (done.folder / "here" / "toy_linear" / "toy.csv").exists()
    assert done.files == {"out.ipynb", "here"}


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ("misspelt", "unknown parameter 'presett'; valid: preset, setting, "),
        ("unfit", "unknown setting of feature_geometry 'toy'; valid: digits"),
    ],
)
def test_wrong_parameter_fails_before_anything_is_computed(executions, execution, message):
    done = executions[execution]
    assert done.status != 0
    assert message in done.errors
    assert done.files == {"out.ipynb"}


def inject(path: Path, **given: object) -> dict:
    """Run a notebook's parameters and its check as papermill would, without a kernel."""
    namespace: dict = {}
    exec(parameters_cell(read(path)).source, {"__builtins__": {}}, namespace)
    exec(check_cell(read(path)).source, {"check_parameters": check_parameters} | namespace | given)
    return namespace


@EVERY
def test_every_wrong_parameter_of_every_notebook_is_refused(path: Path):
    names = inject(path)
    with pytest.raises(ValueError, match=f"unknown parameter 'presett'; valid: {', '.join(names)}"):
        inject(path, presett="smoke")
    for name in names:
        with pytest.raises(TypeError, match=f"parameter {name} must be of type"):
            inject(path, **{name: [1.5]} if name != "taus" else {name: 1.5})
    for name in VALID.keys() & names:
        with pytest.raises(ValueError, match=f"unknown {name} 'no'; valid: {VALID[name]}"):
            inject(path, **{name: "no"})
