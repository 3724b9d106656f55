"""Rows that are read, or made, when somebody asks for them."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.data.check import fit
from tersor.data.lazy import Lazy, lazy, select
from tersor.data.samples import Samples
from tersor.data.split import split
from tersor.data.stream import Stream
from tersor.errors import DataError

SOURCE = np.arange(60).reshape(12, 5)
PORTS = [("x", ("batch", 5), "float32")]


@given(st.lists(st.integers(0, 11), min_size=1, max_size=20), st.integers(0, 9))
def test_rows_are_what_indexing_gives(rows, start):
    chosen = np.array(rows)
    late = lazy(SOURCE)[chosen]
    assert np.array_equal(np.asarray(late), SOURCE[chosen])
    assert late.shape == SOURCE[chosen].shape
    part = late[start : start + 3]
    assert np.array_equal(np.asarray(part), SOURCE[chosen][start : start + 3])
    assert np.array_equal(late[0], SOURCE[chosen][0])
    assert (len(late), late.nbytes) == (len(rows), SOURCE[chosen].nbytes)


def test_rows_convert_and_never_pretend_to_be_no_copy():
    late = lazy(SOURCE)[np.array([1])]
    assert np.asarray(late, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="without a copy"):
        np.array(late, copy=False)


def test_rows_of_a_file_stay_in_the_file(tmp_path):
    np.save(tmp_path / "a.npy", SOURCE)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert isinstance(select(mapped, np.array([3, 1])), Lazy)
    assert isinstance(select(SOURCE, np.array([3, 1])), np.ndarray)
    assert isinstance(select(lazy(SOURCE), np.array([3, 1])), Lazy)


class Maker:
    """Makes rows, and remembers which ones."""

    def __init__(self, dtype=np.float32):
        self.made, self.dtype = [], dtype

    def __call__(self, number):
        self.made.append(number)
        return {"x": SOURCE[number].astype(self.dtype), "y": np.asarray(number)}

    def stream(self, **settings):
        layout = {"x": ((5,), np.dtype(self.dtype)), "y": ((), np.dtype(np.int64))}
        return Stream(self, 12, layout, **settings)

    def samples(self, **settings):
        stream = self.stream(**settings)
        return Samples({"x": stream.column("x")}, stream.column("y"))


@pytest.mark.parametrize("threads", [1, 3])
def test_every_pass_gives_the_same_rows_in_order(threads):
    samples = Maker().samples(threads=threads, keep_bytes=70)
    for _ in range(2):
        batches = list(samples.batches(5))
        assert np.array_equal(np.concatenate([b.inputs["x"] for b in batches]), SOURCE)
        assert np.concatenate([b.labels for b in batches]).tolist() == list(range(12))


def test_columns_of_a_batch_share_the_work():
    maker = Maker()
    next(maker.samples(keep_bytes=0).batches(3))
    assert maker.made == [0, 1, 2]


def test_the_first_rows_are_kept_up_to_the_bound_and_the_others_made_again():
    maker = Maker()
    samples = maker.samples(keep_bytes=5 * (20 + 8))  # five rows of five floats and an integer
    for _ in range(3):
        list(samples.batches(4))
    assert [maker.made.count(i) for i in range(12)] == [1] * 5 + [3] * 7


def test_what_a_caller_changes_is_not_kept():
    samples = Maker().samples()
    next(samples.batches(3)).inputs["x"][:] = -1
    assert np.array_equal(next(samples.batches(3)).inputs["x"], SOURCE[:3])


def test_a_pass_over_many_rows_holds_few_of_them():
    size = 1 << 16
    layout = {"x": ((size,), np.dtype(np.uint8))}
    stream = Stream(
        lambda i: {"x": np.full(size, i % 251, np.uint8)}, 400, layout, keep_bytes=1 << 20
    )
    parts = split(fit(Samples({"x": stream.column("x")}), [("x", ("n", size), "uint8")]))
    tracemalloc.start()
    seen = sum(batch.size for batch in parts.validation.batches(8))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 300
    # what is kept, three batches (being made, handed over, and the one before), overhead
    assert held < (1 << 20) + 3 * 8 * size + (1 << 18)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"x": np.zeros(4, np.float32)}, r"is float32 \(4,\), and float32 \(5,\)"),
        ({"x": np.zeros(5)}, r"is float64 \(5,\), and float32 \(5,\)"),
        ({}, "is missing"),
    ],
    ids=["other shape", "other type", "missing"],
)
def test_samples_that_are_not_alike_are_refused_by_number(row, said):
    first = {"x": np.zeros(5, np.float32)}
    layout = {"x": ((5,), np.dtype(np.float32))}
    stream = Stream(lambda i: row if i == 3 else first, 6, layout)
    with pytest.raises(DataError, match=rf"Array 'x' of sample 3 {said}"):
        np.asarray(stream.column("x"))


def test_lazy_rows_are_checked_and_converted_when_they_are_read():
    maker = Maker(np.float64)
    fitting = fit(maker.samples(), PORTS)
    assert maker.made == []
    assert next(fitting.batches(2)).inputs["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, r"holds nan in sample 7 at \(2,\)"), (1e300, "which float32 cannot hold")],
)
def test_a_value_that_cannot_be_used_is_found_when_it_is_read(value, said):
    source = SOURCE.astype(np.float64)
    source[7, 2] = value
    picked = lazy(source)[np.array([1, 7, 3])]
    fitting = fit(Samples({"x": picked}), PORTS)
    with pytest.raises(DataError, match=said):
        list(fitting.batches(2))


def test_lazy_labels_are_checked_when_they_are_read():
    labels = np.array([0.0, np.inf])
    x = np.zeros((2, 5), np.float32)
    fitting = fit(Samples({"x": x}, lazy(labels)), PORTS)
    with pytest.raises(DataError, match="labels holds inf in sample 1"):
        list(fitting.batches(2))
    assert fit(Samples({"x": x}, lazy(np.arange(2))), PORTS).labels[1] == 1


def test_arrays_in_a_file_are_converted_when_they_are_read(tmp_path):
    np.save(tmp_path / "a.npy", SOURCE.astype(np.float64))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    found = fit(Samples({"x": mapped}), PORTS).inputs["x"]
    assert isinstance(found, Lazy)
    assert np.array_equal(np.asarray(found), SOURCE)


def test_the_note_stays_with_every_part():
    samples = Samples({"x": SOURCE.astype(np.float32)}, note="from a test")
    assert fit(samples, PORTS).take(0, 3).note == "from a test"
    many = Samples({"x": np.zeros(40)}, note="from a test")
    assert split(many).validation.note == "from a test"
