"""A time box: jobs in order, each in a process of its own, as far as the minutes go."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from taskhead.tasks.storage import write_whole

HEADER = ("job", "state", "seconds", "result")


@dataclass(frozen=True)
class Job:
    """A command that writes `NAME.json`, a dict, into the folder of the box when it is done.

    It is killed after `limit` seconds. It starts if `least` seconds are left: its limit, or what is
    worth a start where it keeps what it has done. `lacks` names what is missing for it.
    """

    name: str
    command: Sequence[str]
    limit: float
    least: float
    lacks: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: done, done before, skipped, stopped or failed; `result` says what."""

    job: str
    state: str
    seconds: float
    result: str


def work_through(
    jobs: Sequence[Job],
    folder: Path,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Outcome]:
    """Yield the outcome of each job in order, and never raise for one.

    A job whose result lies in the folder is not run again. `NAME.log` there holds what a job
    printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = clock() + seconds
    for job in jobs:
        file, left = folder / f"{job.name}.json", end - clock()
        if file.exists():
            yield Outcome(job.name, "done before", 0, said(file))
        elif job.lacks:
            yield Outcome(job.name, "skipped", 0, f"{job.lacks} is not here")
        elif job.least > left:
            why = f"needs {job.least:.0f} s, {max(left, 0):.0f} s are left"
            yield Outcome(job.name, "skipped", 0, why)
        else:
            yield run(job, file, min(job.limit, left))


def run(job: Job, file: Path, limit: float) -> Outcome:
    """Run a job for `limit` seconds at most; what it started is killed with it."""
    log, start = file.with_suffix(".log"), time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            job.command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            state = "failed" if process.wait(limit) else "done"
        except subprocess.TimeoutExpired:
            state = "stopped"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - start
    if file.exists():
        return Outcome(job.name, "done", seconds, said(file))
    if state == "stopped":
        return Outcome(job.name, state, seconds, f"not done after {limit:.0f} s")
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return Outcome(job.name, "failed", seconds, last[:200])


def said(file: Path) -> str:
    """Return what a result says in a line: its entries that are no lists or dicts."""
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        plain = {k: v for k, v in result.items() if not isinstance(v, list | dict)}
    except (ValueError, AttributeError):
        return f"{file.name} is damaged; remove it to run the job again"
    return ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items()
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """Return all outcomes as a table in Markdown."""
    rows = [
        [each.job, each.state, f"{each.seconds:.0f}", each.result.replace("|", "/")]
        for each in outcomes
    ]
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def keep(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the outcomes so far as `session.json`, whole or not at all."""
    text = json.dumps(list(map(asdict, outcomes)), indent=1) + "\n"
    write_whole(folder / "session.json", text.encode())
