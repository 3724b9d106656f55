"""Rounding along rows, against all that could be chosen."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.arrays.rate_distortion import MOST, options
from tersor.arrays.trellis import (
    CLASSES,
    bits_after,
    class_of,
    lengths_after,
    refined,
    round_along_rows,
)


def price(exact, importance, bits, codes):
    """What a row costs, by the definition."""
    before = [0, *class_of(np.array(codes))[:-1]]
    errors = importance * np.square(exact - codes)
    return errors.sum() + sum(bits[b, q + MOST] for b, q in zip(before, codes, strict=True))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_other_integers_of_a_row_are_cheaper(seed):
    """Of all ways through the two integers around each number, and 0."""
    rng = np.random.default_rng(seed)
    exact = rng.normal(scale=1.5, size=(2, 5))
    importance = rng.uniform(0, 2, size=(2, 5))
    bits = rng.uniform(0, 2, size=(CLASSES, 2 * MOST + 1))
    found = round_along_rows(exact, importance, bits)
    for row, weights, codes in zip(exact, importance, found, strict=True):
        around = [{0, int(np.floor(x)), int(np.ceil(x))} for x in row]
        best = min(price(row, weights, bits, way) for way in itertools.product(*around))
        assert price(row, weights, bits, codes) == pytest.approx(best)


def test_bits_that_cost_nothing_leave_the_nearest():
    exact = np.random.default_rng(0).normal(scale=3, size=(4, 20))
    found = round_along_rows(exact, np.ones_like(exact), np.zeros((CLASSES, 2 * MOST + 1)))
    assert np.array_equal(found, np.rint(exact))


def test_a_lone_integer_among_zeros_gives_way_and_one_among_others_stays():
    bits = np.ones((CLASSES, 2 * MOST + 1))
    bits[0, MOST] = bits[1, MOST + 1] = 0.0  # the same again costs nothing
    exact = np.array([[0.0, 0.0, 0.8, 0.0, 0.0], [1.0, 1.0, 0.8, 1.0, 1.0]])
    found = round_along_rows(exact, np.ones_like(exact), bits)
    assert found.tolist() == [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]


def test_integers_stay_in_their_range():
    found = round_along_rows(
        np.array([[1e6, -1e6]]), np.ones((1, 2)), np.zeros((CLASSES, 2 * MOST + 1))
    )
    assert found.tolist() == [[MOST, -MOST]]


def test_lengths_are_those_of_chances_after_each_class():
    codes = np.random.default_rng(0).integers(-3, 4, size=(30, 40)).astype(np.int16)
    found = np.exp2(-lengths_after(codes))
    assert found.shape == (CLASSES, 2 * MOST + 1)
    seen = np.isin(np.arange(-MOST, MOST + 1), codes)
    np.testing.assert_allclose(found[:, seen].sum(1), 1, rtol=0.01)
    runs = np.repeat(np.array([[0, 2]], np.int16), 50, axis=1)
    after = lengths_after(runs)
    assert after[0, MOST] < 0.3 < 2 < after[0, MOST + 2]
    assert after[2, MOST + 2] < 0.3 < 2 < after[2, MOST]


def test_bits_know_what_is_before_in_the_same_row_only():
    """Of six integers after a 0, the first of rows among them, four are 0 and two are 5."""
    codes = np.array([[0, 0], [5, 5], [0, 0], [5, 5]], np.int16)
    expected = 4 * np.log2(6 / 4) + 2 * np.log2(6 / 2)
    assert bits_after(codes) == pytest.approx(expected)
    assert bits_after(np.zeros((3, 4), np.int16)) == 0.0


def test_rows_that_come_in_runs_are_cheaper_refined():
    rng = np.random.default_rng(1)
    weights = rng.laplace(size=(40, 200)) * np.repeat(rng.uniform(size=(40, 10)) < 0.3, 20, 1)
    weights += 0.2 * rng.normal(size=weights.shape)
    ones = np.ones_like(weights)
    option = options(weights, ones, 0.3, most=1)[0]
    found = refined(option, weights, ones, 0.3)
    assert found.step == option.step
    assert found.codes.shape == weights.shape
    error = np.square(weights - found.step * found.codes).sum()
    assert found.error == pytest.approx(error)
    assert found.cost == pytest.approx(error + 0.3 * bits_after(found.codes))
    assert found.cost < option.error + 0.3 * bits_after(option.codes)
