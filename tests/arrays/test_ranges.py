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


def divergence(x, low, high, step, levels):
    """Of the clamped numbers and of their codes, bin by bin, as the docstring says."""
    edges = np.arange(round(low / step), round(high / step) + 1) * step
    bins = len(edges) - 1
    place = [min(max(int(np.floor(v / step)) - round(low / step), 0), bins - 1) for v in x]
    p, inside = [0] * bins, [0] * bins
    for v, i in zip(x, place, strict=True):
        p[i] += 1
        inside[i] += low <= v < high
    q = [0.0] * bins
    for level in range(levels):
        members = [i for i in range(bins) if i * levels // bins == level]
        used = [i for i in members if p[i]]
        for i in used:
            q[i] = sum(inside[j] for j in members) / len(used)
    return sum(
        a / sum(p) * np.log(a / sum(p) / max(b / sum(q), 1e-9))
        for a, b in zip(p, q, strict=True)
        if a
    )


@pytest.mark.parametrize("one_sided", [True, False], ids=["relu", "two_sided"])
def test_entropy_is_the_least_divergence_of_all_thresholds(one_sided):
    x = np.append(normal(40_000), np.float32([7.5, 11.0]))  # outliers to clip
    x = x[(x > 0.125) | (x < 0)]  # an empty bin at zero
    x = np.maximum(x, np.float32(0.2 if one_sided else -1.9))
    step = 0.125  # of 1 / 256, merged until there are 256 numbers in each bin
    found = ranges.entropy(histogram(x), codes=(0, 7))
    widest = int(np.ceil(x.max() / step))
    low = np.floor(x.min() / step) * step
    tried = {
        t: divergence(x, max(low, -t * step), t * step, step, 8)
        for t in range(widest, 0, -16)  # to 8 bins
    }
    best = min(tried, key=lambda t: tried[t])
    assert found == (min(0.0, max(x.min(), -best * step)), best * step)
    assert best < widest


def test_entropy_does_not_mind_how_many_are_zero():
    """Zero is exact in every range, so the zeros of a relu are no reason to clamp."""
    x = np.abs(normal(100_000))
    with_zeros = np.append(x, np.zeros(100_000, np.float32))
    without = ranges.entropy(histogram(x), codes=CODES)[1]
    assert ranges.entropy(histogram(with_zeros), codes=CODES)[1] == pytest.approx(
        without, rel=0.1
    )


def test_entropy_of_few_bins_is_minmax():
    """No threshold leaves every code a bin: nothing is known that speaks for clamping."""
    h = Histogram()
    h.add(np.float32([0.01, 0.02]), high=4096.0)
    assert ranges.entropy(h, codes=(0, 8191)) == (0.0, 4096.0)


def test_entropy_keeps_an_end_that_holds_many():
    """Without the share of clamped numbers, the narrowest range would seem the best."""
    x = (8.0 * np.sqrt(np.linspace(0.0, 0.999, 200_000))).astype(np.float32)
    assert ranges.entropy(histogram(x), codes=CODES)[1] > 7.5


def test_empty_histogram_is_refused():
    with pytest.raises(InputError, match="histogram must be filled"):
        ranges.minmax(Histogram())


@pytest.mark.parametrize("percent", [50.0, 101.0, float("nan")])
def test_percent_out_of_range_is_refused(percent):
    with pytest.raises(InputError, match=r"percent must be in \(50, 100\]"):
        ranges.percentile(histogram(normal()), percent=percent)
