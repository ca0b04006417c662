"""Measure the peak memory of each notebook of the book, as a reader launches it, in a table.

python workflow/memory.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from pages import pages

MEASURED = Path("benchmarks/recorded/notebooks.csv")
COLUMN = "peak memory [MB]"


def main() -> None:
    notebooks = [Path(file) for file in pages().values() if file.endswith(".ipynb")]
    peaks = {file.stem: peak(file) for file in notebooks}
    pd.Series(peaks, name=COLUMN).to_csv(MEASURED, index_label="notebook")


def peak(notebook: Path) -> int:
    """Return the peak resident memory of the process that executes a notebook, in MB (Linux)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "papermill", notebook, f"{folder}/out.ipynb"]
        process = subprocess.Popen([*command, "--no-progress-bar"])
        # Of papermill and its kernel, the larger; in KiB.
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{notebook} failed")
    return round(usage.ru_maxrss * 1024 / 1e6)


def memory_table(files: dict[str, str]) -> str:
    """Return the measured peaks by notebook, with links, in the order of the book."""
    peaks = pd.read_csv(MEASURED, index_col="notebook")[COLUMN]
    shown = {
        f"[{title}](../{file})": peaks[Path(file).stem]
        for title, file in files.items()
        if file.endswith(".ipynb")
    }
    return pd.Series(shown, name=COLUMN).rename_axis("notebook").to_markdown()


if __name__ == "__main__":
    main()
