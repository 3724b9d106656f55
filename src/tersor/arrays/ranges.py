"""Which range of real numbers the integers of an activation should cover.

All three take a `Histogram` and return (low, high) with low <= 0 <= high.

minmax      everything that was seen
percentile  all but a fraction of the numbers at either end
mse         the range with the smallest mean squared error, of rounding and clamping
            together: sum over bins of count * (centre - round_trip(centre))^2

Source: Wu et al., "Integer quantization for deep learning inference", arXiv:2004.09602,
section 3; Banner, Nahshan, Soudry, arXiv:1810.05723, for the mean squared error.
"""

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.affine import round_trip, scale_and_zero_point
from tersor.arrays.histogram import Histogram
from tersor.errors import InputError

_SHRINKS = np.linspace(1.0, 0.05, 96)


def minmax(histogram: Histogram) -> tuple[float, float]:
    """The smallest and largest number seen.

    Raises:
        InputError: The histogram is empty.
    """
    if not histogram.counts.any():
        raise InputError("histogram", got="no numbers", allowed="filled")
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def percentile(histogram: Histogram, *, percent: float) -> tuple[float, float]:
    """The range between the (100 - percent)-th and the percent-th percentile.

    Never wider than `minmax`; a bin counts as a whole.
    """
    if not 50.0 < percent <= 100.0:
        raise InputError("percent", got=percent, allowed="in (50, 100]")
    low, high = minmax(histogram)
    cut = histogram.counts.sum() * (1 - percent / 100)
    centres = histogram.centres()
    half = (centres[1] - centres[0]) / 2
    first = int(np.searchsorted(np.cumsum(histogram.counts), cut, side="right"))
    last = int(np.searchsorted(np.cumsum(histogram.counts[::-1]), cut, side="right"))
    return (
        float(np.clip(centres[first] - half, low, 0.0)),
        float(np.clip(centres[centres.size - 1 - last] + half, 0.0, high)),
    )


def mse(histogram: Histogram, *, codes: tuple[int, int]) -> tuple[float, float]:
    """The range with the smallest mean squared error when `codes` are spread over it.

    The upper end is searched on a grid of 96 fractions of the largest number, then the lower
    end, and then the upper end again.
    """
    low, high = minmax(histogram)
    used = np.flatnonzero(histogram.counts)
    centres, weights = histogram.centres()[used], histogram.counts[used]

    def best(candidates: list[tuple[float, float]]) -> tuple[float, float]:
        return min(candidates, key=lambda c: _squared_error(centres, weights, c, codes))

    chosen = best([(low, high * s) for s in _SHRINKS])
    if low < 0:
        chosen = best([(low * s, chosen[1]) for s in _SHRINKS])
        chosen = best([(chosen[0], high * s) for s in _SHRINKS])
    return float(chosen[0]), float(chosen[1])


def _squared_error(
    centres: NDArray[np.float64],
    weights: NDArray[np.int64],
    ends: tuple[float, float],
    codes: tuple[int, int],
) -> float:
    scale, zero = scale_and_zero_point(*ends, codes=codes)
    error = centres - round_trip(centres, np.asarray(scale), np.asarray(float(zero)), codes)
    return float((weights * error * error).sum())
