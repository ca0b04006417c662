"""Spread the runs of a study over processes, each with one thread."""

import ctypes
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from itertools import chain, groupby
from threading import Timer

import torch
from loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from taskhead.records import Row

Work = Callable[[Sequence[Row]], Iterator[None]]
PATIENCE_S = 3.0  # about what a process takes to start and to load its images
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def spread(
    work: Work, runs: Sequence[Row], *, together: Sequence[str], workers: int | None
) -> Iterator[None]:
    """Do the work of all runs and yield whenever some more may have been done.

    The runs are dealt in turn to this process and to helpers. On the CPU processes with one thread
    each are as fast as one with many for images of 32 pixels and faster for smaller ones; as every
    run has one thread, its result does not depend on the number of workers.

    Parameters
    ----------
    work
        Computes and stores some runs one by one, and yields after each.
    runs
        In the order in which neighbours share most of their preparation.
    together
        Columns of a run; runs that are alike in all others form a unit that one process computes.
    workers
        Number of processes, at least 1; None takes one for each core, but starts no helper before
        the work has taken `PATIENCE_S` seconds, or after this process's share says that the others
        take less.
    """
    groups = groupby(runs, lambda run: {**run, **dict.fromkeys(together)})
    units = [list(unit) for _, unit in groups]
    count = min(workers or cores(), len(units))
    own, *others = (list(chain(*units[i::count])) for i in range(count))
    _keep_freed_memory()
    if not others:
        yield from work(own)
        return

    helpers: list[Future] = []
    patience, start = 0.0 if workers else PATIENCE_S, time.perf_counter()
    with ExitStack() as stack:

        def start_helpers() -> None:
            pool = ProcessPoolExecutor(len(others), timeout=60)
            stack.callback(pool.shutdown, kill_workers=True)
            helpers.extend([pool.submit(_exhaust, work, hand, os.getpid()) for hand in others])

        timer = Timer(patience, start_helpers)
        stack.callback(_stop, timer)
        timer.start()
        for _ in work(own):
            _raise_errors(helpers)
            yield
        _stop(timer)
        if not helpers and (time.perf_counter() - start) * len(others) > patience:
            start_helpers()
        if not helpers:
            yield from work(list(chain(*others)))
        while wait(helpers, timeout=1).not_done:
            _raise_errors(helpers)
            yield
        _raise_errors(helpers)


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


def _exhaust(work: Work, runs: Sequence[Row], parent: int) -> None:
    """Do the work until it is done or the parent has been killed."""
    _keep_freed_memory()
    for _ in work(runs):
        if os.getppid() != parent:
            return


def _stop(timer: Timer) -> None:
    timer.cancel()
    timer.join()


def _raise_errors(helpers: Sequence[Future]) -> None:
    for helper in helpers:
        if helper.done():
            helper.result()


def _keep_freed_memory() -> None:
    """Have this process keep freed memory: finetuning asks for the same sizes in every step."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_MMAP_MAX, 0)
