"""Dimensions: what the positions along an axis are made of.

An axis of n positions is

    a leaf       n positions, of which any can be cut;
    a sum        other dimensions, one after the other: concatenated channels;
    a product    of other dimensions, the last one counting fastest: flattened ones, heads.

Two axes that must lose the same positions are tied: they are one dimension from then on. Where
their forms differ they are refined until they agree: a leaf takes any form, a product is
divided where a sum has a border, and factors of products are divided by each other. Sizes
shrink with each refinement, so that it comes to an end.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Kept = NDArray[np.bool_]


class _Form(Enum):
    LEAF = "leaf"
    SUM = "sum"
    PRODUCT = "product"


class Dim:
    """A dimension; compare roots, since tied ones are the same.

    Attributes:
        size: Positions.
        frozen: Of a leaf: why it must not be cut; "" if it may.
    """

    __slots__ = ("_form", "_parts", "_same", "frozen", "size")

    def __init__(self, size: int, frozen: str = "") -> None:
        self.size, self.frozen = size, frozen
        self._form = _Form.LEAF
        self._parts: tuple[Dim, ...] = ()
        self._same: Dim | None = None

    @property
    def root(self) -> "Dim":
        """What this dimension is by now."""
        found = self
        while found._same is not None:
            if found._same._same is not None:
                found._same = found._same._same  # half as long a way next time
            found = found._same
        return found

    @property
    def is_leaf(self) -> bool:
        """Whether it has no parts."""
        return self.root._form is _Form.LEAF

    @property
    def is_frozen(self) -> bool:
        """Whether no leaf of it may be cut."""
        return all(leaf.frozen for leaf in self.leaves())

    def parts(self) -> list["Dim"]:
        """The terms of a sum, none of which is a sum; else the dimension alone."""
        return self._flat(_Form.SUM)

    def factors(self) -> list["Dim"]:
        """The factors of a product, none of which is one; else the dimension alone."""
        return self._flat(_Form.PRODUCT)

    def _flat(self, form: _Form) -> list["Dim"]:
        """What is of no such form, below dimensions that are."""
        root, found, waiting = self.root, [], [self]
        while waiting:
            each = waiting.pop().root
            if each._form is form:
                waiting += reversed(each._parts)
            else:
                found.append(each)
        if root._form is form:
            root._parts = tuple(found)
        return found

    def leaves(self) -> Iterator["Dim"]:
        """All leaves, in order; one that stands there twice comes twice."""
        waiting = [self]
        while waiting:
            each = waiting.pop().root
            if each._form is _Form.LEAF:
                yield each
            waiting += reversed(each._parts)

    def freeze(self, reason: str) -> None:
        """No leaf of it may be cut from now on."""
        for leaf in self.leaves():
            leaf.frozen = leaf.frozen or reason

    def become(self, form: _Form, parts: Iterable["Dim"]) -> None:
        """Give a leaf parts."""
        root = self.root
        root._form, root._parts = form, tuple(parts)
        if root.frozen:
            for part in root._parts:
                part.freeze(root.frozen)

    def turn_into(self, other: "Dim") -> None:
        """Be the same as another from now on."""
        self.root._same = other.root


def squared(dim: Dim) -> list[Dim]:
    """Leaves that stand in two factors of one product: (i, j) belongs to both i and j."""
    found, waiting = [], [dim]
    while waiting:
        each = waiting.pop().root
        if each._form is _Form.PRODUCT:
            own = [leaf for part in each.factors() for leaf in set(part.leaves())]
            found += [leaf for leaf in set(own) if own.count(leaf) > 1]
        waiting += each._parts
    return found


def total(dims: Iterable[Dim]) -> Dim:
    """Dimensions one after the other; those of no positions are left out."""
    found = [dim.root for dim in dims if dim.size]
    if len(found) == 1:
        return found[0]
    result = Dim(sum(dim.size for dim in found))
    result.become(_Form.SUM, found)
    return result


def product(dims: Iterable[Dim]) -> Dim:
    """All combinations of positions, the last dimension counting fastest."""
    found = [dim.root for dim in dims if dim.size != 1]
    if len(found) == 1:
        return found[0]
    result = Dim(math.prod(dim.size for dim in found))
    if found:
        result.become(_Form.PRODUCT, found)
    return result


def split(dim: Dim, at: int) -> tuple[Dim, Dim]:
    """The positions before `at`, and those from there on."""
    dim = dim.root
    if not 0 < at < dim.size:
        empty = Dim(0)
        return (empty, dim) if at <= 0 else (dim, empty)
    if dim._form is _Form.SUM:
        return _split_sum(dim, at)
    if dim._form is _Form.LEAF:
        left, right = Dim(at), Dim(dim.size - at)
    else:
        left, right = _split_product(dim, at)
    dim.become(_Form.SUM, (left, right))
    return left, right


def _split_sum(dim: Dim, at: int) -> tuple[Dim, Dim]:
    parts, place = dim.parts(), 0
    for i, part in enumerate(parts):
        if at < place + part.size:
            before, after = split(part, at - place)
            return total([*parts[:i], before]), total([after, *parts[i + 1 :]])
        place += part.size
    return dim, Dim(0)


def _split_product(dim: Dim, at: int) -> tuple[Dim, Dim]:
    first, *others = dim.factors()
    rest = product(others)
    whole, more = divmod(at, rest.size)
    low, high = split(first, whole)
    left, right = [product([low, rest])], [product([high, rest])]
    if not low.size:
        left = []
    if more:
        _, high = split(high, 1)
        inner = split(rest, more)
        left.append(inner[0])
        right = [inner[1], *([product([high, rest])] if high.size else [])]
    return total(left), total(right)


def tie(one: Dim, other: Dim) -> None:
    """Let two dimensions lose the same positions.

    Args:
        one: Of the same size as `other`.
        other: Its leaves become those of `one`.
    """
    one, other = one.root, other.root
    if one is other:
        return
    if not other.is_leaf and not one.is_leaf:
        _agree(one, other)
        return
    leaf, kept = (one, other) if one.is_leaf else (other, one)
    if leaf.frozen:
        kept.freeze(leaf.frozen)
    leaf.turn_into(kept)


def _agree(one: Dim, other: Dim) -> None:
    if one._form is _Form.PRODUCT and other._form is _Form.PRODUCT:
        _tie_products(one, other)
    else:
        _tie_at(one, other, [*_borders(one), *_borders(other)])
    if one.root is not other.root:
        one.turn_into(other)


def _borders(dim: Dim) -> list[int]:
    return [int(place) for place in np.cumsum([part.size for part in dim.parts()])[:-1]]


def _tie_at(one: Dim, other: Dim, places: Iterable[int]) -> None:
    """Tie what stands between places, none of which is an end."""
    rising = sorted(set(places))
    for pair in zip(_pieces(one, rising), _pieces(other, rising), strict=True):
        tie(*pair)


def _pieces(dim: Dim, places: Sequence[int]) -> list[Dim]:
    """The positions between places, which rise."""
    found, waiting, done = [], dim.parts()[::-1], 0
    for place in (*places, dim.size):
        own = []
        while done < place:
            before, after = split(waiting.pop(), place - done)
            own.append(before)
            done += before.size
            waiting += after.parts()[::-1] if after.size else []
        found.append(total(own))
    return found


def _tie_products(one: Dim, other: Dim) -> None:
    """Factor by factor, as long as one divides the other; what is left, piece by piece."""
    waiting = [one.factors()[::-1], other.factors()[::-1]]
    while waiting[0] and waiting[1]:
        a, b = (_next(factors) for factors in waiting)
        if a.size == b.size:
            tie(a, b)
            continue
        large, small, place = (a, b, 0) if a.size > b.size else (b, a, 1)
        if large.size % small.size or not large.is_leaf:
            _tie_rest(product([a, *waiting[0][::-1]]), product([b, *waiting[1][::-1]]))
            return
        outer, inner = Dim(small.size), Dim(large.size // small.size)
        large.become(_Form.PRODUCT, (outer, inner))
        tie(outer, small)
        waiting[place].append(inner)


def _next(factors: list[Dim]) -> Dim:
    """Take the next factor; one that is a product by now is divided first."""
    factors += factors.pop().factors()[::-1]
    return factors.pop()


def _tie_rest(one: Dim, other: Dim) -> None:
    """Products whose first factors do not fit are taken for sums over these."""
    if one._form is not _Form.PRODUCT or other._form is not _Form.PRODUCT:
        tie(one, other)
    elif one.is_frozen or other.is_frozen:  # no form is needed then
        frozen, whole = (one, other) if one.is_frozen else (other, one)
        whole.freeze(next(frozen.leaves()).frozen)
    else:
        sums = [dim for dim in (one, other) if _borders(dim.factors()[0])]
        _tie_at(one, other, (place for dim in sums or (one, other) for place in _rows(dim)))


def _rows(dim: Dim) -> list[int]:
    """Where parts of a product's first factor begin, or its positions if it has no parts."""
    first = dim.factors()[0]
    step = dim.size // first.size
    return [step * row for row in _borders(first) or range(1, first.size)]


def kept(dim: Dim, keep: Mapping[Dim, Kept]) -> Kept:
    """Which positions stay, (size,).

    Args:
        dim: Of an axis.
        keep: Of leaves, by root; all others stay whole.
    """
    root = dim.root
    if root._form is _Form.LEAF:
        return keep.get(root, np.ones(root.size, bool))
    parts = [kept(part, keep) for part in root._flat(root._form)]
    if root._form is _Form.SUM:
        return np.concatenate(parts)
    found = parts[0]
    for part in parts[1:]:
        found = np.logical_and.outer(found, part).reshape(-1)
    return found


def count(dim: Dim, counts: Mapping[Dim, int]) -> int:
    """How many positions stay, if of each leaf so many do.

    Args:
        dim: Of an axis.
        counts: Of leaves, by root; all others stay whole.
    """
    root = dim.root
    if root._form is _Form.LEAF:
        return counts.get(root, root.size)
    parts = [count(part, counts) for part in root._parts]
    return sum(parts) if root._form is _Form.SUM else math.prod(parts)


def owners(dim: Dim, leaf: Dim) -> NDArray[np.intp]:
    """The position of a leaf that each position belongs to, (size,); -1 if to none."""
    found = all_owners(dim).get(leaf.root)
    return np.full(dim.size, -1) if found is None else found


def all_owners(dim: Dim) -> dict[Dim, NDArray[np.intp]]:
    """The same of all leaves of a dimension, in order."""
    root = dim.root
    if root._form is _Form.LEAF:
        return {root: np.arange(root.size)}
    found: dict[Dim, NDArray[np.intp]] = {}
    start, before = 0, 1
    for part in root._flat(root._form):
        for leaf, own in all_owners(part).items():
            all_ = found.setdefault(leaf, np.full(root.size, -1))
            if root._form is _Form.SUM:
                all_[start : start + part.size] = own
            else:
                rows = all_.reshape(before, part.size, -1)
                np.maximum(rows, own[:, None], out=rows)
        start, before = start + part.size, before * part.size
    return found
