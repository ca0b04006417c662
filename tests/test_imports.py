"""Imports: the library alone loads no package that only some of its functions need."""

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "pandas", "scipy", "sklearn", "torchvision")
LIBRARY = (
    "adaptation",
    "augmentation",
    "backbones",
    "data",
    "energy",
    "finetuning",
    "heads",
    "linear",
    "probing",
)


def loaded(modules: tuple[str, ...], packages: tuple[str, ...]) -> list[str]:
    """Return which packages a fresh interpreter has loaded after it imported the modules."""
    imports = "".join(f"import taskhead.{name}\n" for name in modules)
    code = f"import sys\n{imports}print(*sorted(set({packages}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_library_loads_nothing_but_torch():
    assert loaded(LIBRARY, HEAVY) == []


@pytest.mark.parametrize("module", ["cli", "figures"])
def test_settings_and_figures_load_no_networks_and_no_data_sets(module: str):
    assert loaded((module,), ("sklearn", "torchvision", "torch._dynamo")) == []
