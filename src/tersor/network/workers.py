"""Runs over batches, several at once.

Each core runs batches of its own, rather than a part of every operation: nobody waits for the
slowest core after each operation, and whatever is done in Python or numpy is shared, too.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import TypeVar

import torch

from tersor.data.samples import Batch

_MOST = 4  # at once: each holds the activations of a batch

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
    threads = torch.get_num_threads()
    workers = min(threads, _MOST) if device.type == "cpu" else 1
    if workers == 1:
        yield from map(make(), batches)
        return
    own = local()

    def work(batch: Batch) -> T:
        if not hasattr(own, "run"):
            torch.set_num_threads(threads // workers)  # of this thread, and of new ones
            own.run = make()
        found: T = own.run(batch)
        return found

    waiting: deque[Future[T]] = deque()
    try:
        with ThreadPoolExecutor(workers) as pool:
            for batch in batches:
                if len(waiting) == workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(work, batch))
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)
