"""Refuse notebooks with outputs or execution counts; their paths are the arguments."""

import json
import sys
from pathlib import Path


def is_clean(notebook: Path) -> bool:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


if __name__ == "__main__":
    dirty = [path for path in sys.argv[1:] if not is_clean(Path(path))]
    if dirty:
        files = " ".join(dirty)
        sys.exit(
            f"Notebooks are committed clean: jupyter nbconvert --clear-output --inplace {files}"
        )
