"""Rounding weights one after the other, each making up for the errors before it.

A row w of a weight meets inputs x. With H = E x x^T, rounding it to q step costs

    D = s (w - q step)^T H (w - q step),        s: how much the row's result matters.

Columns are rounded in order. What is left of a rounding is taken back by the columns that
are still free, which is best done (Hassibi and Stork) with U, the upper Cholesky factor of
the inverse of H:

    q_j      makes  s (w_j - q step)^2 / U_jj^2 + price * bits(q)  small
    w_(>j)   <-  w_(>j) - (w_j - q_j step) / U_jj * U_(j, >j)

Rounded so, no integer knows those after it. Each is then looked at again, all others being
as they are, as long as that makes D + price * bits smaller (coordinate descent): with
g = s H (w - q step), the best float in its place is q_j step + g_j / (s H_jj).

Inputs may come out of rounded layers themselves. The row that then gives what w gave with
exact inputs y is, by least squares, w + w (E y x^T - H) H^-1: see `regressed`.

Source: Hassibi, Stork, "Second order derivatives for network pruning: optimal brain surgeon",
NeurIPS 1992; Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", arXiv:2210.17323; prices of bits
as in `arrays.rate_distortion`.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.rate_distortion import (
    Codes,
    Floats,
    cheapest,
    entropy_bits,
    lengths,
    options,
)

Mask = NDArray[np.bool_]

_STEPS = (0.8, 1.0, 1.25, 1.6)  # times the best one without compensation
_DAMPING = 0.003  # of the mean of the diagonal: samples do not tell everything
_DAMPINGS = (_DAMPING, 0.03, 0.3, 3.0)  # to choose from where there are few samples
_BLOCK = 64  # columns, after which those behind hear of the errors
_PASSES = 4  # in which each integer is looked at again


class Seen(NamedTuple):
    """What weights meet, on average over samples and positions.

    Attributes:
        own: (groups, k, k), E x x^T of inputs x that come from rounded layers.
        cross: (groups, k, k), E y x^T; y: the same inputs without roundings.
    """

    own: Floats
    cross: Floats


class Rounded(NamedTuple):
    """What became of weights.

    Attributes:
        codes: int16 (groups, rows, k).
        step: Of the codes.
        rest: float64 (groups, rows, free): the columns that are not rounded.
    """

    codes: Codes
    step: float
    rest: Floats


def rounded(
    weights: Floats, seen: Seen, importance: Floats, allowed: Mask, price: float
) -> Rounded:
    """Integers for weights, at the step that is best.

    Args:
        weights: (groups, rows, k + free): the last `free` columns are not rounded.
        seen: What they meet.
        importance: (groups, rows), at least 0.
        allowed: (groups, rows, k): false where the integer must be 0.
        price: What a bit costs.
    """
    count = allowed.shape[2]
    wanted = regressed(weights, seen)
    own = np.diagonal(seen.own, axis1=1, axis2=2)[:, None, :count]
    free = np.where(allowed, wanted[:, :, :count], 0.0)
    alone = options(free, importance[:, :, None] * own, price, most=1)[0]
    upper = factor(seen.own)

    def tried(step: float, like: Codes) -> tuple[float, Rounded]:
        bits = price * lengths(like)
        codes, rest = round_in_turn(wanted, upper, importance, step, bits, allowed)
        left = wanted - np.concatenate([codes * step, rest], 2)
        cost = error_of(left, seen.own, importance) + price * entropy_bits(codes)
        return cost, Rounded(codes, step, rest)

    found = [tried(alone.step * times, alone.codes) for times in _STEPS]
    best = min(found, key=lambda each: each[0])
    again = tried(best[1].step, best[1].codes)  # now that it is known how frequent each is
    last = min(best, again, key=lambda each: each[0])[1]
    return descended(last, wanted, seen.own, importance, price * lengths(last.codes), allowed)


def damped(moments: Floats, damping: float = _DAMPING) -> Floats:
    """Moments (groups, k, k) that have an inverse, however few samples there were."""
    k = moments.shape[-1]
    mean = np.trace(moments, axis1=1, axis2=2) / k
    found: Floats = moments + (damping * mean + 1e-12)[:, None, None] * np.eye(k)
    return found


def regressed(weights: Floats, seen: Seen, damping: float = _DAMPING) -> Floats:
    """The weights that do with rounded inputs what these do with exact ones.

    Args:
        weights: (groups, rows, k).
        seen: What they meet.
        damping: How much stays as it is, over the mean of the diagonal; all if infinite.
    """
    if math.isinf(damping):
        return weights
    change = weights @ (seen.cross - seen.own)
    found = np.linalg.solve(damped(seen.own, damping), change.swapaxes(1, 2))
    best: Floats = weights + found.swapaxes(1, 2)
    return best


def best_damping(weights: Floats, halves: tuple[Seen, Seen]) -> float:
    """The damping with which each half of the samples tells the most of the other.

    With few samples for many inputs an exact fit is a fit of these samples only. Infinite if
    no fit does better than the weights as they are.

    Args:
        weights: (groups, rows, k).
        halves: What they meet, in two halves of the samples.
    """

    def loss(damping: float) -> float:
        total = 0.0
        for seen, unseen in (halves, halves[::-1]):
            change = regressed(weights, seen, damping) - weights
            wanted = weights @ (unseen.cross - unseen.own)
            total += float(np.sum(change * (change @ unseen.own - 2 * wanted)))
        return total

    return min((math.inf, *_DAMPINGS[::-1]), key=loss)


def factor(moments: Floats) -> Floats:
    """U, upper triangular with U^T U the inverse of the damped moments; (groups, k, k)."""
    lower = np.linalg.cholesky(np.linalg.inv(damped(moments)))
    return np.ascontiguousarray(lower.swapaxes(1, 2))


def round_in_turn(
    weights: Floats,
    upper: Floats,
    importance: Floats,
    step: float,
    bits: Floats,
    allowed: Mask,
) -> tuple[Codes, Floats]:
    """Integers for weights at one step, and what becomes of the columns that stay floats.

    Args:
        weights: (groups, rows, k + free): the last `free` columns are not rounded.
        upper: (groups, k + free, k + free), see `factor`.
        importance: (groups, rows), at least 0.
        step: Above 0.
        bits: (2 * MOST + 1,), what the integers -MOST ... MOST cost, times their price.
        allowed: (groups, rows, k): false where the integer must be 0.

    Returns:
        The integers, int16 (groups, rows, k), and the rest, float64 (groups, rows, free).
    """
    work = weights.copy()
    codes: Codes = np.zeros(allowed.shape, np.int16)
    count = allowed.shape[-1]
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty((*work.shape[:2], stop - start))
        for j in range(start, stop):
            own, column = upper[:, j, j][:, None], work[:, :, j]
            chosen = cheapest(column / step, importance * np.square(step / own), bits)
            codes[:, :, j] = chosen = chosen * allowed[:, :, j]
            errors[:, :, j - start] = error = (column - chosen * step) / own
            work[:, :, j + 1 : stop] -= error[:, :, None] * upper[:, j, None, j + 1 : stop]
        work[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return codes, work[:, :, count:]


def descended(
    start: Rounded,
    weights: Floats,
    moments: Floats,
    importance: Floats,
    bits: Floats,
    allowed: Mask,
) -> Rounded:
    """Better integers and floats, each with all others as they are; see `round_in_turn`.

    Args:
        start: What is to be made better.
        weights: (groups, rows, k + free).
        moments: (groups, k + free, k + free).
        importance: (groups, rows), at least 0.
        bits: (2 * MOST + 1,), what the integers -MOST ... MOST cost, times their price.
        allowed: (groups, rows, k): false where the integer must be 0.
    """
    step, count = start.step, allowed.shape[-1]
    felt = damped(moments)
    now = np.concatenate([start.codes * step, start.rest], 2)
    pull = (weights - now) @ felt
    for _ in range(_PASSES):
        before = now.copy()
        for first in range(0, now.shape[2], _BLOCK):
            block = slice(first, first + _BLOCK)
            near, mine = pull[:, :, block].copy(), felt[:, block, block]
            for i in range(near.shape[2]):
                own, values = mine[:, i, i][:, None], now[:, :, first + i]
                found = values + near[:, :, i] / own
                if first + i < count:
                    weighs = importance * own * step**2
                    codes = cheapest(found / step, weighs, bits)
                    found = codes * allowed[:, :, first + i] * step
                near -= (found - values)[:, :, None] * mine[:, i, None]
                now[:, :, first + i] = found
            pull -= (now[:, :, block] - before[:, :, block]) @ felt[:, block]
        if np.array_equal(now, before):
            break
    found = np.rint(now[:, :, :count] / step).astype(np.int16)
    return Rounded(found, step, now[:, :, count:])


def error_of(change: Floats, moments: Floats, importance: Floats) -> float:
    """What changes of weights cost: D, summed over all rows.

    Args:
        change: (groups, rows, k).
        moments: (groups, k, k).
        importance: (groups, rows).
    """
    each = ((change @ moments) * change).sum(2)
    return float((importance * each).sum())
