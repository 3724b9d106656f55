import numpy as np
import pytest

from tersor.arrays import ranges
from tersor.arrays.affine import round_trip, scale_and_zero_point
from tersor.arrays.histogram import Histogram
from tersor.errors import InputError

CODES = (0, 255)


def histogram(x):
    result = Histogram()
    result.add(x)
    return result


def normal(n=20_000, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def squared_error(x, ends):
    scale, zero = scale_and_zero_point(*ends, codes=CODES)
    return float(np.square(round_trip(x.astype(float), scale, zero, CODES) - x).sum())


def test_minmax_covers_everything_and_zero():
    x = normal()
    assert ranges.minmax(histogram(x)) == (x.min(), x.max())
    assert ranges.minmax(histogram(np.float32([2.0, 3.0]))) == (0.0, 3.0)


def test_percentile_leaves_out_the_asked_share():
    x = normal()
    low, high = ranges.percentile(histogram(x), percent=99.0)
    assert np.mean(x < low) == pytest.approx(0.01, abs=0.002)
    assert np.mean(x > high) == pytest.approx(0.01, abs=0.002)


def test_percentile_100_is_minmax():
    x = normal()
    assert ranges.percentile(histogram(x), percent=100.0) == ranges.minmax(histogram(x))


def test_mse_is_no_worse_than_any_range_of_a_fine_grid():
    x = normal()
    found = squared_error(x, ranges.mse(histogram(x), codes=CODES))
    grid = [
        (x.min() * a, x.max() * b)
        for a in np.linspace(0.3, 1, 25)
        for b in np.linspace(0.3, 1, 25)
    ]
    assert found <= min(squared_error(x, ends) for ends in grid) * 1.02


def test_mse_clips_an_outlier_and_leaves_relu_outputs_at_zero():
    x = np.append(np.abs(normal()), np.float32(100.0))
    low, high = ranges.mse(histogram(x), codes=CODES)
    assert low == 0.0
    assert high < 100.0
    assert squared_error(x, (low, high)) < squared_error(x, (0.0, 100.0))


def test_empty_histogram_is_refused():
    with pytest.raises(InputError, match="histogram must be filled"):
        ranges.minmax(Histogram())


@pytest.mark.parametrize("percent", [50.0, 101.0, float("nan")])
def test_percent_out_of_range_is_refused(percent):
    with pytest.raises(InputError, match=r"percent must be in \(50, 100\]"):
        ranges.percentile(histogram(normal()), percent=percent)
