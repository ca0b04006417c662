"""Parameters of a notebook: check them before anything is computed."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args

from taskhead.experiments.plan import choose_device
from taskhead.experiments.settings import PRESETS, SETTING_NAMES
from taskhead.method.checks import check_choice


def check_parameters(namespace: Mapping[str, Any], **expected: type | UnionType) -> None:
    """Check a notebook's parameters, whether typed in or injected by papermill.

    Call it as `check_parameters(globals(), preset=str, data=str | None, ...)` in the cell after the
    parameters. Every public name in the namespace that holds a literal, which is all that papermill
    can inject, counts as a parameter, so that a misspelt one is found. Tables, models and lists of
    them do not, so the cell may be run again when those below it have run.

    Raises `ValueError` if a parameter is not expected, or names a preset, setting or device that
    does not exist. Raises `TypeError` if a parameter has another type.
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
        value, kinds = given[name], list(get_args(kind) or [kind])
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            valid = " or ".join(getattr(each, "__name__", "None") for each in kinds)
            hint = f"; papermill takes text as it is with -r {name}" if str in kinds else ""
            raise TypeError(
                f"parameter {name} must be of type {valid}, got {value!r} of type "
                f"{type(value).__name__}{hint}"
            )
    for name, valid in (("preset", PRESETS), ("setting", SETTING_NAMES)):
        if name in given:
            check_choice(name, given[name], valid)
    if "device" in given:
        choose_device(given["device"])


def _is_literal(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_literal, value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_is_literal, value))
    return value is None or isinstance(value, bool | int | float | str)
