"""Parameters of a notebook: check them before anything is computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from taskhead.checks import check_choice
from taskhead.presets import load_preset
from taskhead.settings import get_setting
from taskhead.studies import choose_device

_CHECKS = {"preset": load_preset, "setting": get_setting, "device": choose_device}


def check_parameters(namespace: Mapping[str, Any], **expected: type) -> None:
    """Check a notebook's parameters, whether typed in or injected by papermill.

    Call it as `check_parameters(globals(), preset=str, ...)` in the cell after the parameters.
    Every public name in the namespace that holds a literal, which is all that papermill can inject,
    counts as a parameter, so that a misspelt one is found. Tables, models and lists of them do not,
    so the cell may be run again when those below it have run.

    Raises
    ------
    ValueError
        If a parameter is not expected, or names a preset, setting or device that does not exist.
    TypeError
        If a parameter has another type.
    """
    given = {
        name: value
        for name, value in namespace.items()
        if _is_literal(value) and not name.startswith("_") and name not in ("In", "Out")
    }
    for name in given:
        check_choice("parameter", name, expected)
    for name, kind in expected.items():
        if name not in given:
            raise ValueError(f"parameter {name} is missing; expected: {', '.join(expected)}")
        value = given[name]
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise TypeError(
                f"parameter {name} must be of type {kind.__name__}, "
                f"got {value!r} of type {type(value).__name__}"
            )
        if name in _CHECKS:
            _CHECKS[name](value)


def _number(value: object) -> object:
    """Read numbers such as 1e-3, which YAML takes for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _is_literal(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_literal, value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_is_literal, value))
    return value is None or isinstance(value, bool | int | float | str)


def execute_notebook(notebook: Path, output: Path, parameters: Mapping[str, str]) -> None:
    """Execute a notebook with papermill once its parameter names are known to be right.

    Raises
    ------
    ValueError
        If papermill is missing, the notebook does not exist or cannot be read, a parameter is
        unknown, a value is not valid YAML, or a cell raises; `output` holds what was executed then.
    """
    try:
        import papermill
    except ImportError:
        raise ValueError("papermill is missing; pip install 'taskhead[notebooks]'") from None
    if not notebook.is_file():
        raise ValueError(f"notebook {notebook} does not exist")
    try:
        valid = papermill.inspect_notebook(notebook)
    except ValueError as error:
        raise ValueError(f"notebook {notebook} cannot be read: {error}") from None
    for name in parameters:
        check_choice(f"parameter of {notebook.name}", name, valid)
    try:
        values = {name: _number(yaml.safe_load(value)) for name, value in parameters.items()}
    except yaml.YAMLError as error:
        raise ValueError(f"a parameter's value is not valid YAML: {error}") from None
    try:
        papermill.execute_notebook(notebook, output, values)
    except papermill.PapermillExecutionError as error:
        raise ValueError(
            f"{notebook.name} stopped in cell [{error.exec_count}] with {error.ename}: "
            f"{error.evalue}"
        ) from None
