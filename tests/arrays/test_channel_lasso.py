"""Channels by lasso, and the repair: against samples, all sign patterns, and optimality."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.arrays import channel_lasso as module
from tersor.arrays.channel_lasso import (
    Contributions,
    chosen,
    contributions,
    joined,
    lasso,
    lasso_scores,
    repaired,
)
from tersor.arrays.compensation import Seen

CHANNEL = np.array([[0, 0, 1, 3, 1, -1], [2, 4, 2, 4, 4, -1]])  # two groups, and a constant


def inputs(seed, count=300):
    """Exact inputs and those after changes, correlated, (2, count, 6); the last is 1."""
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=(2, count, 6)) @ rng.normal(size=(2, 6, 6)) + 0.5
    changed = exact + 0.3 * rng.normal(size=exact.shape)
    exact[:, :, -1] = changed[:, :, -1] = 1
    return exact, changed


def weights(seed, rows=4):
    return np.random.default_rng(seed + 1000).normal(size=(2, rows, 6))


def moments(exact, x):
    return Seen(*(a.swapaxes(1, 2) @ x / x.shape[1] for a in (x, exact)))


def problem(seed, n=5):
    """Channels that go together, some against each other."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(30, n)) @ rng.normal(size=(n, n)) + rng.normal()
    y = z @ rng.normal(size=n) + rng.normal(size=30)
    return Contributions(z.T @ z / 30, z.T @ y / 30)


def sums(seed, n):
    """Channels as in a network: what is wanted is what they give together."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(200, n)) * rng.lognormal(size=n) + 0.3 * rng.normal(size=(200, 1))
    return Contributions(z.T @ z / 200, z.T @ z.sum(1) / 200)


def cost(found, b, penalty):
    return b @ found.gram @ b / 2 - found.pull @ b + penalty * np.abs(b).sum()


def by_definition(found, penalty):
    """The best of all sign patterns: with given signs the lasso is a linear system."""
    best = np.zeros(len(found.pull))
    for signs in itertools.product((-1, 0, 1), repeat=len(found.pull)):
        s = np.array(signs)
        on, b = s != 0, np.zeros(len(s))
        some = found.gram[np.ix_(on, on)]
        b[on] = np.linalg.solve(some, found.pull[on] - penalty * s[on])
        fits = bool((np.sign(b) == s).all())
        if fits and cost(found, b, penalty) < cost(found, best, penalty):
            best = b
    return best


@pytest.mark.parametrize("block", [512, 2])
def test_contributions_are_those_of_the_samples(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    (exact, x), w = inputs(0), weights(0)
    found = contributions(w, moments(exact, x), CHANNEL, 6)
    z = np.zeros((6, 2, 300, 4))  # channel 5 is read by nobody
    for g, a in itertools.product(range(2), range(5)):
        z[CHANNEL[g, a], g] += x[g, :, a, None] * w[g, :, a]
    y = exact @ w.swapaxes(1, 2) - w[:, None, :, -1]  # what the constant gives stays
    np.testing.assert_allclose(found.gram, np.einsum("igsr,jgsr->ij", z, z) / 300, atol=1e-12)
    np.testing.assert_allclose(found.pull, np.einsum("gsr,igsr->i", y, z) / 300, atol=1e-12)
    assert found.gram[0, 2] == 0  # of different groups


def test_several_layers_count_by_the_power_of_what_they_give():
    one, two = problem(0), problem(1)
    large = Contributions(1e6 * two.gram, 1e6 * two.pull)
    silent = Contributions(np.zeros((5, 5)), np.zeros(5))
    found = joined([one, large, silent])
    power, other = one.gram.sum(), two.gram.sum()
    np.testing.assert_allclose(found.gram, one.gram / power + two.gram / other)
    np.testing.assert_allclose(found.pull, one.pull / power + two.pull / other)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 1.1))
def test_the_lasso_is_the_best_of_all_sign_patterns(seed, share):
    """The cost is flat at its least: it is off by less than the slopes' tolerance, squared."""
    found = problem(seed, n=4)
    penalty = share * float(np.abs(found.pull).max())
    ours, best = lasso(found, penalty), by_definition(found, penalty)
    least = cost(found, best, penalty)
    assert cost(found, ours, penalty) <= least + 1e-9 * abs(least)
    assert np.array_equal(ours != 0, best != 0)
    assert (share < 1) == bool(ours.any())


@pytest.mark.parametrize("start", [None, np.ones(40), -3 * np.ones(40)])
def test_the_lasso_is_optimal_from_any_start(start):
    """Subgradients: slopes are the penalty where b is not 0, and no larger elsewhere."""
    found = problem(3, n=40)
    penalty = 0.02 * float(np.abs(found.pull).max())
    b = lasso(found, penalty, start)
    left = found.pull - found.gram @ b
    on = b != 0
    assert 5 < on.sum() < 35
    np.testing.assert_allclose(left[on], penalty * np.sign(b[on]), rtol=2e-6)
    assert (np.abs(left[~on]) <= penalty * (1 + 2e-6)).all()


@pytest.mark.parametrize("seed", range(3))
def test_channels_that_say_nearly_the_same_take_few_turns(monkeypatch, seed):
    """One coordinate after the other would take tens of thousands."""
    monkeypatch.setattr(module, "_TURNS", 24)
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(50, 1)) + 1e-3 * rng.normal(size=(50, 20))
    found = Contributions(z.T @ z / 50, z.T @ z @ rng.normal(size=20) / 50)
    b = lasso(found, 1e-8)
    assert np.abs(b).max() > 1
    assert np.abs(found.pull - found.gram @ b).max() <= (1 + 2e-6) * 1e-8


def test_channels_that_give_nothing_are_left_out():
    """Also of a start: their own power is 0, and nothing may be divided by it."""
    found = problem(0)
    gram, pull = (np.pad(each, (0, 1)) for each in found)
    b = lasso(Contributions(gram, pull), 0.01, np.ones(6))
    assert b[5] == 0
    np.testing.assert_allclose(b[:5], lasso(found, 0.01, np.ones(5)))
    scores = lasso_scores(Contributions(gram, pull))
    assert scores[5] == 0
    pull[5] = 1.0  # of rounding
    assert lasso(Contributions(gram, pull), 0.01)[5] == 0
    assert (scores[:5] > 0).all()
    assert lasso_scores(Contributions(np.zeros((3, 3)), np.zeros(3))).tolist() == [0, 0, 0]


def test_channels_that_do_not_go_together_leave_at_their_pull():
    """b_i = max(|pull_i| - penalty, 0) / gram_ii then, also below the smallest penalty."""
    rng = np.random.default_rng(0)
    pull = rng.normal(size=20) * np.repeat([1, 1e-7], [15, 5])
    found = Contributions(np.diag(rng.uniform(0.1, 9, 20)), pull)
    np.testing.assert_allclose(lasso_scores(found), np.abs(found.pull), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_where_channels_leave_for_good(seed):
    """Seen on 1,000 penalties; a straight line is off by less than a step of the 56."""
    found = problem(seed, n=12)
    penalties = np.abs(found.pull).max() * np.geomspace(1.001, 1e-5, 1000)
    expected, b = np.zeros(12), np.zeros(12)
    for penalty in penalties:
        b = lasso(found, penalty, b)
        expected = np.where((expected == 0) & (b != 0), penalty, expected)
    assert (expected > 0).sum() >= 11
    scores = lasso_scores(found)
    seen = expected > 0
    step = (1.001 / 1e-5) ** (1 / 55)
    np.testing.assert_allclose(scores[seen], expected[seen], rtol=1.02 * step - 1)
    assert (scores[~seen] <= penalties[-1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_best_are_those_that_are_left_when_the_penalty_has_grown(seed):
    """At a penalty between two scores exactly the channels with the larger ones are not 0."""
    found = sums(seed, n=12)
    scores = lasso_scores(found)
    order = np.sort(scores)[::-1]
    gaps = [m for m in range(1, 12) if order[m] < 0.95 * order[m - 1]]
    assert len(gaps) > 5
    for m in gaps:
        left = lasso(found, (order[m - 1] + order[m]) / 2) != 0
        assert left.sum() == m
        assert np.array_equal(chosen(found, m), left)


def test_of_two_channels_that_say_the_same_one_goes_first():
    """Each alone gives more than the third, which nobody makes up for."""
    z = np.random.default_rng(0).normal(size=(200, 2)) * [1, 0.4]
    z = np.stack([z[:, 0], z[:, 0] + 1e-3 * z[:, 1], z[:, 1]], 1)
    gram = z.T @ z / 200
    stay = chosen(Contributions(gram, gram.sum(1)), 2)
    assert stay[2]
    assert stay.sum() == 2
    assert chosen(Contributions(gram, gram.sum(1)), 0).sum() == 0
    assert chosen(Contributions(gram, gram.sum(1)), 3).all()


KEPT = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 1]], bool)


def test_the_repair_is_least_squares_over_the_samples():
    (exact, x), w = inputs(1), weights(1)
    found = repaired(w, moments(exact, x), KEPT, damping=0)
    for g in range(2):
        kept = KEPT[g]
        wanted = np.linalg.lstsq(x[g][:, kept], exact[g] @ w[g].T, rcond=None)[0]
        np.testing.assert_allclose(found[g][:, kept], wanted.T, atol=1e-9)
        assert not found[g][:, ~kept].any()


def test_a_damped_repair_is_least_squares_with_samples_of_the_old_weights():
    """sqrt(d) times a unit vector as an input, and what W gives for it."""
    (exact, x), w = inputs(2, count=4), weights(2)  # fewer samples than columns
    kept = np.ones((2, 6), bool)
    found = repaired(w, moments(exact, x), kept, damping=0.01)
    for g in range(2):
        d = 0.01 * np.square(x[g]).sum() / 4 / 6
        units = np.sqrt(d * 4) * np.eye(6)
        rows = np.concatenate([x[g], units])
        wanted = np.concatenate([exact[g], units]) @ w[g].T
        best = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        np.testing.assert_allclose(found[g], best.T, atol=1e-8)


def test_what_was_not_changed_needs_no_repair():
    (exact, _), w = inputs(3), weights(3)
    seen = moments(exact, exact)
    np.testing.assert_allclose(repaired(w, seen, np.ones((2, 6), bool)), w, atol=1e-9)


def test_what_is_cut_tells_nothing_to_the_repair():
    """Moments of columns that are not kept may be anything, where inputs are as exact ones."""
    (exact, x), w = inputs(4), weights(4)
    seen, kept = moments(exact, x), KEPT
    expected = repaired(w, seen, kept)
    gone = ~(kept[:, :, None] & kept[:, None, :])
    other = Seen(np.where(gone, 77.0, seen.own), np.where(kept[:, None, :], seen.cross, 77.0))
    assert np.array_equal(repaired(w, other, kept), expected)


def test_nothing_is_left_of_a_group_that_keeps_no_column():
    (exact, x), w = inputs(5), weights(5)
    kept = np.stack([np.zeros(6, bool), np.ones(6, bool)])
    found = repaired(w, moments(exact, x), kept)
    assert not found[0].any()
    assert found[1].all()


@pytest.mark.parametrize("seed", range(3))
def test_the_repair_is_better_than_cutting_alone(seed):
    (exact, x), w = inputs(seed), weights(seed)
    y, kept = exact @ w.swapaxes(1, 2), KEPT
    cut = w * kept[:, None, :]
    errors = [
        np.square(y - x @ v.swapaxes(1, 2)).sum()
        for v in (cut, repaired(w, moments(exact, x), kept))
    ]
    assert errors[1] < 0.9 * errors[0]
