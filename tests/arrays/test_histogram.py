import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.arrays.histogram import Histogram
from tersor.errors import InputError

numbers = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e5, 1e5, width=32))


def of(*streams):
    histogram = Histogram()
    for stream in streams:
        histogram.add(np.asarray(stream, np.float32))
    return histogram


@given(st.lists(numbers, min_size=1, max_size=4))
def test_no_number_is_lost_and_ends_are_exact(streams):
    histogram = of(*streams)
    everything = np.concatenate(streams)
    assert histogram.counts.sum() == everything.size
    assert histogram.low == everything.min()
    assert histogram.high == everything.max()


@given(numbers, numbers)
@example(np.float32([1.0]), np.float32([2.0]))  # powers of two: the open end of the range
def test_order_does_not_matter_and_merging_equals_adding(a, b):
    one, other, merged = of(a, b), of(b, a), of(a).merge(of(b))
    for histogram in (other, merged):
        assert histogram.exponent == one.exponent
        assert np.array_equal(histogram.counts, one.counts)
        assert (histogram.low, histogram.high) == (one.low, one.high)


@given(numbers)
def test_every_number_is_within_half_a_bin_of_its_centre(x):
    histogram = of(x)
    centres = np.repeat(histogram.centres(), histogram.counts)
    half = 2.0 ** (histogram.exponent + 1) / histogram.counts.size / 2
    assert np.abs(np.sort(x.astype(np.float64)) - centres).max() <= half * (1 + 1e-9)


def test_ends_of_the_population_widen_the_range():
    histogram = Histogram()
    histogram.add(np.ones(3, np.float32), low=-5.0, high=2.0)
    assert (histogram.low, histogram.high, histogram.exponent) == (-5.0, 2.0, 3)


def test_nothing_added_changes_nothing():
    assert of([]).counts.sum() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(InputError, match="numbers must be finite"):
        of([1.0, bad])
