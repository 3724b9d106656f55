"""Optimal brain surgeon: weights become 0, and those that are left make up for it.

A row w of a weight meets inputs x. With H = E x x^T, changing it to v costs

    D = (w - v)^T H (w - v),

the mean square of what changes in the row's output. Of all v with v_p = 0 the best costs L_p:

    L_p = w_p^2 / [H^-1]_pp,      v = w - w_p / [H^-1]_pp * H^-1 e_p.

Exact form, for each row by itself: the weight of smallest L goes, and its row and column are
eliminated from H^-1, again and again. That is a Cholesky factorization whose pivots are chosen
by L: after t steps the column p of what is left of the inverse is

    c = H^-1 e_p - sum_(s <= t) l_s l_s,p,      l_(t+1) = c / sqrt(c_p),

so that only H^-1, which all rows share, and the vectors l of each row are held: rows * k^3 / 2
products for rows of k weights, where updates of inverses take rows * k^3. Of all rows those
removals are done that cost least, each after those before it in its row.

Swept form, for large weights, rows * k^2 products: all rows share U, the upper Cholesky factor
of H^-1, and columns go in order. L_p = w_p^2 / U_pp^2 chooses what goes in the next columns,
over all rows, once the columns before are settled; only columns behind make up for it:

    w_(>=j)  <-  w_(>=j) - w_j / U_jj * U_(j, >=j)      where w_j goes.

Then all that is left is the least squares solution for these zeros, found by conjugate
gradients, all rows at once: (H v)_p = (H w)_p at each p that stays. Where inputs come out of
layers that were pruned, w are weights that do with them what the given ones do with exact
inputs, see `compensation.regressed`.

Measured, layers of ResNet-20 at 70 % zeros, all refitted: the exact form leaves 0.57 of the
error of the swept form (the median; at most 0.81), and keeping the largest weights 1.03.

Source: Hassibi, Stork, "Second order derivatives for network pruning: optimal brain surgeon",
NeurIPS 1992; exact: Frantar, Singh, Alistarh, "Optimal brain compression", arXiv:2208.11580,
sections 4 and 5, algorithms 1 and 2; swept: Frantar, Alistarh, "SparseGPT", arXiv:2301.00774,
algorithm 1; n of m: section 3.3 there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.compensation import Seen, damped, factor, regressed
from tersor.arrays.masks import largest, largest_of_each
from tersor.arrays.rate_distortion import Floats

Mask = NDArray[np.bool_]
Integers = NDArray[np.intp]

_EXACT = 1e11  # rows * k^3 up to which the exact form is taken: some 15 s on one core
_BYTES = 32 << 20  # of vectors l that are held at once; they are read again in each step
_BLOCK = 128  # columns, whose zeros are chosen at once, and after which those behind hear
_TINY = 1e-30
_ROUNDS = 200  # of conjugate gradients
_CONVERGED = 1e-14  # of the squared residual at first


class Pattern(NamedTuple):
    """Where zeros may be.

    Attributes:
        sparsity: The fraction of zeros, in [0, 1), wherever they cost least.
        n: How many weights stay ...
        m: ... of that many, one after the other in a row; 0: sparsity counts.
    """

    sparsity: float = 0.5
    n: int = 0
    m: int = 0


class Removals(NamedTuple):
    """In which order the weights of each row go.

    Attributes:
        places: (groups, rows, steps): the column that goes at each step.
        losses: float64 (groups, rows, steps): what D grows by; -1 for weights that are 0
            anyway, infinity where nothing is left that may go.
    """

    places: Integers
    losses: Floats


class Pruned(NamedTuple):
    """What became of weights.

    Attributes:
        weights: float64 (groups, rows, k + free), with zeros.
        mask: (groups, rows, k): false where they are.
    """

    weights: Floats
    mask: Mask


def pruned(weights: Floats, seen: Seen, allowed: Mask, pattern: Pattern) -> Pruned:
    """Weights with zeros, and all others such that outputs change little.

    Args:
        weights: (groups, rows, k + free): the last `free` columns all stay.
        seen: What they meet.
        allowed: (groups, rows, k): false where the weight is to be 0 anyway.
        pattern: Where zeros may be; m, if it counts, divides k.
    """
    wanted = regressed(weights, seen)
    if weights[:, :, 0].size * weights.shape[2] ** 3 <= _EXACT:
        order = removals(wanted, seen.own, allowed, pattern)
        start, mask = wanted, mask_of(order, allowed, pattern)
    else:
        start, mask = swept(wanted, seen.own, allowed, pattern)
    return Pruned(refitted(start, wanted, seen.own, mask), mask)


def removals(weights: Floats, moments: Floats, allowed: Mask, pattern: Pattern) -> Removals:
    """The exact form: in each row, whatever costs least goes next, until all is gone.

    Args:
        weights: (groups, rows, k + free): the last `free` columns all stay.
        moments: (groups, k + free, k + free), H before it is damped.
        allowed: (groups, rows, k): false where the weight is to be 0 anyway: these go first.
        pattern: With m: until the pattern is reached.
    """
    groups, rows, width = weights.shape
    inverse = np.linalg.inv(damped(moments))
    inverse = (inverse + inverse.swapaxes(1, 2)) / 2
    flat, zeros = weights.reshape(-1, width), ~allowed.reshape(-1, allowed.shape[2])
    steps = int(_steps(zeros, pattern).max())
    places = np.zeros((len(flat), steps), np.intp)
    losses = np.full((len(flat), steps), np.inf)
    most = max(1, _BYTES // (8 * width * max(1, steps)))
    for start in range(0, len(flat), most):
        part = slice(start, start + most)
        rest = _Rest(flat[part], inverse, np.arange(len(flat))[part] // rows, steps)
        choice = _Choice(zeros[part], pattern)
        for step in range(steps):
            where, loss = choice.cheapest(rest.losses(zeros.shape[1]))
            rest.remove(where, np.isfinite(loss))
            places[part, step], losses[part, step] = where, loss
    shape = (groups, rows, steps)
    return Removals(places.reshape(shape), losses.reshape(shape))


def mask_of(order: Removals, allowed: Mask, pattern: Pattern) -> Mask:
    """Which weights stay: over all rows, what costs least goes, each row in its order.

    Args:
        order: Of the same weights.
        allowed: (groups, rows, k): false where the weight is to be 0 anyway.
        pattern: With m all removals are done.
    """
    count = np.isfinite(order.losses).sum()
    if not pattern.m:
        count = _count(allowed, pattern.sparsity)
    reached = np.maximum.accumulate(order.losses, 2)
    gone = np.zeros(reached.size, bool)
    gone[np.argsort(reached, axis=None, kind="stable")[:count]] = True
    group, row, step = np.nonzero(gone.reshape(reached.shape))
    mask: Mask = allowed.copy()
    mask[group, row, order.places[group, row, step]] = False
    return mask


def swept(weights: Floats, moments: Floats, allowed: Mask, pattern: Pattern) -> Pruned:
    """The swept form: columns in order, those behind make up for those before.

    Args:
        weights: (groups, rows, k + free): the last `free` columns all stay.
        moments: (groups, k + free, k + free), H before it is damped.
        allowed: (groups, rows, k): false where the weight is to be 0 anyway.
        pattern: Where zeros may be; m, if it counts, divides k.
    """
    upper, work, mask = factor(moments), weights.copy(), allowed.copy()
    own = np.diagonal(upper, axis1=1, axis2=2)[:, None]
    count = allowed.shape[2]
    size = pattern.m or _BLOCK
    block = max(1, _BLOCK // size) * size
    for start in range(0, count, block):
        stop = min(start + block, count)
        errors = np.empty((*work.shape[:2], stop - start))
        for j in range(start, stop):
            if j % size == 0:
                end = min(j + size, count)
                scores = np.square(work[:, :, j:end] / own[:, :, j:end])
                gone = _count(allowed[:, :, :end], pattern.sparsity) - (~mask[:, :, :j]).sum()
                mask[:, :, j:end] = _stay(scores, allowed[:, :, j:end], gone, pattern)
            error = np.where(mask[:, :, j], 0.0, work[:, :, j] / own[:, :, j])
            errors[:, :, j - start] = error
            work[:, :, j:stop] -= error[:, :, None] * upper[:, j, None, j:stop]
        work[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    work[:, :, :count] *= mask
    return Pruned(work, mask)


def refitted(start: Floats, weights: Floats, moments: Floats, mask: Mask) -> Floats:
    """The weights with these zeros that change outputs least: least squares.

    Args:
        start: (groups, rows, k + free): weights to begin with; what they are under the mask
            does not matter.
        weights: (groups, rows, k + free), without zeros.
        moments: (groups, k + free, k + free), H before it is damped.
        mask: (groups, rows, k): false where zeros are.
    """
    felt, stays = damped(moments), np.ones(weights.shape, bool)
    stays[:, :, : mask.shape[2]] = mask
    own = np.diagonal(felt, axis1=1, axis2=2)[:, None]
    found: Floats = start * stays
    left = ((weights - found) @ felt) * stays
    step = left / own
    now = first = (left * step).sum(2)
    for _ in range(_ROUNDS):
        if (now <= _CONVERGED * first).all():
            break
        pull = (step @ felt) * stays
        length = _ratio(now, (step * pull).sum(2))
        found += length * step
        left -= length * pull
        before, now = now, (np.square(left) / own).sum(2)
        step = left / own + _ratio(now, before) * step
    return found


class _Rest:
    """Rows of which weights were removed, and what is left of their inverses.

    Attributes:
        weights: (rows, k + free), as they are now.
        diagonal: (rows, k + free), of the inverse of each row.
    """

    def __init__(self, weights: Floats, inverse: Floats, home: Integers, steps: int) -> None:
        """All are there; `home` tells the group of each row."""
        self.weights = weights.copy()
        self.diagonal = np.diagonal(inverse, axis1=1, axis2=2)[home].copy()
        self._inverse, self._home = inverse, home
        self._rows, self._step = np.arange(len(weights)), 0
        self._vectors = np.empty((len(weights), steps, weights.shape[1]))

    def losses(self, count: int) -> Floats:
        """What it costs to remove each of the first `count` weights."""
        found: Floats = np.square(self.weights[:, :count]) / self.diagonal[:, :count]
        return found

    def remove(self, where: Integers, does: Mask) -> None:
        """Take one weight out of each row, where it `does` lose one."""
        step, rows = self._step, self._rows
        column = self._inverse[self._home, where]
        if step:
            before = self._vectors[:, :step]
            shares = before[rows, :, where][:, None]
            column -= np.matmul(shares, before)[:, 0]
        pivot = np.maximum(column[rows, where], _TINY)
        vector = column * (does / np.sqrt(pivot))[:, None]
        self.weights -= (self.weights[rows, where] / np.sqrt(pivot))[:, None] * vector
        self.diagonal = np.maximum(self.diagonal - np.square(vector), _TINY)
        self._vectors[:, step] = vector
        self._step += 1


class _Choice:
    """What may still go, of each row."""

    def __init__(self, zeros: Mask, pattern: Pattern) -> None:
        """`zeros`: (rows, k), true for weights that go first, whatever the pattern."""
        self._size, staying = _groups(zeros, pattern)
        self._zeros, self._left = zeros.copy(), np.ones(zeros.shape, bool)
        self._room = self._size - staying - _sums(zeros, self._size)
        self._rows = np.arange(len(zeros))

    def cheapest(self, losses: Floats) -> tuple[Integers, Floats]:
        """The column that goes next, and its loss; infinity where there is none.

        Args:
            losses: (rows, k).
        """
        may = self._left & np.repeat(self._room > 0, self._size, 1)
        costs = np.where(self._zeros, -1.0, np.where(may, losses, np.inf))
        where = costs.argmin(1)
        at = self._rows, where
        found: Floats = costs[at]
        self._room[self._rows, where // self._size] -= np.isfinite(found) & ~self._zeros[at]
        self._zeros[at] = self._left[at] = False
        return where, found


def _ratio(above: Floats, below: Floats) -> Floats:
    """Of each row, (groups, rows, 1); 0 where there is nothing left to divide by."""
    found: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return found[:, :, None]


def _groups(zeros: Mask, pattern: Pattern) -> tuple[int, int]:
    """How many weights one after the other are a group, and how many of them stay at least."""
    return (pattern.m, pattern.n) if pattern.m else (zeros.shape[-1], 0)


def _sums(values: Mask, size: int) -> Integers:
    """Of each group of `size` along the last axis."""
    found: Integers = values.reshape(*values.shape[:-1], -1, size).sum(-1)
    return found


def _steps(zeros: Mask, pattern: Pattern) -> Integers:
    """How many weights of each row may go."""
    size, staying = _groups(zeros, pattern)
    found: Integers = np.maximum(_sums(zeros, size), size - staying).sum(-1)
    return found


def _count(allowed: Mask, sparsity: float) -> int:
    """How many zeros there are to be; at least one weight stays, unless none is allowed."""
    wanted = min(round(sparsity * allowed.size), allowed.size - 1)
    return max(wanted, int((~allowed).sum()))


def _stay(scores: Floats, allowed: Mask, gone: int, pattern: Pattern) -> Mask:
    """Which of the next columns stay.

    Args:
        scores: (groups, rows, columns), at least 0.
        allowed: Of the same shape: false where the weight is to be 0 anyway.
        gone: How many of them go, where m does not count.
        pattern: Where zeros may be.
    """
    scores = np.where(allowed, scores, -1.0)
    if pattern.m:
        return largest_of_each(scores, pattern.n) & allowed
    return largest(scores, scores.size - gone) & allowed
