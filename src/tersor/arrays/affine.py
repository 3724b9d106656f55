"""Scales and zero points of affine integers: real = scale * (code - zero_point).

Source: Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", arXiv:1712.05877, section 2.1.
"""

import numpy as np
from numpy.typing import NDArray

from tersor.errors import InputError

Floats = NDArray[np.floating]

_SMALLEST_SCALE = np.float32(2.0**-100)  # so that dividing by a scale stays finite


def scale_and_zero_point(
    low: float, high: float, *, codes: tuple[int, int]
) -> tuple[float, int]:
    """Scale (float32 value) and zero point that spread `codes` over [low, high].

    The range is widened to hold 0, which then is represented exactly: padding stays 0.

    Args:
        low: Smallest real value wanted.
        high: Largest real value wanted.
        codes: Smallest and largest code, as in (0, 255).

    Raises:
        InputError: The range is empty or not finite.

    >>> scale_and_zero_point(0.0, 25.5, codes=(0, 255))
    (0.10000000149011612, 0)
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise InputError("range", got=(low, high), allowed="finite, with low <= high")
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(np.float32((high - low) / (codes[1] - codes[0])), _SMALLEST_SCALE)
    zero_point = round(codes[0] - low / float(scale))
    return float(scale), int(min(max(zero_point, codes[0]), codes[1]))


def symmetric_scales(w: Floats, *, bits: int, axis: int | None) -> NDArray[np.float32]:
    """The smallest scales that clamp no element of `w`; shape (), or (C,) along `axis`.

    scale = max|w| / (2^(bits-1) - 1); 1 where all elements are 0.

    >>> symmetric_scales(np.array([[1.27, -0.5], [0.0, 0.0]]), bits=8, axis=0)
    array([0.01, 1.  ], dtype=float32)
    """
    others = None if axis is None else tuple(i for i in range(w.ndim) if i != axis % w.ndim)
    peak = np.abs(w).max(axis=others, initial=0.0)
    scale = (peak / ((1 << (bits - 1)) - 1)).astype(np.float32)
    return np.where(peak > 0, np.maximum(scale, _SMALLEST_SCALE), np.float32(1))


def round_trip(x: Floats, scale: Floats, zero_point: Floats, codes: tuple[int, int]) -> Floats:
    """`x` rounded to its codes and back; `scale` and `zero_point` broadcast against `x`."""
    q = np.clip(np.rint(x / scale) + zero_point, codes[0], codes[1])
    return np.asarray((q - zero_point) * scale, dtype=x.dtype)


def sqnr_db(signal: Floats, approximation: Floats) -> float:
    """Signal power over error power, in decibels; infinite where they are equal.

    >>> round(sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 3.5])), 2)
    20.0
    """
    error = float(np.square(signal.astype(np.float64) - approximation).sum())
    power = float(np.square(signal.astype(np.float64)).sum())
    if error == 0.0:
        return float("inf")
    return float(10 * np.log10(power / error)) if power > 0 else float("-inf")
