"""Rounding that weighs error against bits.

Of integers q that stand for weights, w ~ step * q, those are taken that make

    sum_i h_i (w_i - step q_i)^2 + rate * sum_i bits(q_i)

small: h says how much the error of an element matters, bits(q) = -log2 of how frequent q is
among the integers themselves, which are found in turns with their frequencies (entropy-coded
scalar quantization), once from the nearest integers and once from those towards 0. Candidates
for an element are the two integers around w / step, and 0.

Source: Chou, Lookabaugh, Gray, "Entropy-constrained vector quantization", IEEE Transactions on
Acoustics, Speech and Signal Processing 37, 1989; Wiedemann et al., "DeepCABAC",
arXiv:1907.11900, section 3.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]

MOST = 127  # of the magnitude of an integer
_TURNS = 6
_MOST_TRIED = 1 << 17  # weights on which steps are tried
_STEPS = 14  # that are tried, from MOST integers on either side to one


class Option(NamedTuple):
    """Weights as integers.

    Attributes:
        cost: Error plus what their bits cost, one after the other without context.
        error: Weighted by importance.
        step: Of the integers.
        codes: int16, of the shape of the weights.
    """

    cost: float
    error: float
    step: float
    codes: Codes


def options(weights: Floats, importance: Floats, rate: float, most: int) -> list[Option]:
    """Integers for weights at the steps that are best, the cheapest first.

    Steps of all sizes are tried, of many weights on a sample.

    Args:
        weights: Of any shape, not all 0.
        importance: Of the same shape, see `round_by_rate`.
        rate: What a bit costs.
        most: How many are wanted.
    """
    flat, matters = weights.reshape(-1), importance.reshape(-1)
    some = _some(flat.size)
    found = []
    for step in np.geomspace(1 / MOST, 1.2, _STEPS) * np.abs(flat).max():
        codes, error, bits = round_by_rate(flat[some], matters[some], float(step), rate)
        found.append((error + rate * bits, float(step), codes))
    result = []
    for _, step, codes in sorted(found, key=lambda each: each[0])[:most]:
        if codes.size < flat.size:
            prices = rate * lengths(codes)
            codes = cheapest(flat / step, matters * step**2, prices)
        error = _error(codes, flat, matters, step)
        cost = error + rate * entropy_bits(codes)
        result.append(Option(cost, error, step, codes.reshape(weights.shape)))
    return sorted(result, key=lambda option: option.cost)


def _some(count: int) -> slice | NDArray[np.int64]:
    """Places of the elements by which steps are chosen: all, if they are few."""
    if count <= _MOST_TRIED:
        return slice(None)
    return np.random.default_rng(0).integers(0, count, _MOST_TRIED)


def cheapest(exact: Floats, importance: Floats, bits: Floats) -> Codes:
    """Of 0 and the two integers around each number, the one that costs least.

    Args:
        exact: Of any shape, in steps.
        importance: Of the same shape: what an error of one step costs, squared.
        bits: (2 * MOST + 1,), what the integers -MOST ... MOST cost.
    """
    size = np.abs(exact)
    low = np.minimum(size, MOST - 1).astype(np.int16)
    sign = np.where(exact < 0, np.int16(-1), np.int16(1))
    near, far = sign * low, sign * (low + 1)
    none = importance * np.square(size) + bits[MOST]
    below = importance * np.square(size - low) + bits[near + MOST]
    above = importance * np.square(size - low - 1) + bits[far + MOST]
    found = np.where(above < below, far, near)
    return np.where(none <= np.minimum(above, below), np.int16(0), found)


def round_by_rate(
    weights: Floats, importance: Floats, step: float, rate: float
) -> tuple[Codes, float, float]:
    """Integers for weights at one step.

    Args:
        weights: (n,), finite, with |w| <= (MOST + 1/2) * step.
        importance: (n,), what an error of 1 costs, squared; at least 0.
        step: Above 0.
        rate: What a bit costs; 0 rounds to the nearest.

    Returns:
        The integers, int16 (n,); their error, weighted by importance; and the bits that an
        ideal coder takes for them, one after the other without context.
    """
    exact = np.abs(weights) / step
    low = np.minimum(np.floor(exact), MOST - 1)
    sign = np.where(weights < 0, -1, 1).astype(np.int16)
    options = np.stack([np.zeros_like(low), low, low + 1])
    errors = importance * np.square(exact - options) * step**2
    signed = (options * sign).astype(np.int16)
    starts = [np.take_along_axis(signed, errors.argmin(0)[None], 0)[0]]
    if rate > 0:
        starts.append(signed[1])
    found = [
        (_error(codes, weights, importance, step), entropy_bits(codes), codes)
        for start in starts
        for codes in _turns(start, signed, errors, rate)
    ]
    error, bits, codes = min(found, key=lambda each: each[0] + rate * each[1])
    return codes, error, bits


def _turns(codes: Codes, options: Codes, errors: Floats, rate: float) -> Iterator[Codes]:
    """Integers and their frequencies in turns, until they agree."""
    yield codes
    for _ in range(_TURNS if rate > 0 else 0):
        prices = errors + rate * lengths(codes)[options + MOST]
        found = np.take_along_axis(options, prices.argmin(0)[None], 0)[0]
        if np.array_equal(found, codes):
            return
        codes = found
        yield codes


def _error(codes: Codes, weights: Floats, importance: Floats, step: float) -> float:
    return float((importance * np.square(weights - step * codes.astype(np.float64))).sum())


def entropy_bits(codes: Codes) -> float:
    """Bits of an ideal coder that knows how frequent each integer is, and nothing else.

    >>> entropy_bits(np.array([0, 0, 1, -1], np.int16))
    6.0
    """
    counts = np.bincount(codes.reshape(-1).astype(np.int64) + MOST)
    counts = counts[counts > 0]
    return float((counts * np.log2(codes.size / counts)).sum())


def lengths(codes: Codes) -> Floats:
    """Bits of each integer, -MOST to MOST, by how frequent it is among `codes`, of any shape.

    Those that are not there count as if seen once.
    """
    counts = np.bincount(codes.reshape(-1).astype(np.int64) + MOST, minlength=2 * MOST + 1)
    found: Floats = np.log2(codes.size + 1) - np.log2(np.maximum(counts, 1))
    return found
