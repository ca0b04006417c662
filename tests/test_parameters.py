"""Parameters of notebooks: names, types and values are checked before anything is computed."""

from pathlib import Path

import nbformat
import pytest

from taskhead.parameters import check_parameters, execute_notebook

EXPECTED = {"preset": str, "setting": str, "device": str, "seed": int, "recompute": bool}
GIVEN = {"preset": "smoke", "setting": "digits", "device": "auto", "seed": 0, "recompute": False}


def test_right_parameters_pass_among_whatever_else_a_notebook_holds():
    check_parameters(
        {**GIVEN, "_private": 1, "In": [""], "Out": {}, "load": print, "p": Path(), "l": [Path()]},
        **EXPECTED,
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"presett": "smoke"}, ValueError, "unknown parameter 'presett'; valid: preset, setting"),
        ({"seeds": [0]}, ValueError, "unknown parameter 'seeds'"),
        ({"seeds": []}, ValueError, "unknown parameter 'seeds'"),
        ({"rates": {"a": [1.0]}}, ValueError, "unknown parameter 'rates'"),
        ({"nothing": None}, ValueError, "unknown parameter 'nothing'"),
        ({"preset": 1}, TypeError, "preset must be of type str, got 1 of type int"),
        ({"seed": True}, TypeError, "seed must be of type int, got True of type bool"),
        ({"recompute": 1}, TypeError, "recompute must be of type bool, got 1 of type int"),
        ({"recompute": "True"}, TypeError, "recompute must be of type bool, got 'True'"),
        ({"preset": "big"}, ValueError, "unknown preset 'big'; valid: smoke, laptop, gpu"),
        ({"setting": "digit"}, ValueError, "unknown setting 'digit'; valid: toy, digits"),
        ({"device": "tpu"}, ValueError, "unknown device 'tpu'; valid: auto, "),
    ],
)
def test_wrong_parameter_is_named_with_what_is_valid(change: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        check_parameters(GIVEN | change, **EXPECTED)


def test_deleted_parameter_is_named():
    with pytest.raises(ValueError, match="parameter recompute is missing; expected: preset, "):
        check_parameters({k: v for k, v in GIVEN.items() if k != "recompute"}, **EXPECTED)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell("preset = 'smoke'\ncount = 1")]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"presett": "smoke"}, r"parameter of page\.ipynb 'presett'; valid: preset, count"),
        ({"count": "[1"}, "not valid YAML"),
    ],
)
def test_wrong_parameter_stops_before_a_kernel_starts(
    notebook: Path, parameters: dict, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("papermill.execute_notebook", lambda *_: pytest.fail("executed"))
    with pytest.raises(ValueError, match=message):
        execute_notebook(notebook, notebook.with_name("out.ipynb"), parameters)
    assert not notebook.with_name("out.ipynb").exists()


def test_values_are_read_as_yaml(notebook: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("papermill.execute_notebook", lambda *given: seen.append(given[2]))
    execute_notebook(notebook, Path("out.ipynb"), {"count": "[1, 2]", "preset": "laptop"})
    assert seen == [{"count": [1, 2], "preset": "laptop"}]


def test_notebook_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no\.ipynb does not exist"):
        execute_notebook(tmp_path / "no.ipynb", tmp_path / "out.ipynb", {})
