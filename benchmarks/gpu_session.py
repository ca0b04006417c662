"""Measure, record and check everything that needs a GPU, within some minutes.

    python -m benchmarks.gpu_session --minutes 9 --out runs/gpu

works through its jobs in order (`benchmarks/jobs.py`). Called again with the same folder, it goes
on where it stopped. `--preset smoke --device cpu` runs everything in small size.
"""

import argparse
import time
from pathlib import Path

import psutil

from benchmarks.jobs import job_list
from benchmarks.time_box import keep, table, work_through
from taskhead.experiments.plan import choose_device


def main(began: float) -> None:
    """Work through all jobs until the minutes since `began`, in seconds of the epoch, are over."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_session",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=9, help="from its start to its end (9)")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--preset", choices=("smoke", "gpu"), default="gpu")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        device = choose_device(options.device).type
    except ValueError as error:
        parser.error(str(error))
    outcomes = []
    jobs = job_list(options.preset, device, options.out)
    seconds = 60 * options.minutes - (time.time() - began)
    for outcome in work_through(jobs, options.out, seconds):
        print(f"{outcome.job}: {outcome.state}, {outcome.result}", flush=True)
        outcomes.append(outcome)
        keep(outcomes, options.out)
    print(f"\n{table(outcomes)}")


if __name__ == "__main__":
    main(began=psutil.Process().create_time())  # imports take their share of the minutes
