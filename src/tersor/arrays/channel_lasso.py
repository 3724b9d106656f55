"""Channels chosen by how well the layers that read them do without the others.

A layer gives y = sum_i z_i; of it input channel i gives z_i, the sum of W_(:, a) x_a over its
columns a. The channels to keep are those whose b_i is not 0 in the lasso

    1/2 E |y - sum_i b_i z_i|^2 + penalty sum_i |b_i|

when the penalty has grown until few enough are left. Then the weights of what is kept become
those that give y best, by least squares:

    W'_K = argmin E |y - V x_K|^2 + d |V - W_K|^2,    d: a little, where samples do not tell

All is computed from moments, so that memory does not grow with the number of samples. y is
what the layer gave with exact inputs; x may come out of layers that were changed.

Source: He, Zhang, Sun, "Channel pruning for accelerating very deep neural networks",
arXiv:1707.06168, section 3.1; there, too, weights are fitted once, in the end. Coordinate
descent: Friedman, Hastie, Tibshirani, "Regularization paths for generalized linear models via
coordinate descent", Journal of Statistical Software 33 (2010).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.compensation import Seen
from tersor.arrays.masks import largest

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

_BLOCK = 512  # columns of products at once
_PENALTIES = np.geomspace(1e-5, 1.001, 56)  # times the least one that leaves no channel
_TOLERANCE = 1e-6  # of the penalty
_TURNS = 1000  # at most
_TOGETHER = 4  # turns, of which in one all move together
_RIDGE = 1e-13  # of the trace
_DAMPING = 1e-3  # of the mean of the diagonal


class Contributions(NamedTuple):
    """How what n channels give goes together, and how much of what is wanted it is.

    Attributes:
        gram: (n, n), E z_i . z_j.
        pull: (n,), E y . z_i.
    """

    gram: Floats
    pull: Floats


def contributions(weights: Floats, seen: Seen, channel: Integers, count: int) -> Contributions:
    """What each channel gives to one layer.

    Args:
        weights: (groups, rows, k).
        seen: Moments of the inputs: E x x^T, and E x0 x^T with exact ones, x0; y = W x0.
        channel: (groups, k): the number of each column's channel; below 0 for columns that
            stay in any case, such as the constant that the bias is the weight of.
        count: How many channels there are.
    """
    gram, pull = np.zeros((count, count)), np.zeros(count)
    for own, cross, weight, owner in zip(seen.own, seen.cross, weights, channel, strict=True):
        numbers, place = np.unique(owner, return_inverse=True)
        belongs = np.eye(len(numbers))[place]  # (k, channels of this group)
        products = np.zeros((len(numbers), len(numbers)))
        for start in range(0, len(owner), _BLOCK):
            block = slice(start, start + _BLOCK)
            each = (weight.T @ weight[:, block]) * own[:, block]
            products += (belongs.T @ each) @ belongs[block]
        wanted = belongs.T @ (weight * (weight @ cross)).sum(axis=0)
        wanted -= products[:, numbers < 0].sum(axis=1)
        free = numbers >= 0
        gram[np.ix_(numbers[free], numbers[free])] += products[np.ix_(free, free)]
        pull[numbers[free]] += wanted[free]
    return Contributions(gram, pull)


def joined(parts: Sequence[Contributions]) -> Contributions:
    """What channels give to several layers, each relative to its own E |sum_i z_i|^2."""
    powers = [float(part.gram.sum()) for part in parts]
    weighed = [(p, 1 / power) for p, power in zip(parts, powers, strict=True) if power > 0]
    zero = np.zeros_like(parts[0].gram)
    gram = sum((part.gram * factor for part, factor in weighed), zero)
    return Contributions(gram, sum((p.pull * factor for p, factor in weighed), zero[0]))


def lasso(found: Contributions, penalty: float, start: Floats | None = None) -> Floats:
    """The b, (n,), that makes 1/2 b^T gram b - pull^T b + penalty sum |b_i| least.

    Each coordinate in turn takes its best value, b_i = shrunk(p_i) / gram_ii, with p_i what
    is left of pull_i without it. Channels that are 0 join when their slope asks for it. Where
    channels say nearly the same, that takes long: now and then all that are not 0 move
    together, towards where they are best with the signs that they have.

    Args:
        found: See `contributions`.
        penalty: Above 0.
        start: A solution nearby, (n,).
    """
    own = found.gram.diagonal()
    b = np.zeros(len(own)) if start is None else np.where(own > 0, start, 0.0)
    for turn in range(1, _TURNS + 1):
        left = found.pull - found.gram @ b
        active = b != 0
        off = np.where(active, np.abs(left - penalty * np.sign(b)), np.abs(left) - penalty)
        wrong = (off > _TOLERANCE * penalty) & (own > 0)
        if not wrong.any():
            break
        if turn % _TOGETHER == 0:
            _move_together(found.gram, b, left, penalty)
        else:
            _move_in_turn(found.gram, b, left, penalty, np.flatnonzero(active | wrong))
    return b


def lasso_scores(found: Contributions) -> Floats:
    """For each channel the penalty above which its b stays 0, (n,).

    The m channels of the largest scores are those that are left when the penalty has grown
    until m are. Penalties grow in steps; between two, |p_i| - penalty (see `lasso`), above 0
    where b_i is not 0, is taken for a straight line. Channels that are 0 at all of them follow
    by |p_i| at the smallest.
    """
    penalties = np.abs(found.pull).max(initial=0.0) * _PENALTIES
    if not penalties.any():
        return np.zeros(len(found.pull))
    slopes = np.abs([*_path(found, penalties[:-1]), found.pull])  # b = 0 at the last
    above = slopes - penalties[:, None]
    ever = (above > 0).any(axis=0)
    last = len(penalties) - 1 - (above[::-1] > 0).argmax(axis=0)
    i, at = np.flatnonzero(ever), last[ever]
    share = above[at, i] / (above[at, i] - above[at + 1, i])
    scores: Floats = slopes[0].copy()
    scores[ever] = penalties[at] + share * (penalties[at + 1] - penalties[at])
    return scores


def chosen(found: Contributions, count: int) -> Mask:
    """Which `count` channels stay, (n,); of equal ones the later."""
    return largest(lasso_scores(found), count)


def repaired(weights: Floats, seen: Seen, kept: Mask, damping: float = _DAMPING) -> Floats:
    """The weights of the columns that are kept, so that they best give what all gave.

    Args:
        weights: (groups, rows, k).
        seen: Moments of the inputs, see `contributions`. Those of columns that are not kept
            do not count, but for exact inputs.
        kept: (groups, k).
        damping: d, times the mean of the diagonal of E x_K x_K^T; at least 0.

    Returns:
        (groups, rows, k), zeros in the columns that are not kept.
    """
    found = np.zeros_like(weights)
    for own, cross, weight, stays, result in zip(
        seen.own, seen.cross, weights, kept, found, strict=True
    ):
        some = own[np.ix_(stays, stays)]
        mine = weight[:, stays]
        missing = weight @ cross[:, stays] - mine @ some
        added = damping * np.trace(some) / max(1, len(some)) + 1e-12
        firm = some + added * np.eye(len(some))
        result[:, stays] = mine + np.linalg.solve(firm, missing.T).T
    return found


def _move_in_turn(
    gram: Floats, b: Floats, left: Floats, penalty: float, which: Integers
) -> None:
    """One sweep of coordinate descent over `which`; `left` is pull - gram b."""
    for i in which:
        own = gram[i, i]
        slope = left[i] + own * b[i]
        best = math.copysign(max(abs(slope) - penalty, 0.0), slope) / own
        if best != b[i]:
            left -= (best - b[i]) * gram[i]
            b[i] = best


def _move_together(gram: Floats, b: Floats, left: Floats, penalty: float) -> None:
    """Newton steps of all that are not 0: whoever becomes 0 on the way stays there."""
    while b.any():
        on = np.flatnonzero(b)
        some, values = gram[np.ix_(on, on)], b[on]
        firm = some + _RIDGE * np.trace(some) * np.eye(len(on))
        step = np.linalg.solve(firm, left[on] - penalty * np.sign(values))
        ends = np.full(len(on), np.inf)
        np.divide(-values, step, out=ends, where=values * step < 0)
        first = int(ends.argmin())
        b[on] = values + min(1.0, ends[first]) * step
        if ends[first] > 1:
            break
        b[on[first]] = 0.0
        left -= gram[:, on] @ (b[on] - values)


def _path(found: Contributions, penalties: Floats) -> Iterator[Floats]:
    """The p of the solutions at growing penalties."""
    b = np.ones(len(found.pull))  # as trained: the solution where nothing was changed yet
    for penalty in penalties:
        b = lasso(found, float(penalty), b)
        yield found.pull - found.gram @ b + found.gram.diagonal() * b
