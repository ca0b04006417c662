"""Imports: the library alone loads no package that only some of its functions need."""

import doctest
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

import taskhead

METHOD = (
    "adaptation",
    "augmentation",
    "energy",
    "features",
    "finetuning",
    "heads",
    "linear",
    "preparation",
    "probing",
)
HEAVY = ("matplotlib", "pandas", "scipy", "sklearn", "torchvision")
LIBRARY = tuple(f"method.{name}" for name in METHOD)


def loaded(modules: tuple[str, ...], packages: tuple[str, ...]) -> list[str]:
    """Return which packages a fresh interpreter has loaded after it imported the modules."""
    imports = "".join(f"import taskhead.{name}\n" for name in modules)
    code = f"import sys\n{imports}print(*sorted(set({packages}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_library_loads_nothing_but_torch():
    assert loaded(LIBRARY, HEAVY) == []


def test_command_line_loads_no_torch_before_it_is_needed():
    assert loaded(("cli",), (*HEAVY, "torch", "numpy")) == []


def test_figures_load_no_networks_and_no_data_sets():
    assert loaded(("report.figures",), ("sklearn", "torchvision")) == []


def test_examples_of_the_book_run_one_after_the_other():
    examples = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "book" / "library.md").read_text(), re.S
    )
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("validation accuracy") == 5


def test_top_level_offers_what_its_docstring_shows():
    failed, tried = doctest.testmod(taskhead)
    assert tried
    assert not failed
    assert all(getattr(taskhead, name) for name in taskhead.__all__)
    with pytest.raises(AttributeError, match="prepare_head"):
        taskhead.prepare_head  # noqa: B018
