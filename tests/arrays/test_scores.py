"""Scores of channels: against their definitions, element by element."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.arrays import scores

EPS = np.finfo(np.float64).eps
weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=4, max_side=5),
    elements=st.integers(-9, 9).map(lambda i: i / 4),  # few values, so that ties are common
    fill=st.nothing(),
)


@st.composite
def weight_and_axis(draw):
    w = draw(weights)
    return w, draw(st.integers(-w.ndim, w.ndim - 1))


def of_each(w, axis, function):
    """The definition: one slice after the other, as plain numbers."""
    rows = (w.take(i, axis=axis).reshape(-1).tolist() for i in range(w.shape[axis]))
    return [function(row) for row in rows]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@given(weight_and_axis())
def test_l1_is_the_sum_of_magnitudes_of_each_slice(given):
    w, axis = given
    expected = of_each(w, axis, lambda row: sum(abs(v) for v in row))
    assert scores.l1(w, axis).tolist() == expected  # quarters add up without rounding


@given(weight_and_axis())
def test_l2_is_the_length_of_each_slice(given):
    w, axis = given
    expected = of_each(w, axis, lambda row: sum(v * v for v in row) ** 0.5)
    np.testing.assert_allclose(scores.l2(w, axis), expected, rtol=2 * EPS)


def distances(w, axis):
    """For each slice the sum of its distances to all, two by two."""
    rows = of_each(w, axis, lambda row: row)
    sums = [0.0] * len(rows)
    for i, j in itertools.product(range(len(rows)), repeat=2):
        apart = sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))
        sums[i] += apart**0.5
    return sums


@given(weight_and_axis())
def test_geometric_median_is_the_sum_of_distances_to_all_others(given):
    """Squares are right to n eps of the largest, so equal slices are apart by its root."""
    w, axis = given
    squares = 4 * (float(np.abs(w).max()) + 1) ** 2 * w.size
    tolerance = w.shape[axis] * np.sqrt(16 * w.size * EPS * squares)
    found = scores.geometric_median(w, axis)
    np.testing.assert_allclose(found, distances(w, axis), rtol=1e-9, atol=tolerance)


def test_geometric_median_is_the_same_however_many_slices_go_at_once(monkeypatch):
    w = random(13, 4, 3)
    expected = distances(w, 0)
    monkeypatch.setattr(scores, "_DISTANCES", 5 * 13)  # 5, 5 and 3 slices
    np.testing.assert_allclose(scores.geometric_median(w, 0), expected, rtol=1e-12)


def test_what_all_slices_share_costs_the_geometric_median_no_digits():
    """A common offset of 1e4 would leave 7 of 16 digits of the squares."""
    w = random(6, 30)
    shifted = scores.geometric_median(w + 1e4, 0)
    np.testing.assert_allclose(shifted, scores.geometric_median(w, 0), rtol=1e-10)


def test_the_scale_of_a_normalization_counts_by_magnitude():
    gamma = np.array([0.5, -2.0, 0.0], np.float32)
    assert scores.batch_norm_scale(gamma).tolist() == [0.5, 2.0, 0.0]


def test_taylor_is_the_squared_change_of_the_batches_losses_per_sample():
    """loss(g) = sum over a batch's samples of g . a: closing gate c takes sum a_c from it."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((size, 4)) for size in (3, 3, 2)]

    def change(values, c):
        gates = np.ones(4)
        gates[c] = 0
        return (values * gates).sum() - values.sum()

    expected = [sum(change(part, c) ** 2 for part in parts) / 8 for c in range(4)]
    found = scores.taylor(np.stack([part.sum(0) for part in parts]), 8)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_activations_count_by_their_mean_and_by_how_many_are_not_zero():
    a = np.maximum(random(50, 6) - np.linspace(-1, 2, 6), 0)
    mean = scores.activation_mean(np.abs(a).sum(0), len(a))
    np.testing.assert_allclose(mean, a.mean(0), rtol=1e-14)
    share = scores.apoz((a == 0).sum(0), len(a))
    np.testing.assert_allclose(share, (a > 0).mean(0), rtol=1e-14)


def of_rank(rank, h, w, seed):
    """A product of matrices of that inner size, of float32."""
    return (random(h, rank, seed=seed) @ random(rank, w, seed=seed + 99)).astype(np.float32)


def test_feature_rank_is_the_mean_of_the_ranks_that_the_maps_were_made_with():
    """Also where rounding to float32 gave every map all its singular values."""
    ranks = np.array([[0, 1, 5], [2, 4, 5]])
    maps = np.array([[of_rank(rank, 5, 7, 10 * rank) for rank in sample] for sample in ranks])
    assert scores.feature_rank(maps).tolist() == [1.0, 2.5, 5.0]
    assert np.linalg.matrix_rank(maps[1, 0].astype(np.float64)) == 5


def test_random_scores_depend_on_the_seed_alone():
    first = scores.random_scores(100, 7)
    assert np.array_equal(first, scores.random_scores(100, 7))
    assert not np.array_equal(first, scores.random_scores(100, 8))
    assert len(set(first.tolist())) == 100


SAME = {
    "l1": lambda w: scores.l1(w, 0),
    "l2": lambda w: scores.l2(w, 0),
    "geometric_median": lambda w: scores.geometric_median(w, 0),
    "batch_norm_scale": lambda w: scores.batch_norm_scale(w[:, 0]),
    "taylor": lambda w: scores.taylor(w.T, 4),
    "activation_mean": lambda w: scores.activation_mean(w[:, 0], 4),
    "feature_rank": lambda w: scores.feature_rank(w[None, :, :, None]),
}


@pytest.mark.parametrize("name", SAME)
def test_scores_are_float64_and_leave_what_they_are_given_alone(name):
    w = random(5, 4).astype(np.float32)
    before = w.copy()
    w.setflags(write=False)
    found = SAME[name](w)
    assert found.dtype == np.float64
    assert found.shape == (5,)
    assert np.array_equal(w, before)
