"""Spread the units of a study over processes, each with one thread."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from threading import Event, Thread
from typing import Any

import psutil
import torch
from loky import ProcessPoolExecutor, cpu_count
from loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

Compute = Callable[[Any], Any]
WORTH = 4  # units for which it is worth to start a process
PATIENCE_S = 2.0  # within this time small studies are done, and no helper is started
PROCESS_BYTES = 2**30  # about what a process takes with images of 96 pixels
# With these, glibc keeps freed memory: finetuning asks for the same sizes in every step. Loky must
# not take that for a leak, as it would start the process again, and what neighbours share is lost.
KEEP_FREED_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_MMAP_MAX_": "0",
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
}


def spread(compute: Compute, units: Sequence[Any], workers: int | None) -> Iterator[Any]:
    """Compute all units and yield each result as soon as it is there.

    This process computes until its helpers are ready. Then each of them takes a block of
    neighbouring units, so that what neighbours share is prepared once, and this process ends the
    unit that it has begun. Every unit is computed with one thread, so no result depends on the
    number of `workers`, at least 1. None takes one for each core, but no more than there is free
    memory or work for, and waits a moment before it starts them. `compute` must be a function of
    one unit that can be pickled.

    Raises `ChildProcessError` if a helper was killed. What `compute` raises is raised here, too.
    """
    most = max(1, psutil.virtual_memory().available // PROCESS_BYTES)
    default = max(1, min(cpu_count(), most, len(units) // WORTH))
    count = min(workers or default, len(units))
    left, stop = iter(units), Event()
    pools: list[ProcessPoolExecutor] = []
    patience = 0.0 if workers else PATIENCE_S
    with ThreadPoolExecutor(1) as thread:
        helping = thread.submit(_help, compute, left, count, patience, stop, pools)
        try:
            for unit in left:  # none is left when helpers have taken them
                yield _alone(compute, unit)
            stop.set()
            yield from map(_result, as_completed(_result(helping)))
        finally:
            stop.set()
            wait([helping])
            for pool in pools:
                pool.shutdown(kill_workers=True)


def _help(
    compute: Compute,
    left: Iterator[Any],
    count: int,
    patience: float,
    stop: Event,
    pools: list[ProcessPoolExecutor],
) -> list[Future]:
    """Start helpers, each one of the `pools`, unless they are not needed; hand them what is left.

    Return their tasks.
    """
    if count == 1 or stop.wait(patience):
        return []
    options = {"initializer": _end_with, "initargs": [os.getpid()], "env": KEEP_FREED_MEMORY}
    pools.extend(ProcessPoolExecutor(1, **options) for _ in range(count))
    ready = [pool.submit(callable, compute) for pool in pools]  # imports what it needs
    while wait(ready, timeout=0.1).not_done and not stop.is_set():
        pass
    blocks = zip(pools, _blocks(list(left), count), strict=True)
    return [pool.submit(_alone, compute, unit) for pool, block in blocks for unit in block]


def _blocks(units: list, count: int) -> list[list]:
    """Cut units into `count` blocks of neighbours of nearly the same length."""
    bounds = [len(units) * i // count for i in range(count + 1)]
    return [units[start:end] for start, end in pairwise(bounds)]


def _alone(compute: Compute, unit: Any) -> Any:
    with one_thread(), repeatable():
        return compute(unit)


def _result(task: Future) -> Any:
    try:
        return task.result()
    except TerminatedWorkerError:
        raise ChildProcessError(
            "a helper process was killed, most likely for want of memory; finished runs are kept; "
            "continue with fewer workers"
        ) from None


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


def repeatable() -> AbstractContextManager[None]:
    """Compute in fp32 and with the same algorithms each time on a GPU, within this context.

    By default its convolutions round their inputs to 10 bits (TF32) and may add in any order.
    """
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _end_with(parent: int) -> None:
    """Let a helper end when its parent does, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
