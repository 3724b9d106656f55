"""A histogram of a stream of numbers, in bounded memory, whatever their range.

The bins split [-2^e, 2^e) evenly. A number outside doubles the range as often as
needed: two neighbouring bins then become one, so no count is ever lost or moved across a
bin's edge. Smallest and largest number are kept exactly.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tersor.errors import InputError

_BINS = 8192
_LOWEST_EXPONENT = -120


class Histogram:
    """Counts, smallest and largest of the numbers added so far.

    Attributes:
        counts: (8192,) int64.
        low: The smallest number added; infinity before the first.
        high: The largest number added; minus infinity before the first.
        exponent: e of the range [-2^e, 2^e).
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self.low, self.high = np.inf, -np.inf
        self.exponent = _LOWEST_EXPONENT

    def add(
        self,
        numbers: NDArray[np.floating],
        *,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Count `numbers`, of any shape.

        Args:
            numbers: Finite numbers.
            low: The smallest of the population, where `numbers` are only a part of it.
            high: The largest of the population, likewise.

        Raises:
            InputError: A number is not finite.
        """
        if numbers.size == 0:
            return
        low = float(numbers.min()) if low is None else low
        high = float(numbers.max()) if high is None else high
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("numbers", got=(low, high), allowed="finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(-low, high))
        step = 2.0 ** (self.exponent + 1) / _BINS
        steps = np.divide(numbers.reshape(-1), step, dtype=np.float64)  # nothing underflows
        index = np.floor(steps, out=steps).astype(np.int64)
        index += _BINS // 2
        self.counts += np.bincount(index, minlength=_BINS)

    def merge(self, other: "Histogram") -> "Histogram":
        """The histogram of both streams together."""
        result = Histogram()
        result.low, result.high = min(self.low, other.low), max(self.high, other.high)
        result.exponent = max(self.exponent, other.exponent)
        for part in (self, other):
            result.counts += _coarser(part.counts, result.exponent - part.exponent)
        return result

    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, (8192,)."""
        step = 2.0 ** (self.exponent + 1) / _BINS
        return np.asarray((np.arange(_BINS) - _BINS // 2 + 0.5) * step, np.float64)

    def _widen(self, magnitude: float) -> None:
        # the smallest e with magnitude < 2^e
        needed = math.frexp(magnitude)[1] if magnitude > 0 else _LOWEST_EXPONENT
        if needed > self.exponent:
            self.counts = _coarser(self.counts, needed - self.exponent)
            self.exponent = needed


def _coarser(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    """The counts after the range has doubled `doublings` times."""
    for _ in range(min(doublings, _BINS.bit_length())):
        pairs = counts.reshape(-1, 2).sum(axis=1)
        counts = np.zeros_like(counts)
        counts[_BINS // 4 : 3 * _BINS // 4] = pairs
    return counts
