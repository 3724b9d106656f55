"""Zeros that other weights make up for: what they must be by their definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.arrays import surgeon
from tersor.arrays.compensation import Seen, damped, error_of
from tersor.arrays.masks import largest_of_each
from tersor.arrays.surgeon import (
    Pattern,
    Removals,
    mask_of,
    pruned,
    refitted,
    removals,
    swept,
)

SEEDS = st.integers(0, 10_000)
PATTERNS = [Pattern(0.5), Pattern(0.8), Pattern(n=1, m=2), Pattern(n=2, m=4)]


def inputs(seed, k=6, groups=2, count=400):
    """Correlated rows, (groups, count, k)."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(groups, count, k)) @ rng.normal(size=(groups, k, k))
    return mixed + rng.normal(size=(groups, 1, k))


def moments(y, x):
    return y.swapaxes(1, 2) @ x / x.shape[1]


def weights(seed, rows=3, k=6, groups=2):
    return np.random.default_rng(seed + 1000).normal(size=(groups, rows, k))


def everywhere(values, free=0):
    return np.ones((*values.shape[:2], values.shape[2] - free), bool)


def some(values, part, seed=0):
    return np.random.default_rng(seed).uniform(size=values.shape) < part


def best(row, felt, gone):
    """The row with these zeros that costs least, and what it costs: least squares."""
    left = [i for i in range(len(row)) if i not in gone]
    found = np.zeros(len(row))
    found[left] = np.linalg.solve(felt[np.ix_(left, left)], (felt @ row)[left])
    change = row - found
    return found, change @ felt @ change


def each_row(values):
    return itertools.product(range(values.shape[0]), range(values.shape[1]))


def test_one_removal_is_the_closed_form_and_least_squares_over_what_is_left():
    x, given = inputs(0), weights(0)
    own = moments(x, x)
    order = removals(given, own, everywhere(given), Pattern())
    for group, row in each_row(given):
        felt, w = damped(own)[group], given[group, row]
        p, inverse = order.places[group, row, 0], np.linalg.inv(felt)
        mask = everywhere(given)
        mask[group, row, p] = False
        found = refitted(given, given, own, mask)[group, row]
        np.testing.assert_allclose(found, w - w[p] / inverse[p, p] * inverse[:, p], atol=1e-6)
        expected, cost = best(w, felt, [p])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert order.losses[group, row, 0] == pytest.approx(cost)
        assert cost == pytest.approx(min(best(w, felt, [i])[1] for i in range(6)))


def greedy(row, felt, zeros, closed):
    """Column after column whose removal makes the least squares error smallest."""
    gone, before = [], 0.0
    pending = list(np.flatnonzero(zeros))
    while True:
        able = [pending[0]] if pending else [
            i for i in range(len(zeros)) if i not in gone and not closed([*gone, i])
        ]  # fmt: skip
        if not able:
            return gone
        costs = [best(row, felt, [*gone, i])[1] for i in able]
        gone.append(able[int(np.argmin(costs))])
        yield gone[-1], -1 if pending else min(costs) - before
        before, pending = min(costs), pending[1:]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, free=st.integers(0, 1), part=st.sampled_from([1.0, 0.7]))
def test_in_each_row_the_next_is_the_cheapest_of_all(seed, free, part):
    x, given = inputs(seed), weights(seed)
    own, allowed = moments(x, x), some(everywhere(given, free), part, seed)
    order = removals(given, own, allowed, Pattern())
    for group, row in each_row(given):
        zeros = ~allowed[group, row]
        expected = list(greedy(given[group, row], damped(own)[group], zeros, lambda _: False))
        places, losses = zip(*expected, strict=True)
        assert order.places[group, row].tolist() == list(places)
        np.testing.assert_allclose(order.losses[group, row], losses, rtol=1e-5, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 2), part=st.sampled_from([1.0, 0.6]))
def test_of_every_three_the_cheapest_go_until_n_are_left(seed, n, part):
    x, given = inputs(seed), weights(seed)
    own, allowed = moments(x, x), some(everywhere(given), part, seed)
    pattern = Pattern(n=n, m=3)
    mask = mask_of(removals(given, own, allowed, pattern), allowed, pattern)
    for group, row in each_row(given):
        zeros = ~allowed[group, row]

        def closed(gone, zeros=zeros):
            lost = [sum(zeros[i] or i in gone for i in range(s, s + 3)) for s in (0, 3)]
            before = [zeros[s : s + 3].sum() for s in (0, 3)]
            return any(a > max(b, 3 - n) for a, b in zip(lost, before, strict=True))

        steps = greedy(given[group, row], damped(own)[group], zeros, closed)
        gone = {place for place, _ in steps}
        assert set(np.flatnonzero(~mask[group, row])) == gone
    assert (mask.reshape(2, 3, 2, 3).sum(3) <= n).all()
    if part == 1.0:
        assert (mask.reshape(2, 3, 2, 3).sum(3) == n).all()


def test_parts_of_the_rows_change_nothing(monkeypatch):
    x, given = inputs(3, k=12), weights(3, rows=7, k=12)
    own, allowed = moments(x, x), some(everywhere(given), 0.9)
    whole = removals(given, own, allowed, Pattern())
    monkeypatch.setattr(surgeon, "_BYTES", 5 * 8 * 12 * 12)  # of five rows
    parts = removals(given, own, allowed, Pattern())
    assert np.array_equal(whole.places, parts.places)
    np.testing.assert_allclose(whole.losses, parts.losses, rtol=1e-9)


def test_rows_lose_what_is_cheapest_of_all_rows_each_in_its_order():
    """By hand: 1, 2 (after 5 in its row, so 5 first), ... of losses that rise and fall."""
    places = np.array([[[2, 0, 1], [1, 2, 0]]])
    losses = np.array([[[1.0, 6.0, 2.0], [5.0, 2.0, 9.0]]])
    order, allowed = Removals(places, losses), np.ones((1, 2, 3), bool)
    expected = {
        1: [[1, 1, 0], [1, 1, 1]],
        2: [[1, 1, 0], [1, 0, 1]],
        3: [[1, 1, 0], [1, 0, 0]],
        4: [[0, 1, 0], [1, 0, 0]],
        5: [[0, 0, 0], [1, 0, 0]],
    }
    for count, mask in expected.items():
        found = mask_of(order, allowed, Pattern(sparsity=count / 6))
        assert found[0].astype(int).tolist() == mask


@pytest.mark.parametrize("form", ["exact", "swept"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.71, 0.999])
def test_there_are_as_many_zeros_as_asked_and_zeros_stay(monkeypatch, form, sparsity):
    monkeypatch.setattr(surgeon, "_EXACT", 1e11 if form == "exact" else 0)
    monkeypatch.setattr(surgeon, "_BLOCK", 5)
    x, given = inputs(4, k=13), weights(4, rows=9, k=13)
    allowed = some(everywhere(given, free=1), 0.8)
    seen = Seen(moments(x, x), moments(x, x))
    found = pruned(given, seen, allowed, Pattern(sparsity=sparsity))
    assert (~found.mask).sum() == max((~allowed).sum(), min(round(sparsity * 216), 215))
    assert not (found.mask & ~allowed).any()
    assert np.array_equal(found.weights[:, :, :12] != 0, found.mask)


def test_weights_that_are_all_zero_stay_so():
    given = np.zeros((1, 2, 4))
    seen = Seen(*[np.eye(4)[None]] * 2)
    found = pruned(given, seen, given != 0, Pattern())
    assert not found.mask.any()
    assert not found.weights.any()


def naive_sweep(given, own, allowed, pattern, block):
    """Column by column, all columns behind hear at once; masks as in the definition."""
    groups, rows, _ = given.shape
    count, size, work = allowed.shape[2], pattern.m or block, given.copy()
    upper = [np.linalg.cholesky(np.linalg.inv(h)).T for h in damped(own)]
    mask = allowed.copy()
    for j in range(count):
        if j % size == 0:
            columns = range(j, min(j + size, count))
            places = list(itertools.product(range(groups), range(rows), columns))

            def cost(place, work=work):
                column = place[2]
                return (
                    (work[place] / upper[place[0]][column, column]) ** 2
                    if allowed[place]
                    else -1
                )

            if pattern.m:
                for g, r in each_row(given):
                    own_places = sorted([p for p in places if p[:2] == (g, r)], key=cost)
                    for p in own_places[: pattern.m - pattern.n]:
                        mask[p] = False
            else:
                size_so_far = groups * rows * (columns[-1] + 1)
                wanted = round(pattern.sparsity * size_so_far) - (~mask[:, :, :j]).sum()
                for p in sorted(places, key=cost)[:wanted]:
                    mask[p] = False
        for g, r in each_row(given):
            if not mask[g, r, j]:
                work[g, r, j:] -= work[g, r, j] / upper[g][j, j] * upper[g][j, j:]
                work[g, r, j] = 0.0
    return work, mask


@settings(max_examples=20, deadline=None)
@given(
    seed=SEEDS,
    pattern=st.sampled_from(
        [Pattern(0.5), Pattern(0.8), Pattern(n=1, m=2), Pattern(n=2, m=4)]
    ),
    part=st.sampled_from([1.0, 0.7]),
)
def test_the_swept_form_is_that_of_plain_loops(seed, pattern, part):
    x, given = inputs(seed, k=13), weights(seed, rows=5, k=13)
    own, allowed = moments(x, x), some(everywhere(given, free=1), part, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surgeon, "_BLOCK", 5)
        found = swept(given, own, allowed, pattern)
    expected, mask = naive_sweep(given, own, allowed, pattern, 5)
    assert np.array_equal(found.mask, mask)
    np.testing.assert_allclose(found.weights, expected, atol=1e-8)


@pytest.mark.parametrize("block", [4, 6, 128])
def test_columns_of_a_pattern_are_not_torn_apart(monkeypatch, block):
    monkeypatch.setattr(surgeon, "_BLOCK", block)
    x, given = inputs(8, k=15), weights(8, k=15)
    found = swept(given, moments(x, x), everywhere(given), Pattern(n=2, m=5))
    assert (found.mask.reshape(2, 3, 3, 5).sum(3) == 2).all()
    expected = naive_sweep(given, moments(x, x), everywhere(given), Pattern(n=2, m=5), 5)
    np.testing.assert_allclose(found.weights, expected[0], atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, part=st.floats(0, 1))
def test_what_is_left_is_the_least_squares_solution_wherever_it_begins(seed, part):
    x, given = inputs(seed), weights(seed)
    own, mask = moments(x, x), some(everywhere(given, free=1), part, seed)
    found = refitted(given, given, own, mask)
    other = refitted(weights(seed + 1), given, own, mask)
    for group, row in each_row(given):
        gone = np.flatnonzero(~mask[group, row])
        expected, _ = best(given[group, row], damped(own)[group], gone)
        assert (found[group, row, gone] == 0).all()
        np.testing.assert_allclose(found[group, row], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(other[group, row], expected, rtol=1e-5, atol=1e-5)


def test_all_that_stays_stays_as_it_is():
    x, given = inputs(6), weights(6)
    found = refitted(given, given, moments(x, x), everywhere(given))
    assert np.array_equal(found, given)


def magnitude(given, pattern):
    """The same weights without the smallest."""
    sizes = np.abs(given)
    if pattern.m:
        groups = sizes.reshape(*given.shape[:2], -1, pattern.m)
        return given * largest_of_each(groups, pattern.n).reshape(given.shape)
    return given * (sizes > np.quantile(sizes, pattern.sparsity))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, sparsity=st.sampled_from([0.3, 0.5, 0.75]))
def test_outputs_change_less_than_without_the_smallest_weights(seed, sparsity):
    x, given = inputs(seed, k=16), weights(seed, rows=20, k=16)
    seen, ones = Seen(moments(x, x), moments(x, x)), np.ones((2, 20))
    found = pruned(given, seen, everywhere(given), Pattern(sparsity)).weights
    without = magnitude(given, Pattern(sparsity))
    assert (found == 0).sum() == (without == 0).sum()
    ours, theirs = (error_of(given - each, seen.own, ones) for each in (found, without))
    assert ours < 0.7 * theirs


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_exact_form_is_the_best_and_the_swept_form_better_than_none(monkeypatch, pattern):
    x, given = inputs(2, k=48), weights(2, rows=20, k=48)
    seen, ones = Seen(moments(x, x), moments(x, x)), np.ones((2, 20))
    found = [pruned(given, seen, everywhere(given), pattern)]
    monkeypatch.setattr(surgeon, "_EXACT", 0)
    monkeypatch.setattr(surgeon, "_BLOCK", 16)
    found.append(pruned(given, seen, everywhere(given), pattern))
    without = magnitude(given, pattern)
    assert [(~each.mask).sum() for each in found] == [(without == 0).sum()] * 2
    exact, fast, none = (
        error_of(given - each, seen.own, ones)
        for each in (*(f.weights for f in found), without)
    )
    assert exact < fast
    assert fast < 0.8 * none


def test_errors_of_inputs_are_made_up_for():
    """Outputs for inputs with errors come nearer to those for inputs without them."""
    y, given = inputs(9), weights(9, rows=20)
    x = y + 0.5 * np.random.default_rng(1).normal(size=y.shape) + 0.3
    knowing = pruned(given, Seen(moments(x, x), moments(y, x)), everywhere(given), Pattern())
    blind = pruned(given, Seen(moments(x, x), moments(x, x)), everywhere(given), Pattern())

    def error(found):
        outputs = found.weights @ x.swapaxes(1, 2) - given @ y.swapaxes(1, 2)
        return np.square(outputs).mean()

    assert error(knowing) < 0.9 * error(blind)


def test_of_each_the_largest_are_true():
    scores = np.random.default_rng(0).integers(0, 5, (50, 6)).astype(float)
    mask = largest_of_each(scores, 4)
    assert (mask.sum(1) == 4).all()
    for row, kept in zip(scores, mask, strict=True):
        order = sorted(range(6), key=lambda i, row=row: (row[i], i))
        assert set(np.flatnonzero(kept)) == set(order[2:])
