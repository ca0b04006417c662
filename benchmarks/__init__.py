"""Speed of the engine against what a user would write: `python -m benchmarks --help`."""

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
WHEELS = ROOT / "gpu-wheels"  # of `make gpu-wheels`, unpacked beside them as compiled ones need it
for _wheel in WHEELS.glob("*.whl"):
    if not (WHEELS / "unpacked" / _wheel.stem).exists():
        ZipFile(_wheel).extractall(WHEELS / "unpacked")
        (WHEELS / "unpacked" / _wheel.stem).touch()
# Where the library and what it imports are not installed, these folders serve.
FOLDERS = [str(ROOT / "src"), str(WHEELS / "unpacked")]
sys.path += FOLDERS
