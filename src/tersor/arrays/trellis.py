"""Rounding along rows, where the price of an integer depends on the one before it.

A coder that adapts knows its neighbours: where weights are 0, another 0 is cheap, and a lone
integer among them dear. Of all integers q of a row, those are found that make

    sum_j h_j (w_j / step - q_j)^2 + bits(q_j after the class of q_(j-1))

smallest, by the Viterbi algorithm: of all ways that end in a class, only the cheapest is
followed. Candidates for an element are the two integers around it, and 0. Classes are 0, a
magnitude of 1, and all larger ones; before the first of a row lies a 0.

Source: Viterbi, "Error bounds for convolutional codes", IEEE Transactions on Information
Theory 13, 1967; for the coefficients of pictures: Wen, Luthra, "Trellis-based R-D optimal
quantization in H.263+", IEEE Transactions on Image Processing 9, 2000.
"""

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.rate_distortion import MOST, Codes, Floats, Option, lengths

CLASSES = 3
_TURNS = 2  # of roundings and how frequent integers are
_PRIOR = 8.0  # occurrences that what is known of all classes together counts for

Classes = NDArray[np.intp]


def class_of(codes: Codes) -> Classes:
    """The class of each integer.

    >>> class_of(np.array([0, -1, 7], np.int16))
    array([0, 1, 2])
    """
    return np.minimum(np.abs(codes), CLASSES - 1).astype(np.intp)


def lengths_after(codes: Codes) -> Floats:
    """Bits of each integer, -MOST to MOST, after one of each class; (CLASSES, 2 * MOST + 1).

    Args:
        codes: (..., k): rows.
    """
    counts = _counts(codes)
    chances = np.exp2(-lengths(codes))
    shares = (counts + _PRIOR * chances) / (counts.sum(1, keepdims=True) + _PRIOR)
    found: Floats = -np.log2(shares)
    return found


def bits_after(codes: Codes) -> float:
    """Bits of rows (..., k) for an ideal coder that knows how often each follows each class.

    >>> round(bits_after(np.array([[0, 0, 1, 0], [1, 0, 0, 0]], np.int16)), 3)
    5.51
    """
    counts = _counts(codes)
    totals = np.broadcast_to(counts.sum(1, keepdims=True), counts.shape)
    there = counts > 0
    found = counts[there] * np.log2(totals[there] / counts[there])
    return float(found.sum())


def _counts(codes: Codes) -> Floats:
    """How often each integer comes after each class, (CLASSES, 2 * MOST + 1)."""
    before = np.zeros(codes.shape, np.intp)
    before[..., 1:] = class_of(codes[..., :-1])
    width = 2 * MOST + 1
    places = before * width + codes + MOST
    counts = np.bincount(places.reshape(-1), minlength=CLASSES * width)
    return counts.reshape(CLASSES, width).astype(np.float64)


def refined(option: Option, weights: Floats, importance: Floats, rate: float) -> Option:
    """The same weights at the same step, rounded along rows; not always cheaper.

    Args:
        option: Of the weights.
        weights: (rows, ...).
        importance: Of the same shape, see `arrays.rate_distortion`.
        rate: What a bit costs.
    """
    rows, step, codes = len(weights), option.step, option.codes.reshape(len(weights), -1)
    exact, felt = (weights / step).reshape(rows, -1), importance.reshape(rows, -1)
    for _ in range(_TURNS):
        codes = round_along_rows(exact, felt * step**2, rate * lengths_after(codes))
    error = float((felt * np.square(step * (exact - codes))).sum())
    return Option(error + rate * bits_after(codes), error, step, codes.reshape(weights.shape))


def round_along_rows(exact: Floats, importance: Floats, bits: Floats) -> Codes:
    """The cheapest integers.

    Args:
        exact: (rows, k), in steps.
        importance: (rows, k): what an error of one step costs, squared.
        bits: (CLASSES, 2 * MOST + 1), what integers cost after each class.
    """
    rows, count = exact.shape
    everyone = np.arange(rows)
    cost = np.full((rows, CLASSES), np.inf)
    cost[:, 0] = 0.0
    chosen = np.zeros((count, rows, CLASSES), np.int16)
    origin = np.zeros((count, rows, CLASSES), np.int8)
    for j in range(count):
        options = _candidates(exact[:, j])
        errors = importance[:, j, None] * np.square(exact[:, j, None] - options)
        ways = cost[:, :, None] + bits[:, options + MOST].swapaxes(0, 1)
        best = ways.argmin(1)
        reached = np.take_along_axis(ways, best[:, None], 1)[:, 0] + errors
        classes = class_of(options)
        cost = np.full((rows, CLASSES), np.inf)
        for candidate in range(options.shape[1]):
            own = classes[:, candidate]
            better = reached[:, candidate] < cost[everyone, own]
            at, to = everyone[better], own[better]
            cost[at, to] = reached[better, candidate]
            chosen[j, at, to] = options[better, candidate]
            origin[j, at, to] = best[better, candidate]
    return _followed(cost.argmin(1), chosen, origin)


def _candidates(exact: Floats) -> Codes:
    """0 and the two integers around each number, (rows, 3)."""
    low = np.minimum(np.abs(exact), MOST - 1).astype(np.int16)
    sign = np.where(exact < 0, np.int16(-1), np.int16(1))
    return np.stack([np.zeros_like(low), sign * low, sign * (low + 1)], 1)


def _followed(last: Classes, chosen: Codes, origin: NDArray[np.int8]) -> Codes:
    """What was chosen on the way to the class that is cheapest in the end."""
    count, rows, _ = chosen.shape
    everyone, state = np.arange(rows), last
    codes = np.empty((rows, count), np.int16)
    for j in range(count - 1, -1, -1):
        codes[:, j] = chosen[j, everyone, state]
        state = origin[j, everyone, state].astype(np.intp)
    return codes
