"""Batches for training: each epoch in another order, the same for the same seed."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tersor.data.lazy import select
from tersor.data.samples import Batch, Samples

Rows = NDArray[np.intp]

_HELD_OUT = 10  # one sample of so many is held out
_MOST_HELD_OUT = 5000
_HELD_OUT_FROM = 100


def parts(count: int, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on, and rows held out to tell which epoch was best; both ascending.

    A tenth is held out, at most 5,000; none of fewer than 100.

    >>> [len(rows) for rows in parts(1000, 0)], [len(rows) for rows in parts(99, 0)]
    ([900, 100], [99, 0])
    """
    if count < _HELD_OUT_FROM:
        return np.arange(count), np.arange(0)
    held = min(count // _HELD_OUT, _MOST_HELD_OUT)
    order = np.random.default_rng([seed, 0]).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def not_held_out(samples: Samples, seed: int = 0) -> Samples:
    """The samples without those that a training with this seed holds out.

    What is fitted to samples before a training leaves these out, too: else the start would be
    the best of all epochs where there are few samples.
    """
    rows, held = parts(len(samples), seed)
    if not len(held):
        return samples
    inputs = {name: select(array, rows) for name, array in samples.inputs.items()}
    labels = None if samples.labels is None else select(samples.labels, rows)
    return Samples(inputs, labels)


def shuffled(rows: Rows, size: int, *, seed: int, epoch: int) -> Iterator[Rows]:
    """Rows of each batch of an epoch; what does not fill a batch is left out.

    Args:
        rows: All rows to train on.
        size: Rows of a batch, at most as many as there are.
        seed: Of the order.
        epoch: Its number, 1 or more: each has another order.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def in_order(rows: Rows, size: int, *, whole: bool) -> Iterator[Rows]:
    """Rows of each batch, in order; the last may be smaller, or is left out if `whole`."""
    stop = len(rows) - size + 1 if whole else len(rows)
    for start in range(0, stop, size):
        yield rows[start : start + size]


def pick(samples: Samples, rows: Rows) -> Batch:
    """The samples of these rows."""
    inputs = {
        name: np.ascontiguousarray(select(array, rows))
        for name, array in samples.inputs.items()
    }
    labels = None if samples.labels is None else np.asarray(select(samples.labels, rows))
    return Batch(inputs, labels, int(rows[0]))
