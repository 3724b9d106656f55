import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.arrays.affine import round_trip, scale_and_zero_point, sqnr_db, symmetric_scales
from tersor.errors import InputError

ends = st.floats(-1e6, 1e6, width=32)


@given(ends, ends)
def test_zero_is_represented_exactly(a, b):
    scale, zero = scale_and_zero_point(min(a, b), max(a, b), codes=(0, 255))
    zeros = np.zeros(1, np.float32)
    assert round_trip(zeros, np.float32(scale), np.float32(zero), (0, 255))[0] == 0.0
    assert 0 <= zero <= 255


@given(ends, ends, st.floats(0, 1))
def test_inside_the_range_the_error_is_at_most_one_step(a, b, share):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    x = np.array([low + share * (high - low)])
    scale, zero = scale_and_zero_point(low, high, codes=(0, 255))
    error = abs(round_trip(x, np.float64(scale), np.float64(zero), (0, 255)) - x)[0]
    # Half a step of rounding, and half a step of clamping, since zero_point is rounded too.
    assert error <= scale * (1 + 1e-6)


def test_range_of_one_sign_is_widened_to_zero():
    assert scale_and_zero_point(51.0, 127.5, codes=(0, 255)) == (0.5, 0)
    assert scale_and_zero_point(-127.5, -3.0, codes=(0, 255)) == (0.5, 255)


@pytest.mark.parametrize("ends", [(1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_impossible_range_is_refused(ends):
    with pytest.raises(InputError, match=r"range must be finite, with low <= high"):
        scale_and_zero_point(*ends, codes=(0, 255))


def test_symmetric_scales_clamp_nothing_and_waste_nothing():
    w = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    for axis, n in ((0, 4), (1, 3), (-1, 5)):
        scale = symmetric_scales(w, bits=8, axis=axis)
        assert scale.shape == (n,)
        moved = np.moveaxis(w, axis, 0).reshape(n, -1)
        np.testing.assert_allclose(np.abs(moved).max(1) / scale, 127.0, rtol=1e-6)


def test_channel_of_zeros_gets_scale_one():
    w = np.array([[0.0, 0.0], [1.0, 2.0]], np.float32)
    assert symmetric_scales(w, bits=8, axis=0).tolist() == [1.0, np.float32(2 / 127)]
    assert symmetric_scales(w[:1], bits=8, axis=None).tolist() == 1.0


def test_sqnr_of_equal_signals_is_infinite_and_of_silence_minus_infinite():
    x = np.ones(3)
    assert sqnr_db(x, x) == float("inf")
    assert sqnr_db(np.zeros(3), x) == float("-inf")
