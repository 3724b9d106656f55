"""Batches for training: which rows, in which order."""

import numpy as np
import pytest

from tersor.data.lazy import lazy
from tersor.data.samples import Samples
from tersor.train.batches import in_order, not_held_out, parts, pick, shuffled


@pytest.mark.parametrize(("count", "held"), [(99, 0), (100, 10), (1000, 100), (90_000, 5000)])
def test_every_row_is_trained_on_or_held_out(count, held):
    trained_on, held_out = parts(count, 0)
    assert len(held_out) == held
    assert np.array_equal(np.sort(np.concatenate([trained_on, held_out])), np.arange(count))


def test_an_epoch_sees_every_row_at_most_once_in_another_order():
    rows = np.arange(100, 200)
    first, second = (
        np.concatenate(list(shuffled(rows, 32, seed=0, epoch=epoch))) for epoch in (1, 2)
    )
    assert len(np.unique(first)) == 96
    assert set(first) <= set(rows)
    assert not np.array_equal(first, second)
    again = np.concatenate(list(shuffled(rows, 32, seed=0, epoch=1)))
    assert np.array_equal(first, again)


def test_rows_in_order_end_with_what_is_left():
    rows = np.arange(7)
    assert [len(part) for part in in_order(rows, 3, whole=False)] == [3, 3, 1]
    assert [len(part) for part in in_order(rows, 3, whole=True)] == [3, 3]


def test_picked_rows_are_the_samples_of_these_numbers():
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    samples = Samples({"x": lazy(x)}, np.arange(10))
    batch = pick(samples, np.array([7, 2]))
    assert batch.inputs["x"].tolist() == [[14, 15], [4, 5]]
    assert batch.labels.tolist() == [7, 2]


@pytest.mark.parametrize("labelled", [False, True])
def test_samples_that_are_not_held_out_are_those_that_are_trained_on(labelled):
    x = np.arange(300, dtype=np.float32).reshape(150, 2)
    samples = Samples({"x": lazy(x)}, np.arange(150) if labelled else None)
    rows, _ = parts(150, 3)
    found = not_held_out(samples, 3)
    assert np.array_equal(np.asarray(found.inputs["x"]), x[rows])
    assert (found.labels is not None) == labelled
    assert not labelled or np.array_equal(found.labels, rows)
    few = samples.take(0, 99)
    assert not_held_out(few) is few
