"""Every file that states versions states the same ones."""

import re
import tomllib
from itertools import chain

import pytest
import yaml
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import taskhead

CONDA_NAMES = {"torch": "pytorch-cpu"}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_LOCKED = ("solar-cells", "examples", "onnx")  # a licence of its own; not needed here
LOCK = (REPOSITORY / "requirements.lock").read_text().splitlines()


def bounds(requirements: list[str]) -> dict[str, str]:
    parsed = map(Requirement, requirements)
    return {CONDA_NAMES.get(each.name, each.name): str(each.specifier) for each in parsed}


def test_environment_and_pyproject_have_the_same_bounds():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    conda = bounds([line for line in environment if isinstance(line, str) and line != "pip"])
    python = [f"python{PROJECT['requires-python']}"]
    assert conda == bounds([*python, *PROJECT["dependencies"], *EXTRAS["notebooks"]])
    assert {"pip": ["-e ."]} in environment


LOCKED = chain(*(needs for extra, needs in EXTRAS.items() if extra not in NOT_LOCKED))


@pytest.mark.parametrize("requirement", [*PROJECT["dependencies"], *LOCKED])
def test_lock_satisfies_pyproject(requirement: str):
    locked = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LOCK}
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)])


def test_lock_holds_plain_versions_only():
    for line in LOCK:
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", line), line
    assert "torch==2.13.0" not in LOCK


def test_versions_agree():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert PROJECT["version"] == citation["version"] == taskhead.__version__
