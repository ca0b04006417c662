"""Speed of the engine against what a user would write: `python -m benchmarks --help`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
WHEELS = ROOT / "gpu-wheels"  # of `make gpu-wheels`, unpacked beside them as compiled ones need it
UNPACKED = WHEELS / "unpacked"

if any(find_spec(name) is None for name in ("lazy_loader", "loky", "pydantic", "taskhead")):
    for wheel in WHEELS.glob("*.whl"):
        if not (UNPACKED / wheel.stem).exists():
            ZipFile(wheel).extractall(UNPACKED)
            (UNPACKED / wheel.stem).touch()
    folders = [str(ROOT / "src"), str(UNPACKED)]
    sys.path += folders
    known = os.environ.get("PYTHONPATH")  # for processes that are started from here
    os.environ["PYTHONPATH"] = os.pathsep.join([*([known] if known else []), *folders])
