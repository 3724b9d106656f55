"""The noise in outputs: how far they are from what they should be, summed as batches come.

sqnr_db = 10 log10(sum of exact^2 / sum of (found - exact)^2)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Worst:
    """The sample whose output moved most, measured against its own size."""

    index: int
    output: str
    sqnr_db: float


@dataclass
class Noise:
    """Sums over the batches seen so far, in float64, by the name of the output.

    Attributes:
        signal: Sum of squares of what should be.
        noise: Sum of squares of the difference.
        count: Number of elements.
        relative: The largest noise / signal of one sample, and the sample's index.
        largest: The largest difference of one element of any output.
    """

    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    relative: dict[str, tuple[float, int]] = field(default_factory=dict)
    largest: float = 0.0

    def add(
        self, start: int, wanted: Mapping[str, Array], found: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float64]]:
        """Take in a batch whose first sample has the index `start`.

        Returns:
            Noise / signal of each sample, by output: (n,).
        """
        ratios = {}
        for name, array in wanted.items():
            exact = np.asarray(array, dtype=np.float64).reshape(len(array), -1)
            error = np.asarray(found[name], dtype=np.float64).reshape(exact.shape) - exact
            signal, noise = (np.square(x).sum(axis=1) for x in (exact, error))
            self.signal[name] = self.signal.get(name, 0.0) + float(signal.sum())
            self.noise[name] = self.noise.get(name, 0.0) + float(noise.sum())
            self.count[name] = self.count.get(name, 0) + error.size
            self.largest = max(self.largest, float(np.abs(error).max(initial=0.0)))
            with np.errstate(divide="ignore"):
                relative = np.divide(noise, signal, out=np.zeros_like(noise), where=noise > 0)
            ratios[name] = relative
            at = int(relative.argmax())
            if relative[at] > self.relative.get(name, (-1.0, 0))[0]:
                self.relative[name] = float(relative[at]), start + at
        return ratios

    def sqnr_db(self, name: str) -> float:
        """Signal-to-noise ratio of an output; inf if nothing differs."""
        return decibel(self.signal[name], self.noise[name])

    def relative_power(self, name: str) -> float:
        """Error power over signal power of an output; 0 if nothing differs."""
        if self.noise[name] == 0:
            return 0.0
        return self.noise[name] / self.signal[name] if self.signal[name] else float("inf")

    def rms(self, name: str) -> float:
        """Root mean square of an output's error."""
        return float(np.sqrt(self.noise[name] / max(1, self.count[name])))

    def worst(self) -> Worst | None:
        """The sample of the largest relative error; None if nothing differs."""
        name = max(self.relative, key=lambda n: self.relative[n][0])
        ratio, index = self.relative[name]
        return Worst(index, name, decibel(1.0, ratio)) if ratio > 0 else None


def decibel(signal: float, noise: float) -> float:
    """The signal-to-noise ratio of two powers.

    >>> decibel(100.0, 1.0), decibel(1.0, 0.0), decibel(0.0, 1.0)
    (20.0, inf, -inf)
    """
    if noise == 0:
        return float("inf")
    if signal == 0 or np.isinf(noise):
        return float("-inf")
    return float(10 * np.log10(signal / noise))
