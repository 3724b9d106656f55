"""Which range of real numbers the integers of an activation should cover.

All take a `Histogram` and return (low, high) with low <= 0 <= high.

minmax      everything that was seen
percentile  all but a fraction of the numbers at either end
mse         the range with the smallest mean squared error, of rounding and clamping
            together: sum over bins of count * (centre - round_trip(centre))^2
entropy     the range [max(low, -t), min(high, t)] whose codes tell most about the numbers: the
            smallest divergence sum p log(p / q), with p the share of each bin inside,
            clamped numbers in the bin at the end, and q what is left of it when neighbouring
            bins become one code: the code's count, spread over those of its bins that p uses

Source: Wu et al., "Integer quantization for deep learning inference", arXiv:2004.09602,
section 3; Banner, Nahshan, Soudry, arXiv:1810.05723, for the mean squared error; Migacz,
"8-bit inference with TensorRT", GPU Technology Conference 2017, for the divergence.
"""

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.affine import scale_and_zero_point
from tersor.arrays.histogram import Histogram
from tersor.errors import InputError

_SHRINKS = np.linspace(1.0, 0.05, 96)
_STRIDE = 16  # bins between the thresholds that `entropy` tries
_FILLING = 256  # numbers per bin
_EMPTY = 1e-9  # the share of a bin that no count is left of, so that logarithms stay finite


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
    centres, weights = histogram.centres()[used], histogram.counts[used].astype(np.float64)

    def best(candidates: list[tuple[float, float]]) -> tuple[float, float]:
        return min(candidates, key=lambda c: _squared_error(centres, weights, c, codes))

    chosen = best([(low, high * s) for s in _SHRINKS])
    if low < 0:
        chosen = best([(low * s, chosen[1]) for s in _SHRINKS])
        chosen = best([(chosen[0], high * s) for s in _SHRINKS])
    return float(chosen[0]), float(chosen[1])


def _squared_error(
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    ends: tuple[float, float],
    codes: tuple[int, int],
) -> float:
    scale, zero = scale_and_zero_point(*ends, codes=codes)
    error = centres / scale
    np.rint(error, out=error)
    np.clip(error, codes[0] - zero, codes[1] - zero, out=error)
    error *= scale
    error -= centres
    return float(weights @ np.square(error, out=error))


def entropy(histogram: Histogram, *, codes: tuple[int, int]) -> tuple[float, float]:
    """The range with the smallest divergence when `codes` are spread over it.

    The bin at zero counts no more than its neighbour, since zero is exact in every range. Bins
    are merged in pairs until they hold 256 numbers each on average: the divergence of
    sparse counts is that of chance. Thresholds t are tried every 16 bins, from the largest
    magnitude down to where every code has one bin; the widest of equals wins.
    """
    low, high = minmax(histogram)
    counts, step = histogram.counts.copy(), float(np.diff(histogram.centres()[:2])[0])
    zero = counts.size // 2
    counts[zero] = min(counts[zero], counts[zero + (1 if high > step else -1)])
    while counts.sum() * step < _FILLING * (high - low) and counts.size > 2:
        counts, step = counts.reshape(-1, 2).sum(axis=1), 2 * step
    left, right = int(np.ceil(-low / step)), int(np.ceil(high / step))
    middle, levels = counts.size // 2, codes[1] - codes[0] + 1
    least, chosen = np.inf, (low, high)
    for t in range(max(left, right), 0, -_STRIDE):
        first, last = middle - min(left, t), middle + min(right, t)
        if last - first < levels:
            break
        divergence = _divergence(counts, first, last, levels)
        if divergence < least:
            least, chosen = divergence, (max(low, -t * step), min(high, t * step))
    return chosen


def _divergence(counts: NDArray[np.int64], first: int, last: int, levels: int) -> float:
    """Of the bins first to last against the same in `levels` codes."""
    inside = counts[first:last].astype(np.float64)
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[last:].sum()
    used = p > 0
    level = np.arange(p.size) * levels // p.size
    sums = np.bincount(level, inside, levels)
    bins = np.bincount(level, used, levels)
    q = (sums / np.maximum(bins, 1))[level][used]
    p = p[used]
    if not q.any():
        return float("inf")
    p, q = p / p.sum(), np.maximum(q / q.sum(), _EMPTY)
    return float((p * np.log(p / q)).sum())
