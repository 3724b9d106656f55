"""k-means of numbers: few values that stand for many, in one dimension.

    distortion = sum_i h_i (x_i - c(x_i))^2,   c(x) the centroid next to x

h weighs the elements: 1, or how much the loss minds (the diagonal of its Hessian). One
centroid may be pinned at 0.

Lloyd's iteration works on the sorted numbers: clusters are intervals between the middles of
neighbouring centroids, and their means come from prefix sums, so that an iteration of k
centroids over n numbers takes k log n steps after one sort. It ends in a local optimum, which
depends on the start:

    linear    evenly over the range
    density   evenly over the cumulative distribution
    random    k elements, drawn by their weights

"exact" is the optimum. With D_j(b) the least distortion of the b smallest numbers by j
clusters, and S(a, b) that of the numbers from a to b by their mean,

    D_j(b) = min_a D_{j-1}(a) + S(a, b),

where the best a never falls as b grows: each layer is found by halving, in n log n steps. With
a centroid at 0, no other cluster reaches over 0; so both sides are solved by themselves, with
D_0(b) the distortion of the b numbers nearest to 0 by 0, and the centroids divided in the best
way. Above 16,384 distinct numbers, neighbours are merged first, finest where the best
centroids lie close (steps of d^(2/3) for gaps d between numbers: Panter, Dite, Proc. IRE 39,
1951), and Lloyd's iteration on all of them follows; this is no longer exactly the optimum.

Sources: Han, Mao, Dally, "Deep Compression", arXiv:1510.00149, section 3.2 (starts); Wu,
"Optimal quantization by matrix searching", Journal of Algorithms 12, 1991; Gronlund et al.,
"Fast exact k-means, k-medians and Bregman divergence clustering in 1D", arXiv:1701.07204;
Choi, El-Khamy, Lee, "Towards the limit of network quantization", arXiv:1612.01543 (weights).
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tersor.errors import InputError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

STARTS = ("linear", "density", "random", "exact")
_LARGEST_EXACT = 2**14  # distinct numbers
_MOST_ITERATIONS = 300
_NOTHING = 1e-300  # the weight of no numbers, so that their distortion is 0


def kmeans(
    values: NDArray[Any],
    count: int,
    *,
    start: str = "exact",
    weights: NDArray[Any] | None = None,
    zero: bool = False,
    seed: int = 0,
) -> Floats:
    """At most `count` centroids for some numbers, ascending.

    Args:
        values: Any shape; finite.
        count: How many centroids, that of 0 included; 1 or more.
        start: One of STARTS.
        weights: How much each element counts, 0 or more; of the shape of `values`.
        zero: Whether one centroid is 0.
        seed: Of the random start.

    Raises:
        InputError: A number is not finite, or a setting is out of range.

    >>> kmeans(np.array([0.0, 0.1, 5.0, 5.5, -3.0]), 3)
    array([-3.  ,  0.05,  5.25])
    """
    if start not in STARTS:
        raise InputError("start", got=start, allowed="one of " + ", ".join(STARTS))
    if count < 1:
        raise InputError("count", got=count, allowed="1 or more")
    numbers = _Numbers.of(values, weights)
    if count - zero < 1:
        return np.zeros(1)
    if start != "exact":
        begin = _start_with_zero if zero else _start
        return _lloyd(numbers, begin(numbers, count, start, seed), zero=zero)
    merged = numbers.merged(_LARGEST_EXACT)
    centroids = _with_zero(merged, count) if zero else _optimum(merged, count)
    return centroids if merged is numbers else _lloyd(numbers, centroids, zero=zero)


def distortion(
    values: NDArray[Any], centroids: NDArray[Any], weights: NDArray[Any] | None = None
) -> float:
    """The weighted sum of squared distances to the next centroid.

    >>> distortion(np.array([1.0, 2.0, 5.0]), np.array([1.0, 4.0]))
    2.0
    """
    x, table = np.asarray(values, np.float64), np.sort(np.asarray(centroids, np.float64))
    nearest = table[np.searchsorted((table[1:] + table[:-1]) / 2, x)]
    squares = (x - nearest) ** 2
    return float((squares if weights is None else squares * weights).sum())


@dataclass(frozen=True)
class _Numbers:
    """Distinct numbers, ascending, their weights, and sums of all before each.

    Attributes:
        x: The numbers.
        h: Their weights, above 0.
        sums: Of h, h x and h x^2 over the first 0, 1, ... numbers; shape (3, n + 1).
    """

    x: Floats
    h: Floats
    sums: Floats

    @classmethod
    def of(cls, values: NDArray[Any], weights: NDArray[Any] | None) -> Self:
        x = np.asarray(values, np.float64).reshape(-1)
        if not x.size or not np.isfinite(x).all():
            raise InputError("values", got=x.size, allowed="one or more finite numbers")
        h = np.ones(x.size)
        if weights is not None:
            h = np.asarray(weights, np.float64).reshape(-1)
            if h.shape != x.shape or not np.isfinite(h).all() or not (h >= 0).all():
                allowed = f"{x.size} finite numbers of 0 or more"
                raise InputError("weights", got=h.size, allowed=allowed)
        if not h.any():
            h = np.ones(x.size)
        distinct, place = np.unique(x[h > 0], return_inverse=True)
        return cls.summed(distinct, _per_place(place, h[h > 0]))

    @classmethod
    def summed(cls, x: Floats, h: Floats) -> Self:
        rows = np.stack([h, h * x, h * x * x])
        sums = np.zeros((3, x.size + 1))
        np.cumsum(rows, axis=1, out=sums[:, 1:])
        return cls(x, h, sums)

    def merged(self, most: int) -> Self:
        """At most so many: neighbours that lie close become their mean. Signs stay apart."""
        if self.x.size <= most:
            return self
        steps = np.cumsum(np.diff(self.x, prepend=self.x[0]) ** (2 / 3))
        group = np.floor(steps * ((most - 4) / steps[-1])).astype(np.int64)
        key = 3 * group + np.sign(self.x).astype(np.int64) + 1
        _, place = np.unique(key, return_inverse=True)
        h = _per_place(place, self.h)
        return type(self).summed(_per_place(place, self.h * self.x) / h, h)

    def part(self, keep: NDArray[np.bool_]) -> Self:
        """Those of a mask."""
        return type(self).summed(self.x[keep], self.h[keep])

    def means(self, cuts: Indices) -> Floats:
        """Means between neighbouring cuts, which must not be empty."""
        totals = np.diff(self.sums[:2, cuts], axis=1)
        found: Floats = totals[1] / totals[0]
        return found


def _per_place(place: NDArray[np.intp], weights: Floats) -> Floats:
    """The sum of the weights at each place."""
    return np.bincount(place, weights).astype(np.float64)


def _start_with_zero(numbers: _Numbers, count: int, start: str, seed: int) -> Floats:
    """Where Lloyd's iteration begins: 0, and a start for the others."""
    others = numbers.part(numbers.x != 0)
    if not others.x.size:
        return np.zeros(1)
    return np.union1d(_start(others, count - 1, start, seed), 0.0)


def _start(numbers: _Numbers, count: int, start: str, seed: int) -> Floats:
    """Where Lloyd's iteration begins."""
    x, shares = numbers.x, numbers.h / numbers.sums[0, -1]
    if start == "linear":
        return np.linspace(x[0], x[-1], count)
    if start == "random":
        drawn = np.random.default_rng(seed).choice(
            x.size, min(count, x.size), replace=False, p=shares
        )
        return np.sort(x[drawn])
    wanted = (np.arange(count) + 0.5) / count
    return np.unique(x[np.searchsorted(np.cumsum(shares)[:-1], wanted)])


def _lloyd(numbers: _Numbers, centroids: Floats, *, zero: bool) -> Floats:
    """The local optimum that a start leads to; clusters that are empty go."""
    last: Indices | None = None
    for _ in range(_MOST_ITERATIONS):
        inner = np.searchsorted(numbers.x, (centroids[1:] + centroids[:-1]) / 2, "right")
        cuts = np.concatenate([[0], inner, [numbers.x.size]])
        if last is not None and np.array_equal(cuts, last):
            break
        last, pinned = cuts, zero & (centroids == 0)
        filled = (np.diff(cuts) > 0) | pinned
        totals = np.diff(numbers.sums[:2, cuts], axis=1)[:, filled]
        weight = np.where(pinned[filled], 1.0, totals[0])
        centroids = np.where(pinned[filled], 0.0, totals[1] / weight)
    return centroids


def _optimum(numbers: _Numbers, count: int) -> Floats:
    """The centroids of least distortion."""
    if numbers.x.size <= count:
        return numbers.x
    sums = _centred(numbers)
    first = sums[2] - sums[1] ** 2 / np.maximum(sums[0], _NOTHING)
    layers = _Layers(sums, np.maximum(first, 0.0))
    layers.add(count - 1)
    return numbers.means(np.union1d(0, layers.cuts(count - 1)))


def _with_zero(numbers: _Numbers, count: int) -> Floats:
    """The centroids of least distortion, one of them 0."""
    sides = []
    for sign in (-1, 1):
        keep = sign * numbers.x > 0
        side = _Numbers.summed(sign * numbers.x[keep][::sign], numbers.h[keep][::sign])
        layers = _Layers(_centred(side), side.sums[2])
        layers.add(min(count - 1, side.x.size))
        sides.append((sign, side, layers))
    below, above = (np.array(layers.totals) for _, _, layers in sides)
    best = min(
        (float(below[j] + above[i]), j, i)
        for j in range(below.size)
        for i in [min(count - 1 - j, above.size - 1)]
    )
    found = [np.zeros(1)]
    for (sign, side, layers), clusters in zip(sides, best[1:], strict=True):
        found.append(sign * side.means(layers.cuts(clusters)))
    return np.sort(np.concatenate(found))


def _centred(numbers: _Numbers) -> Floats:
    """Sums of the numbers less their mean, so that no digits are lost in differences."""
    if not numbers.x.size:
        return numbers.sums
    mean = numbers.sums[1, -1] / numbers.sums[0, -1]
    return _Numbers.summed(numbers.x - mean, numbers.h).sums


class _Layers:
    """D_j(b) for j = 0, 1, ..., and how it comes about.

    Attributes:
        totals: D_j of all numbers, by j.
    """

    def __init__(self, sums: Floats, first: Floats) -> None:
        """Begin with D_0 = `first`."""
        self._sums, self._last = sums, first
        self._origins: list[Indices] = []
        self.totals = [float(first[-1])]

    def add(self, count: int) -> None:
        """So many layers more."""
        for _ in range(count):
            self._last, origin = self._layer(self._last)
            self._origins.append(origin.astype(np.int32))
            self.totals.append(float(self._last[-1]))

    def cuts(self, clusters: int) -> Indices:
        """Where the first D_0 ends and so many clusters after it; none of them is empty."""
        cuts = [self._last.size - 1]
        for origin in reversed(self._origins[:clusters]):
            cuts.append(int(origin[cuts[-1]]))
        return np.unique(np.array(cuts))

    def _layer(self, before: Floats) -> tuple[Floats, Indices]:
        """D_j of D_{j-1}, and for each b the a of which it is made, the smallest one."""
        size, rest = before.size, before - self._sums[2]
        best, origin = before.copy(), np.zeros(size, np.int64)
        step = 1 << (size - 1).bit_length()
        while step > 1:
            half = step // 2
            b = np.arange(half, size, step)
            after = np.minimum(b + half, size - 1)
            high = np.minimum(np.where(b + half < size, origin[after], size - 1), b)
            best[b], origin[b] = self._solved(rest, b, origin[b - half], high)
            step = half
        return best, origin

    def _solved(
        self, rest: Floats, b: Indices, low: Indices, high: Indices
    ) -> tuple[Floats, Indices]:
        """The least D_{j-1}(a) + S(a, b) for a in [low, high], and a.

        Args:
            rest: D_{j-1}(a) less the sum of h x^2 before a, by a.
            b: Of shape (m,).
            low: Of shape (m,), at most b.
            high: Of shape (m,), at least `low` and at most b.
        """
        weights, firsts, seconds = self._sums
        counts = high - low + 1
        starts = np.cumsum(counts) - counts
        a = np.arange(int(counts.sum())) + np.repeat(low - starts, counts)
        cost = np.repeat(firsts[b], counts)
        cost -= firsts[a]
        cost *= cost
        weight = np.repeat(weights[b], counts)
        weight -= weights[a]
        np.maximum(weight, _NOTHING, out=weight)
        cost /= weight
        np.subtract(rest[a], cost, out=cost)
        least = np.minimum.reduceat(cost, starts)
        hits = np.flatnonzero(cost == np.repeat(least, counts))
        return least + seconds[b], a[hits[np.searchsorted(hits, starts)]]
