"""Measure whole energy sweeps of the engine against the baseline and print one table.

    python -m benchmarks --preset laptop --json benchmarks/recorded/cpu.json
    python -m benchmarks --search --preset laptop --json benchmarks/recorded/search.json

With `--search` it is the search behind a recommendation, in place of sweeps.
`smoke` takes images and weights made here and says nothing about speed; `laptop` and `gpu` take
CIFAR-10, CIFAR-100 and public checkpoints from the data folder.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import machine
from benchmarks.report import render, summary
from benchmarks.search import SEARCHES
from benchmarks.works import PRESETS, WORKS


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--search", action="store_true", help="measure `recommend`, not sweeps")
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", choices=devices, default=devices[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures here too, when all are there"
    )
    options = parser.parse_args()
    if options.json and options.json.is_dir():
        parser.error(f"{options.json} is a folder; give a file")
    works = SEARCHES if options.search else WORKS
    try:
        report = measure(options.preset, torch.device(options.device), works)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"benchmarks: error: {error}")
    except KeyboardInterrupt:
        sys.exit("benchmarks: stopped")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(render(report))


def measure(preset: str, device: torch.device, chosen: Mapping[str, Callable]) -> dict[str, Any]:
    """Return the report of the chosen works."""
    start, works = time.perf_counter(), []
    for name, work in chosen.items():
        print(f"measuring {name}", file=sys.stderr)
        works.append(summary(work(preset, device)))
    return {
        "preset": preset,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        "works": works,
        "minutes": (time.perf_counter() - start) / 60,
    }


if __name__ == "__main__":
    main()
