"""Rounding that weighs error against bits, against its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.arrays import rate_distortion
from tersor.arrays.rate_distortion import cheapest, entropy_bits, options, round_by_rate

WEIGHTS = np.random.default_rng(0).laplace(size=2000)
ONES = np.ones_like(WEIGHTS)


def cost(codes, weights, importance, step, rate):
    error = float((importance * np.square(weights - step * codes)).sum())
    return error + rate * entropy_bits(codes)


@given(st.lists(st.floats(-12, 12), min_size=1, max_size=40), st.floats(0.1, 3))
def test_at_no_price_it_rounds_to_the_nearest(values, step):
    weights = np.array(values)
    codes, error, _ = round_by_rate(weights, np.ones_like(weights), step, 0.0)
    assert (np.abs(weights - step * codes) <= step / 2 * (1 + 1e-9)).all()
    assert error == pytest.approx(np.square(weights - step * codes).sum())


@pytest.mark.parametrize("rate", [1e-3, 1e-2, 1e-1, 1.0])
def test_it_never_costs_more_than_rounding_to_the_nearest(rate):
    codes, error, bits = round_by_rate(WEIGHTS, ONES, 0.3, rate)
    nearest = np.round(WEIGHTS / 0.3).astype(np.int16)
    assert error + rate * bits == pytest.approx(cost(codes, WEIGHTS, ONES, 0.3, rate))
    assert error + rate * bits < cost(nearest, WEIGHTS, ONES, 0.3, rate)


def test_a_higher_price_gives_fewer_bits_and_more_error():
    found = [round_by_rate(WEIGHTS, ONES, 0.3, rate)[1:] for rate in (0, 0.01, 0.1, 1)]
    errors, bits = zip(*found, strict=True)
    assert list(errors) == sorted(errors)
    assert list(bits) == sorted(bits, reverse=True)
    assert bits[-1] < bits[0] / 2


def test_of_few_elements_no_choice_is_cheaper_than_the_best_and_no_simple_one_either():
    rng = np.random.default_rng(1)
    for _ in range(6):
        weights = rng.uniform(-1.2, 1.2, 5)
        importance = rng.random(5)
        codes, *_ = round_by_rate(weights, importance, 0.5, 0.05)
        found = cost(codes, weights, importance, 0.5, 0.05)
        best = min(
            cost(np.array(each, np.int16), weights, importance, 0.5, 0.05)
            for each in itertools.product(range(-2, 3), repeat=5)
        )
        assert best <= found + 1e-12
        for simple in (np.round, np.trunc):
            other = simple(weights / 0.5).astype(np.int16)
            assert found <= cost(other, weights, importance, 0.5, 0.05) + 1e-12


def test_what_matters_more_is_rounded_less():
    importance = np.where(np.arange(WEIGHTS.size) % 2, 10.0, 0.1)
    codes, *_ = round_by_rate(WEIGHTS, importance, 0.3, 0.2)
    errors = np.abs(WEIGHTS - 0.3 * codes)
    assert errors[1::2].mean() < errors[::2].mean() / 3


@given(st.lists(st.integers(-127, 127), min_size=1, max_size=200))
def test_the_entropy_is_that_of_the_frequencies(values):
    codes = np.array(values, np.int16)
    frequent = {value: values.count(value) / len(values) for value in values}
    expected = -sum(np.log2(frequent[value]) for value in values)
    assert entropy_bits(codes) == pytest.approx(expected, abs=1e-9)


def test_options_are_the_best_of_many_steps():
    found = options(WEIGHTS, ONES, 0.05, most=3)
    assert len(found) == 3
    assert [o.cost for o in found] == sorted(o.cost for o in found)
    for step in np.geomspace(0.01, 4, 40):
        _, error, bits = round_by_rate(
            WEIGHTS, ONES, max(step, np.abs(WEIGHTS).max() / 127), 0.05
        )
        assert found[0].cost < 1.1 * (error + 0.05 * bits)


def test_options_cost_what_they_say():
    weights = WEIGHTS.reshape(2, -1)
    for option in options(weights, np.ones_like(weights), 0.05, most=2):
        assert option.codes.shape == weights.shape
        error = np.square(weights - option.step * option.codes).sum()
        assert option.error == pytest.approx(error)
        assert option.cost == pytest.approx(error + 0.05 * entropy_bits(option.codes))


def test_a_sample_of_many_weights_finds_about_the_same_step(monkeypatch):
    weights = np.random.default_rng(0).laplace(size=20_000)
    whole = options(weights, np.ones_like(weights), 0.05, most=1)[0]
    monkeypatch.setattr(rate_distortion, "_MOST_TRIED", 2000)
    some = options(weights, np.ones_like(weights), 0.05, most=1)[0]
    assert some.codes.shape == weights.shape
    assert some.cost < 1.02 * whole.cost


def test_the_cheapest_integer_is_one_of_three():
    bits = np.abs(np.arange(-127, 128)) * 0.3
    exact = np.array([0.4, 1.6, -1.6, -2.4, 3.0, 500.0])
    cost = np.square(exact[:, None] - np.arange(-127, 128)) + bits
    expected = cost.argmin(1) - 127
    assert cheapest(exact, np.ones_like(exact), bits).tolist() == expected.tolist()
    assert cheapest(exact, np.zeros_like(exact), bits).tolist() == [0] * 6
