"""Spread the runs of a study over processes, each with one thread."""

import ctypes
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain, groupby, pairwise
from threading import Event, Lock, Thread

import psutil
import torch
from loky import ProcessPoolExecutor, cpu_count
from loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

from taskhead.records import Row

Work = Callable[[Sequence[Row]], Iterator[None]]
PATIENCE_S = 0.5  # within this time small studies are done, and no helper is started
START_S = 3.0  # about what a helper takes to start
PROCESS_BYTES = 2**30  # about what a process takes with images of 96 pixels
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def spread(
    work: Work, runs: Sequence[Row], *, together: Sequence[str], workers: int | None
) -> Iterator[None]:
    """Do the work of all runs and yield whenever some more may have been done.

    This process and each helper take a block of runs and prepare for themselves what neighbours
    share. As every run has one thread, its result does not depend on the number of workers.

    Parameters
    ----------
    work
        Computes and stores some runs one by one, and yields after each.
    runs
        In the order in which neighbours share most of their preparation.
    together
        Columns of a run; runs that are alike in all others form a unit that one process computes.
    workers
        Number of processes, at least 1; None takes one for each core, but no more than there is
        free memory for, and if the helpers are not ready when this process has done its own share,
        it does theirs as well where that is as fast.

    Raises
    ------
    ChildProcessError
        If a helper was killed. What other processes raise is raised here, too.
    """
    groups = groupby(runs, lambda run: {**run, **dict.fromkeys(together)})
    units = [list(unit) for _, unit in groups]
    most = max(1, psutil.virtual_memory().available // PROCESS_BYTES)
    count = min(workers or min(cpu_count(), most), len(units))
    bounds = (math.ceil(len(units) * i / count) for i in range(count + 1))
    own, *others = (list(chain(*units[start:end])) for start, end in pairwise(bounds))
    if not others:
        yield from work(own)
        return
    patience = 0.0 if workers else PATIENCE_S
    begun, claim, stop = time.perf_counter(), Lock(), Event()
    with ThreadPoolExecutor(1) as thread:
        helping = thread.submit(_help, work, others, claim, stop, patience)
        try:
            for _ in work(own):
                if helping.done():
                    helping.result()
                yield
            passed = time.perf_counter() - begun
            more = passed * (len(others) - 1)  # than a helper takes, for all of the others
            quick = not workers and more <= max(0.0, patience + START_S - passed)
            if quick and claim.acquire(blocking=False):
                stop.set()
                yield from work(list(chain(*others)))
                return
            while wait([helping], timeout=1).not_done:
                yield
            helping.result()
        finally:
            stop.set()


def default_workers(device: torch.device) -> int | None:
    """Return one off the CPU, where runs would queue for one device, and None for the CPU."""
    return None if device.type == "cpu" else 1


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


def keep_freed_memory() -> None:
    """Have this process keep freed memory, as finetuning asks for the same sizes in every step.

    With glibc the process then never hands memory back, so this is for processes that do nothing
    else; other systems' allocators are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
        libc.mallopt(_M_MMAP_MAX, 0)


def _help(
    work: Work, shares: Sequence[Sequence[Row]], claim: Lock, stop: Event, patience: float
) -> None:
    """Start a process for each share after `patience` seconds; do the shares unless claimed."""
    if stop.wait(patience):
        return
    pool = ProcessPoolExecutor(len(shares), initializer=_start, initargs=(os.getpid(),))
    try:
        _wait([pool.submit(os.getpid)], stop)
        if not stop.is_set() and claim.acquire(blocking=False):
            _wait([pool.submit(_exhaust, work, share) for share in shares], stop)
    except TerminatedWorkerError:
        raise ChildProcessError(
            f"one of {len(shares)} helper processes was killed, most likely for want of memory; "
            "finished runs are kept; continue with fewer workers"
        ) from None
    finally:
        pool.shutdown(kill_workers=True)


def _wait(futures: Sequence[Future], stop: Event) -> None:
    """Wait until all are done, one has failed or `stop` is set."""
    pending = set(futures)
    while pending and not stop.is_set():
        finished, pending = wait(pending, timeout=0.2)
        for future in finished:
            future.result()


def _start(parent: int) -> None:
    """Prepare a helper, which ends with its parent."""
    keep_freed_memory()
    Thread(target=_end_with, args=[parent], daemon=True).start()


def _exhaust(work: Work, runs: Sequence[Row]) -> None:
    for _ in work(runs):
        pass


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
