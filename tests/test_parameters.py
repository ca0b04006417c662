"""Parameters of notebooks: names, types and values are checked before anything is computed."""

from pathlib import Path

import pytest

from taskhead.experiments.parameters import check_parameters

EXPECTED = {
    "preset": str,
    "setting": str,
    "device": str,
    "seed": int,
    "recompute": bool,
    "data": str | None,
    "ft_lr": float | None,
}
GIVEN = {
    "preset": "smoke",
    "setting": "digits",
    "device": "auto",
    "seed": 0,
    "recompute": False,
    "data": None,
    "ft_lr": 1,
}


def test_right_parameters_pass_among_whatever_else_a_notebook_holds():
    check_parameters(
        {**GIVEN, "_private": 1, "In": [""], "Out": {}, "load": print, "p": Path(), "l": [Path()]},
        **EXPECTED,
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"presett": "smoke"}, ValueError, "'presett'; valid: preset"),
        ({"seeds": [0]}, ValueError, "'seeds'; valid: preset"),
        ({"seeds": []}, ValueError, "'seeds'; valid: preset"),
        ({"rates": {"a": [1.0]}}, ValueError, "'rates'; valid: preset"),
        ({"nothing": None}, ValueError, "'nothing'; valid: preset"),
        ({"preset": 1}, TypeError, "preset.*str.* 1"),
        ({"seed": True}, TypeError, "seed.*int.* True"),
        ({"data": 2024}, TypeError, "data.*str or None.* 2024"),
        ({"ft_lr": "1e-3"}, TypeError, "ft_lr.*float or None.* '1e-3'"),
        ({"recompute": 1}, TypeError, "recompute.*bool.* 1"),
        ({"recompute": "True"}, TypeError, "recompute.*bool.* 'True'"),
        ({"preset": "big"}, ValueError, "'big'; valid: smoke, laptop, gpu"),
        ({"setting": "digit"}, ValueError, "'digit'; valid: .*digits"),
        ({"device": "tpu"}, ValueError, "'tpu'; valid: auto, "),
    ],
)
def test_wrong_parameter_is_named_with_what_is_valid(change: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        check_parameters(GIVEN | change, **EXPECTED)


def test_deleted_parameter_is_named():
    with pytest.raises(ValueError, match="recompute"):
        check_parameters({k: v for k, v in GIVEN.items() if k != "recompute"}, **EXPECTED)
