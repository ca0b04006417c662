"""Measure, record and check everything that needs a GPU, within some minutes.

    python -m benchmarks.gpu_session --minutes 9 --out runs/gpu

works through its jobs in order (`benchmarks/jobs.py`). Called again with the same folder, it goes
on where it stopped. `--preset smoke --device cpu` runs everything in small size.
"""

import argparse
from pathlib import Path

from benchmarks.jobs import job_list
from benchmarks.time_box import keep, table, work_through
from taskhead.experiments.plan import choose_device


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_session",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=9, help="of all jobs together (9)")
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
    for outcome in work_through(jobs, options.out, 60 * options.minutes):
        print(f"{outcome.job}: {outcome.state}, {outcome.result}", flush=True)
        outcomes.append(outcome)
        keep(outcomes, options.out)
    print(f"\n{table(outcomes)}")


if __name__ == "__main__":
    main()
