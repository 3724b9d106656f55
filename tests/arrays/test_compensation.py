"""Rounding that makes up for its errors: what it must be by its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.arrays import compensation
from tersor.arrays.compensation import (
    Rounded,
    Seen,
    best_damping,
    damped,
    descended,
    error_of,
    factor,
    regressed,
    round_in_turn,
    rounded,
)
from tersor.arrays.rate_distortion import MOST

FREE = np.zeros(2 * MOST + 1)  # bits that cost nothing


def inputs(seed, count=400, k=6, groups=2):
    """Correlated rows, (groups, count, k)."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(groups, count, k)) @ rng.normal(size=(groups, k, k))
    return mixed + rng.normal(size=(groups, 1, k))


def moments(y, x):
    return y.swapaxes(1, 2) @ x / x.shape[1]


def weights(seed, rows=3, k=6, groups=2):
    return np.random.default_rng(seed + 1000).normal(size=(groups, rows, k))


def nearest(values, step):
    return np.rint(values / step) * step


def everywhere(values, free=0):
    return np.ones((*values.shape[:2], values.shape[2] - free), bool)


def test_the_factor_is_that_of_the_inverse():
    own = moments(inputs(0), inputs(0))
    upper = factor(own)
    assert np.array_equal(upper, np.triu(upper))
    expected = np.broadcast_to(np.eye(6), own.shape)
    np.testing.assert_allclose(upper.swapaxes(1, 2) @ upper @ damped(own), expected, atol=1e-8)


def test_moments_of_too_few_samples_have_a_factor():
    x = inputs(0, count=2)
    assert np.isfinite(factor(moments(x, x))).all()
    assert np.isfinite(factor(np.zeros((1, 3, 3)))).all()


def test_inputs_that_do_not_go_together_leave_nothing_to_make_up_for():
    given, step = weights(0), 0.3
    upper = factor(np.stack([np.diag([1.0, 2, 3, 4, 5, 6])] * 2))
    codes, rest = round_in_turn(given, upper, np.ones((2, 3)), step, FREE, everywhere(given))
    np.testing.assert_allclose(codes * step, nearest(given, step))
    assert rest.shape == (2, 3, 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.floats(0.05, 1.0))
def test_errors_are_made_up_for(seed, step):
    """Over a few rows, though not for each: rounding in turn is not the best there is."""
    x, given = inputs(seed), weights(seed, rows=24)
    own = damped(moments(x, x))
    codes, _ = round_in_turn(
        given, factor(moments(x, x)), np.ones((2, 24)), step, FREE, everywhere(given)
    )
    ours, theirs = (
        error_of(given - values, own, np.ones((2, 24)))
        for values in (codes * step, nearest(given, step))
    )
    assert ours < theirs


def test_the_error_is_that_of_the_outputs():
    x, change = inputs(3), weights(3)
    outputs = change @ x.swapaxes(1, 2)
    importance = np.random.default_rng(0).uniform(size=(2, 3))
    expected = (importance * np.square(outputs).mean(2)).sum()
    found = error_of(change, moments(x, x), importance)
    np.testing.assert_allclose(found, expected)


def test_columns_that_stay_floats_are_the_best_for_the_integers_before_them():
    """The error's gradient there is 0: s H (w - found) has zeros in the free columns."""
    x, given = inputs(5), weights(5)
    own = moments(x, x)
    allowed = everywhere(given, free=2)
    codes, rest = round_in_turn(given, factor(own), np.ones((2, 3)), 0.5, FREE, allowed)
    left = given - np.concatenate([codes * 0.5, rest], 2)
    np.testing.assert_allclose((left @ damped(own))[:, :, 4:], 0, atol=1e-9)


def cost(given, found, own, bits):
    left = given - np.concatenate([found.codes * found.step, found.rest], 2)
    return error_of(left, damped(own), np.ones((2, 3))) + bits[found.codes + MOST].sum()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.floats(0.1, 1.0))
def test_no_other_integer_is_better_by_itself_than_what_is_descended_to(seed, step):
    """Tried: every integer one up, one down and 0, all others being as they are."""
    x, given, bits = inputs(seed), weights(seed), 0.05 * (np.arange(-MOST, MOST + 1) != 0)
    own, allowed = moments(x, x), everywhere(given, free=1)
    allowed[0, 0, 0] = False
    codes, rest = round_in_turn(given, factor(own), np.ones((2, 3)), step, bits, allowed)
    start = Rounded(codes, step, rest)
    found = start
    for _ in range(5):  # more passes than one call makes
        found = descended(found, given, own, np.ones((2, 3)), bits, allowed)
    least = cost(given, found, own, bits)
    assert least <= cost(given, start, own, bits) + 1e-9
    assert found.codes[0, 0, 0] == 0
    for place in np.argwhere(allowed):
        for other in (found.codes[tuple(place)] + 1, found.codes[tuple(place)] - 1, 0):
            changed = found.codes.copy()
            changed[tuple(place)] = other
            assert cost(given, found._replace(codes=changed), own, bits) >= least - 1e-9


def test_floats_beside_the_integers_are_the_best_for_them():
    x, given = inputs(5), weights(5)
    own, allowed = moments(x, x), everywhere(given, free=2)
    start = Rounded(np.zeros((2, 3, 4), np.int16), 0.5, given[:, :, 4:])
    for _ in range(20):
        start = descended(start, given, own, np.ones((2, 3)), FREE, allowed)
    left = given - np.concatenate([start.codes * 0.5, start.rest], 2)
    np.testing.assert_allclose((left @ damped(own))[:, :, 4:], 0, atol=1e-6)


def test_blocks_change_nothing_but_the_order_of_sums(monkeypatch):
    x, given = inputs(6), weights(6)
    own, allowed = moments(x, x), everywhere(given)
    start = Rounded(np.zeros((2, 3, 6), np.int16), 0.4, given[:, :, 6:])
    found = [start] * 2
    for i, block in enumerate((64, 2)):
        monkeypatch.setattr("tersor.arrays.compensation._BLOCK", block)
        found[i] = descended(start, given, own, np.ones((2, 3)), FREE, allowed)
    assert np.array_equal(found[0].codes, found[1].codes)
    assert (found[0].codes != 0).any()


def test_an_integer_that_costs_too_many_bits_gives_way():
    given, step = np.full((1, 1, 1), 1.04), 1.0
    upper = factor(np.ones((1, 1, 1)))
    bits = FREE.copy()
    allowed = everywhere(given)
    assert round_in_turn(given, upper, np.ones((1, 1)), step, bits, allowed)[0].item() == 1
    bits[MOST + 1] = 1.2
    assert round_in_turn(given, upper, np.ones((1, 1)), step, bits, allowed)[0].item() == 2
    bits[MOST + 2] = 1.2
    assert round_in_turn(given, upper, np.ones((1, 1)), step, bits, allowed)[0].item() == 0


def test_what_does_not_matter_becomes_what_costs_least():
    given = weights(1)
    bits = np.abs(np.arange(-MOST, MOST + 1)) * 0.01
    upper = factor(np.stack([np.eye(6)] * 2))
    importance = np.array([[0.0, 1, 1], [1, 1, 1]])
    codes, _ = round_in_turn(given, upper, importance, 0.1, bits, everywhere(given))
    assert (codes[0, 0] == 0).all()
    assert (codes[1] != 0).any(1).all()


def test_zeros_stay_and_others_make_up_for_what_was_there():
    x, given = inputs(7), weights(7)
    own = moments(x, x)
    allowed = np.random.default_rng(0).uniform(size=given.shape) < 0.5
    ones = np.ones((2, 3))
    codes, _ = round_in_turn(given, factor(own), ones, 0.01, FREE, allowed)
    assert (codes[~allowed] == 0).all()
    assert error_of(given - codes * 0.01, own, ones) < error_of(
        given - given * allowed, own, ones
    )


def test_integers_stay_in_their_range_however_far_weights_are_moved():
    given = weights(2) * 1e4
    own = moments(inputs(2), inputs(2))
    codes, _ = round_in_turn(given, factor(own), np.ones((2, 3)), 0.5, FREE, everywhere(given))
    assert np.abs(codes.astype(int)).max() == MOST


def test_weights_do_with_rounded_inputs_what_they_did_with_exact_ones():
    """Least squares: no other weights come nearer to the outputs, damping aside."""
    y, given = inputs(9), weights(9)
    x = y + 0.3 * np.random.default_rng(1).normal(size=y.shape) + 0.2
    found = regressed(given, Seen(moments(x, x), moments(y, x)))
    wanted = given @ y.swapaxes(1, 2)
    best = np.linalg.lstsq(x[0], wanted[0].T, rcond=None)[0].T

    def error(values):
        return np.square(values @ x.swapaxes(1, 2) - wanted).mean((1, 2))[0]

    assert error(found) < error(given)
    assert error(found) == pytest.approx(error(np.stack([best] * 2)), rel=0.02)


def test_inputs_without_errors_leave_weights_as_they_are():
    x, given = inputs(11), weights(11)
    np.testing.assert_allclose(regressed(given, Seen(moments(x, x), moments(x, x))), given)


def noisy(count, seed, k=40):
    """Moments of the two halves of so many samples, and of a great many others."""
    rng = np.random.default_rng(seed)
    parts = []
    for size in (count // 2, count // 2, 20_000):
        y = rng.normal(size=(1, size, k))
        x = y * 0.9 + 0.5 * rng.normal(size=y.shape)
        parts.append(Seen(moments(x, x), moments(y, x)))
    return (parts[0], parts[1]), parts[2]


def loss(change, given, seen):
    """E |(w + change) x - w y|^2 less that of no change."""
    wanted = given @ (seen.cross - seen.own)
    return np.sum(change * (change @ seen.own - 2 * wanted))


@pytest.mark.parametrize("count", [50, 200, 2000])
def test_the_best_damping_is_about_the_best_for_samples_that_nobody_saw(count):
    given = weights(3, rows=60, k=40, groups=1)
    halves, others = noisy(count, 5)
    whole = Seen(*((a + b) / 2 for a, b in zip(*halves, strict=True)))
    losses = {
        damping: loss(regressed(given, whole, damping) - given, given, others)
        for damping in (*compensation._DAMPINGS, math.inf)
    }
    found = best_damping(given, halves)
    worst, best = max(losses.values()), min(losses.values())
    assert losses[found] - best <= 0.1 * (worst - best)
    assert (found < 1) == (count == 2000)


def test_noise_alone_changes_nothing():
    """Rounded inputs that tell nothing of the errors of the other half."""
    given, rng = weights(3, rows=60, k=40, groups=1), np.random.default_rng(1)
    halves = []
    for sign in (1, -1):
        x = rng.normal(size=(1, 30, 40))
        halves.append(Seen(moments(x, x), moments(x * (1 + sign), x)))
    assert math.isinf(best_damping(given, tuple(halves)))
    assert np.array_equal(regressed(given, halves[0], math.inf), given)


@pytest.mark.parametrize("price", [1e-4, 1e-2])
def test_all_together_it_is_cheaper_than_rounding_without_it(price):
    x, given = inputs(13, k=24), weights(13, rows=40, k=24)
    seen, ones = Seen(moments(x, x), moments(x, x)), np.ones((2, 40))
    found = rounded(given, seen, ones, everywhere(given), price)
    apart = Seen(*(np.stack([np.diag(np.diag(m)) for m in seen.own]),) * 2)
    alone = rounded(given, apart, ones, everywhere(given), price)

    def cost(result):
        counts = np.unique(result.codes, return_counts=True)[1]
        bits = (counts * np.log2(result.codes.size / counts)).sum()
        return error_of(given - result.codes * result.step, seen.own, ones) + price * bits

    assert cost(found) < 0.95 * cost(alone)
