"""Runs over batches, several at once.

Each core runs batches of its own, rather than a part of every operation: nobody waits for the
slowest core after each operation, and whatever is done in Python or numpy is shared, too.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from threading import Barrier, local
from typing import TypeVar

import torch

from tersor.data.samples import Batch
from tersor.machine import give_back_memory

_MOST = 4  # at once: each holds the activations of a batch

S = TypeVar("S")
T = TypeVar("T")


def over_batches(
    make: Callable[[], Callable[[Batch], T]],
    batches: Iterable[Batch],
    device: torch.device,
) -> Iterator[T]:
    """What a run gives for each batch, in order; no more batches are held than run at once.

    Args:
        make: Gives a function for one batch; called once in each thread that runs batches.
        batches: Read as they are needed, one at a time.
        device: Where it runs; only on the CPU do several run at once.
    """
    pool, workers = _pool_for(device)
    if pool is None:
        yield from map(make(), batches)
        return
    own = local()

    def work(batch: Batch) -> T:
        if not hasattr(own, "run"):
            own.run = make()
        found: T = own.run(batch)
        return found

    waiting: deque[Future[T]] = deque()
    try:
        for batch in batches:
            if len(waiting) == workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, batch))
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait(waiting)
        give_back_memory()  # else every thread keeps what it took for its largest batch


def together(function: Callable[[S], T], items: Iterable[S], device: torch.device) -> list[T]:
    """What `function` gives for each item, without gradients; several at once, as above."""
    pool, _ = _pool_for(device)

    def run(item: S) -> T:
        with torch.no_grad():
            return function(item)

    return list(map(run, items) if pool is None else pool.map(run, items))


def _pool_for(device: torch.device) -> tuple[ThreadPoolExecutor | None, int]:
    """Threads for runs there, and how many run at once; None if one after the other."""
    threads = torch.get_num_threads()
    workers = min(threads, _MOST) if device.type == "cpu" else 1
    return (_pool(workers, threads // workers) if workers > 1 else None), workers


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay: each keeps the memory that it has freed for itself.

    Args:
        workers: How many.
        threads: How many threads each of them takes for an operation.
    """
    whole = torch.get_num_threads()
    gate = Barrier(workers + 1)

    def start() -> None:
        torch.get_num_threads()  # the first operation would take over what others have
        torch.set_num_threads(threads)
        gate.wait()

    pool = ThreadPoolExecutor(workers)
    for _ in range(workers):
        pool.submit(start)
    gate.wait()
    torch.set_num_threads(whole)
    return pool
