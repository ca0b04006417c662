"""Notebooks: clean, alone and from anywhere with plain papermill, and loud about parameters."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from matplotlib.figure import Figure
from nbformat import NotebookNode

from taskhead.experiments.parameters import check_parameters
from taskhead.models.pretraining import RECIPES, checkpoint_path, pretrain

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
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
def test_code_is_short_and_defines_no_functions(path: Path):
    for cell in code(read(path)):
        assert not re.search(r"^\s*(def|class) ", cell.source, re.MULTILINE)
        assert len(cell.source.splitlines()) < 25


@EVERY
def test_captions_and_provenance_are_folded(path: Path):
    for cell in code(read(path)):
        if re.search(r"captions\.\w+\(", cell.source):
            assert {"hide-input", "remove-input"} & set(cell.metadata.get("tags", []))


@EVERY
def test_library_is_installed_on_colab_alone(path: Path):
    first = code(read(path))[0]
    assert first.metadata["tags"] == ["remove-cell"]
    assert first.source == code(read(NOTEBOOKS[0]))[0].source
    assert first.source.index("google.colab") < first.source.index("%pip install")


@pytest.fixture(scope="module")
def data(mini_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the small data, and add a backbone that was pretrained for a single epoch."""
    copy = tmp_path_factory.mktemp("data") / "copy"
    shutil.copytree(mini_data, copy)
    cached = copy / checkpoint_path("small_convnet").relative_to(mini_data)
    cached.parent.mkdir(exist_ok=True)
    pretrain(replace(RECIPES["small_convnet"], epochs=1), cached, "cpu")
    return copy


@pytest.fixture(scope="module")
def executions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """Execute two notebooks with papermill, while the tests below run the others without it."""
    commands = {
        "right": ("toy-linear", "preset=smoke results=here"),
        "misspelt": ("energy-sweep", "presett=smoke"),
    }
    with ThreadPoolExecutor(1) as pool:
        yield {
            key: pool.submit(
                papermill,
                REPOSITORY / "notebooks" / f"{name}.ipynb",
                parameters,
                tmp_path_factory.mktemp(key),
            )
            for key, (name, parameters) in commands.items()
        }


def run(path: Path, **given: object) -> tuple[dict, list]:
    """Run a notebook's cells in this process; return its names and what its cells show."""
    names, shown = {"__name__": "__main__"}, []
    for cell in code(read(path))[1:]:  # the first needs IPython
        tree = ast.parse(cell.source)
        if isinstance(tree.body[-1], ast.Expr):
            tree.body[-1] = ast.Assign([ast.Name("_", ast.Store())], tree.body[-1].value)
        exec(compile(ast.fix_missing_locations(tree), path.name, "exec"), names)
        shown.append(names.pop("_", None))
        if "parameters" in cell.metadata.get("tags", []):
            names |= given
    return names, shown


@EVERY
def test_notebook_runs_anywhere_and_its_check_may_be_run_again(
    executions, data: Path, path: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASKHEAD_DATA", str(data))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    given = {"taus": [0, 8]} if path.stem == "quickstart" else {}
    names, shown = run(path, preset="smoke", **given)
    assert any(isinstance(output, Figure) for output in shown)
    assert {file.name for file in tmp_path.iterdir()} <= {"runs"}
    exec(check_cell(read(path)).source, names)


def inject(path: Path, **given: object) -> dict:
    """Run a notebook's parameters and its check as papermill would."""
    namespace: dict = {}
    exec(parameters_cell(read(path)).source, {"__builtins__": {}}, namespace)
    exec(check_cell(read(path)).source, {"check_parameters": check_parameters} | namespace | given)
    return namespace


@EVERY
def test_every_wrong_parameter_of_every_notebook_is_refused(path: Path):
    names = inject(path)
    with pytest.raises(ValueError, match="unknown parameter 'presett'") as refused:
        inject(path, presett="smoke")
    assert set(str(refused.value).split("valid: ")[1].split(", ")) == names.keys()
    for name in names:
        with pytest.raises(TypeError, match=name):
            inject(path, **{name: [1.5]} if name != "taus" else {name: 1.5})
    for name in {"preset", "setting", "device"} & names.keys():
        with pytest.raises(ValueError, match=rf"{name} 'no'; valid: .*(smoke|digits|cpu)"):
            inject(path, **{name: "no"})
        with pytest.raises(TypeError, match=name):
            inject(path, **{name: None})


def test_setting_that_does_not_fit_is_refused_when_it_loads(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="'toy'; valid: digits"):
        run(REPOSITORY / "notebooks" / "feature-geometry.ipynb", setting="toy")
    assert not list(tmp_path.iterdir())


def test_papermill_runs_a_notebook_from_another_folder(executions):
    done = executions["right"].result()
    assert done.status == 0, done.errors
    outputs = [output for cell in code(read(done.folder / "out.ipynb")) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (done.folder / "here" / "toy_linear" / "toy.csv").exists()
    assert done.files == {"out.ipynb", "here"}


def test_misspelt_parameter_fails_before_anything_is_computed(executions):
    done = executions["misspelt"].result()
    assert done.status != 0
    assert "unknown parameter 'presett'" in done.errors
    assert done.files == {"out.ipynb"}
