"""Spread the runs of a study over processes, each with one thread."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from itertools import chain, groupby

import torch
from loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from taskhead.records import Row

Work = Callable[[Sequence[Row]], Iterator[None]]
WORTH_S = 10.0  # a process takes seconds to start and to load its images


def spread(
    work: Work, runs: Sequence[Row], *, together: Sequence[str], workers: int | None
) -> Iterator[None]:
    """Do the work of all runs and yield whenever some more may have been done.

    The first unit is computed here, which also puts downloads in place. Then the others are dealt
    to the workers in turn. On the CPU processes with one thread each are as fast as one with many
    for images of 32 pixels and faster for smaller ones; as every run has one thread, its result
    does not depend on the number of workers.

    Parameters
    ----------
    work
        Computes and stores some runs one by one, and yields after each.
    runs
        In the order in which neighbours share most of their preparation.
    together
        Columns of a run; runs that are alike in all others form a unit that one process computes.
    workers
        Number of processes, at least 1; None takes one for each core, unless the first unit says
        that the others are done within `WORTH_S` seconds.
    """
    groups = groupby(runs, lambda run: {**run, **dict.fromkeys(together)})
    first, *others = (list(unit) for _, unit in groups)
    if workers == 1 or not others:
        yield from work(runs)
        return
    start = time.perf_counter()
    yield from work(first)
    if workers is None:
        worth = (time.perf_counter() - start) * len(others) > WORTH_S
        workers = cores() if worth else 1
    hands = [list(chain(*others[i::workers])) for i in range(min(workers, len(others)))]
    yield from _in_processes(work, hands) if len(hands) > 1 else work(hands[0])


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread within this context, in PyTorch and in NumPy's linear algebra."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def _in_processes(work: Work, hands: Sequence[Sequence[Row]]) -> Iterator[None]:
    pool = ProcessPoolExecutor(len(hands), timeout=60)
    try:
        pending = {pool.submit(_exhaust, work, hand, os.getpid()) for hand in hands}
        while pending:
            finished, pending = wait(pending, timeout=1)
            for future in finished:
                future.result()
            yield
    finally:
        pool.shutdown(kill_workers=True)


def _exhaust(work: Work, runs: Sequence[Row], parent: int) -> None:
    """Do the work until it is done or the parent has been killed."""
    for _ in work(runs):
        if os.getppid() != parent:
            return
