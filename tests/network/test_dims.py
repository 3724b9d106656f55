"""Dimensions against masks that are worked out position by position."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from tersor.network.dims import Dim, kept, owners, product, split, tie, total

LARGEST = 72  # positions of a product that is tried


@dataclass
class Program:
    """Random steps with dimensions, and what each step says of masks from then on.

    Attributes:
        dims: All that were made or came out of a split.
        laws: Each takes the mask of every dimension and tells whether it is right.
    """

    rng: np.random.Generator
    products: bool
    dims: list[Dim] = field(default_factory=list)
    laws: list[Callable[[Callable[[Dim], np.ndarray]], bool]] = field(default_factory=list)

    def run(self, steps: int) -> None:
        kinds = [self.leaf, self.leaf, self.join, self.divide, self.same, self.same, self.pin]
        kinds += [self.multiply, self.multiply] if self.products else []
        for _ in range(steps):
            self.rng.choice(kinds)()

    def any(self) -> Dim:
        if not self.dims:
            self.leaf()
        return self.dims[self.rng.integers(len(self.dims))]

    def leaf(self) -> None:
        self.dims.append(Dim(int(self.rng.choice([1, 2, 3, 4, 6, 8, 12]))))

    def join(self) -> None:
        parts = [self.any() for _ in range(self.rng.integers(1, 4))]
        whole = total(parts)
        self.dims.append(whole)
        self.laws.append(
            lambda mask: same(mask(whole), np.concatenate([mask(part) for part in parts]))
        )

    def multiply(self) -> None:
        one, other = self.any(), self.any()
        if one.size * other.size <= LARGEST:
            whole = product([one, other])
            self.dims.append(whole)
            self.laws.append(
                lambda mask: same(
                    mask(whole), [a and b for a in mask(one) for b in mask(other)]
                )
            )

    def divide(self) -> None:
        whole = self.any()
        at = int(self.rng.integers(whole.size + 1))
        left, right = split(whole, at)
        self.dims += [part for part in (left, right) if part.size]
        self.laws.append(
            lambda mask: (
                same(mask(left), mask(whole)[:at]) and same(mask(right), mask(whole)[at:])
            )
        )

    def same(self) -> None:
        one = self.any()
        alike = [dim for dim in self.dims if dim.size == one.size]
        other = alike[self.rng.integers(len(alike))]
        tie(one, other)
        self.laws.append(lambda mask: same(mask(one), mask(other)))

    def pin(self) -> None:
        if self.rng.random() < 0.2:
            dim = self.any()
            dim.freeze("pinned")
            self.laws.append(lambda mask: bool(mask(dim).all()))

    def free(self) -> list[Dim]:
        """Leaves that may be cut."""
        leaves = dict.fromkeys(leaf for dim in self.dims for leaf in dim.leaves())
        return [leaf for leaf in leaves if not leaf.frozen]


def same(one, other) -> bool:
    return np.array_equal(np.asarray(one, bool), np.asarray(other, bool))


@pytest.mark.parametrize("products", [False, True])
def test_every_law_holds_whatever_is_cut(products):
    cuts = 0
    for seed in range(150):
        program = Program(np.random.default_rng(seed), products)
        program.run(40)
        for _ in range(3):
            keep = {
                leaf: program.rng.random(leaf.size) < 0.6
                for leaf in program.free()
                if leaf.size > 1
            }
            cuts += sum(not mask.all() for mask in keep.values())
            for law in program.laws:
                assert law(lambda dim, keep=keep: kept(dim, keep)), seed
            assert all(kept(dim, keep).shape == (dim.size,) for dim in program.dims)
    assert cuts > 1000


class Elements:
    """The same steps on single positions: each is an element, and tied ones are united."""

    def __init__(self):
        self.parent = []

    def new(self, count):
        self.parent += range(len(self.parent), len(self.parent) + count)
        return list(range(len(self.parent) - count, len(self.parent)))

    def find(self, element):
        while self.parent[element] != element:
            element = self.parent[element]
        return element

    def unite(self, one, other):
        for a, b in zip(one, other, strict=True):
            self.parent[self.find(a)] = self.find(b)


def test_sums_are_refined_no_further_than_ties_and_borders_ask():
    """What is left to choose: as many positions as there are classes of tied elements."""
    for seed in range(150):
        rng, elements = np.random.default_rng(seed), Elements()
        pairs: list[tuple[Dim, list[int]]] = []
        for _ in range(12):
            size = int(rng.integers(1, 12))
            pairs.append((Dim(size), elements.new(size)))
        for _ in range(25):
            (one, first), (other, second) = (
                pairs[i] for i in rng.integers(len(pairs), size=2)
            )
            at = int(rng.integers(1, one.size + 1))
            left, right = split(one, at)
            pairs += [(left, first[:at]), (total([one, other]), first + second)]
            pairs += [(right, first[at:])] if right.size else []
            alike = [pair for pair in pairs if pair[0].size == one.size]
            other, second = alike[rng.integers(len(alike))]
            tie(one, other)
            elements.unite(first, second)
        leaves = dict.fromkeys(leaf for dim, _ in pairs for leaf in dim.leaves())
        classes = {elements.find(e) for _, own in pairs for e in own}
        assert sum(leaf.size for leaf in leaves) == len(classes)
        keep = {leaf: rng.random(leaf.size) < 0.5 for leaf in leaves}
        stays = {}
        for dim, own in pairs:
            for element, stayed in zip(own, kept(dim, keep), strict=True):
                assert stays.setdefault(elements.find(element), stayed) == stayed


def test_owners_are_the_positions_that_go_with_one_of_a_leaf():
    seen = 0
    for seed in range(60):
        program = Program(np.random.default_rng(seed), products=True)
        program.run(30)
        for dim in program.dims:
            for leaf in dict.fromkeys(dim.leaves()):
                if leaf.size == 1:
                    continue
                gone = int(program.rng.integers(leaf.size))
                keep = {leaf: np.arange(leaf.size) != gone}
                stays, own = kept(dim, keep), owners(dim, leaf)
                assert not stays[own == gone].any()
                assert stays[own == -1].all()
                seen += (own == gone).sum()
    assert seen > 1000


def free(dim):
    """The sizes of leaves that may be cut, in order."""
    return [leaf.size for leaf in dict.fromkeys(dim.leaves()) if not leaf.frozen]


def test_a_flattened_axis_loses_all_pixels_of_a_channel():
    channels, pixels, columns = Dim(5), Dim(4, "it counts positions"), Dim(20)
    tie(columns, product([channels, pixels]))
    assert free(columns) == [5]
    found = kept(columns, {channels.root: np.array([1, 0, 1, 0, 1], bool)})
    assert found.reshape(5, 4).tolist() == [[True] * 4, [False] * 4] * 2 + [[True] * 4]


def test_heads_and_their_widths_are_two_leaves_of_one_axis():
    rows, heads, width = Dim(12), Dim(3), Dim(4)
    tie(product([heads, width]), rows)
    assert free(rows) == [3, 4]
    keep = {heads.root: np.array([1, 0, 1], bool), width.root: np.array([0, 1, 1, 0], bool)}
    assert np.flatnonzero(kept(rows, keep)).tolist() == [1, 2, 9, 10]


def test_queries_keys_and_values_of_one_axis_lose_the_same_heads():
    axis, heads, width = Dim(24), Dim(2), Dim(4)
    tie(axis, product([Dim(3, "one of three"), heads, width]))
    assert free(axis) == [2, 4]
    found = kept(axis, {heads.root: np.array([0, 1], bool)})
    assert found.reshape(3, 2, 4)[:, 0].sum() == 0
    assert found.reshape(3, 2, 4)[:, 1].all()


def test_a_finer_product_divides_a_coarser_one():
    """(6, 2) against (2, 3, 2), and against (3, 4)."""
    six, two = Dim(6), Dim(2)
    tie(product([six, two]), product([Dim(2), Dim(3), Dim(2)]))
    assert free(six) == [2, 3]
    tie(product([Dim(3), Dim(4)]), product([Dim(3), Dim(2), Dim(2)]))
    outer, inner = Dim(3), Dim(4)
    last = Dim(2)
    tie(product([outer, inner]), product([Dim(6), last]))
    assert last.root in set(inner.leaves())


def test_factors_of_later_ties_are_still_seen():
    """A factor that has become a product meanwhile is divided like one."""
    square = Dim(4)
    tie(product([square, square]), product([Dim(2), Dim(2), Dim(2), Dim(2)]))
    assert free(square) == [2, 2]


def test_products_without_a_common_form_are_tied_piece_by_piece():
    """(2, 3) = (3, 2): position by position, the only cuts left are those of all."""
    a, b, c, d = (Dim(n) for n in (2, 3, 3, 2))
    tie(product([a, b]), product([c, d]))
    keep = {leaf: np.zeros(leaf.size, bool) for x in (a, b, c, d) for leaf in x.leaves()}
    assert same(kept(product([a, b]), keep), kept(product([c, d]), keep))


def test_channels_tied_to_their_own_shuffle_still_lose_the_same():
    groups, inner = Dim(2), Dim(6)
    before, after = product([groups, inner]), product([inner, groups])
    tie(before, after)
    rng = np.random.default_rng(0)
    for _ in range(8):
        leaves = [leaf for leaf in dict.fromkeys(before.leaves()) if leaf.size > 1]
        keep = {leaf: rng.random(leaf.size) < 0.5 for leaf in leaves}
        assert same(kept(before, keep), kept(after, keep))
        assert same(kept(after, keep).reshape(6, 2).T.ravel(), kept(before, keep))


def test_a_border_inside_a_group_divides_the_channels_of_every_group():
    """Six and six channels side by side, read by three groups of four."""
    one, other, group, own = Dim(6), Dim(6), Dim(3), Dim(4)
    tie(total([one, other]), product([group, own]))
    keep = {leaf: np.zeros(leaf.size, bool) for leaf in list(own.leaves())[:1]}
    masks = kept(one, keep), kept(other, keep)
    rows = np.concatenate(masks).reshape(3, 4)
    assert same(rows, np.tile(rows[0], (3, 1)))


def test_the_first_reason_stays():
    dim = Dim(4, "it is an input")
    dim.freeze("pinned")
    assert dim.frozen == "it is an input"


@pytest.mark.parametrize("form", ["sum", "product", "split"])
def test_parts_of_a_frozen_leaf_are_frozen_for_its_reason(form):
    leaf = Dim(12, "it is held by a code")
    if form == "split":
        split(leaf, 5)
    else:
        tie(leaf, total([Dim(5), Dim(7)]) if form == "sum" else product([Dim(3), Dim(4)]))
    assert [part.frozen for part in leaf.leaves()] == ["it is held by a code"] * 2
    assert leaf.is_frozen


def test_what_is_frozen_in_part_may_be_cut_elsewhere():
    one, other = Dim(3), Dim(4)
    whole = total([one, other])
    one.freeze("pinned")
    assert not whole.is_frozen
    assert free(whole) == [4]


def test_no_position_and_one_position_disappear_where_they_say_nothing():
    one = Dim(5)
    assert total([Dim(0), one, Dim(0)]) is one
    assert product([Dim(1), one, Dim(1)]) is one
    assert product([]).size == 1
    assert total([]).size == 0


def test_long_dimensions_are_no_matter_of_recursion():
    """Many borders, and products of many positions without a common form."""
    long = Dim(3000)
    for place in range(1, 3000):
        split(long, place)
    assert len(long.parts()) == 3000
    one, other = Dim(3000), Dim(3000)
    tie(one, product([Dim(1000), Dim(3)]))
    tie(other, product([Dim(3), Dim(1000)]))
    tie(one, other)
    assert same(kept(one, {}), np.ones(3000))


def test_many_ties_in_a_row_take_no_longer_each():
    """A dimension that became another one a thousand times is found at once."""
    first = Dim(8)
    for _ in range(3000):
        tie(first, Dim(8))
        tie(Dim(8), first)
    mask = np.arange(8) < 3
    assert same(kept(first, {first.root: mask}), mask)
