"""Measure the engine against the baseline and print one table.

    python -m benchmarks --preset laptop --json benchmarks/recorded/cpu.json

`smoke` takes images and weights made here and says nothing about speed; `laptop` and `gpu` take
CIFAR-100 and the public checkpoint from the data folder.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks import networks, others
from benchmarks.costs import sweep_costs
from benchmarks.levers import levers
from benchmarks.measure import machine
from benchmarks.report import render, summary
from benchmarks.scales import SCALES, Scale
from benchmarks.scaling import scaling

WORKS = {
    "hp-grid": networks.hp_grid,
    "hp-heads": networks.hp_heads,
    "digits-sweep": networks.digits_sweep,
    "image-sweep": networks.image_sweep,
    "ft-loop": networks.ft_loop,
    "toy-grid": others.toy_grid,
    "import": others.imports,
    "book": others.book,
}

PARTS = [*WORKS, "scaling", "costs", "levers"]  # compilation leaves much behind for Python to track


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=SCALES, required=True)
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=PARTS, metavar="PART", help=", ".join(PARTS)
    )
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", choices=devices, default=devices[0])
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the figures here too, until all are measured to FILE.part",
    )
    options = parser.parse_args()
    device, scale = torch.device(options.device), SCALES[options.preset]
    if options.json:
        if options.json.is_dir():
            parser.error(f"{options.json} is a folder; give a file")
        if options.json.exists() and set(options.only) != set(PARTS):
            parser.error(f"{options.json} exists and may hold other parts; give another file")
        options.json.parent.mkdir(parents=True, exist_ok=True)
    try:
        report = measure(options, scale, device)
    except OSError as error:
        sys.exit(f"benchmarks: error: {error}")
    except KeyboardInterrupt:
        sys.exit("benchmarks: stopped; with --json, FILE.part holds the parts measured so far")
    print(render(report))


def measure(options: argparse.Namespace, scale: Scale, device: torch.device) -> dict[str, Any]:
    """Return the report of the parts, and write what is measured so far if there is a file."""
    unfinished = options.json and options.json.with_name(f"{options.json.name}.part")
    start = time.perf_counter()
    report = {
        "preset": options.preset,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        **{part: [] for part in ("works", "scaling", "levers", "costs")},
    }
    for name in options.only:
        print(f"measuring {name}", file=sys.stderr)
        if name in WORKS:
            report["works"].append(summary(WORKS[name](scale, options.preset, device)))
        elif name == "scaling":
            points = 2 if scale.made else 5
            report["scaling"] = scaling(points=points, repetitions=scale.repetitions, device=device)
        elif name == "levers":
            report["levers"] = levers(scale, device)
        elif name == "costs":
            report["costs"] = sweep_costs(scale, options.preset, device)
        report["minutes"] = (time.perf_counter() - start) / 60
        if unfinished:
            unfinished.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if unfinished:
        unfinished.replace(options.json)
    return report


if __name__ == "__main__":
    main()
