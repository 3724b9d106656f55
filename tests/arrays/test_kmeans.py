"""k-means in one dimension: against all partitions, and against its own local optima."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.arrays import kmeans as module
from tersor.arrays.kmeans import STARTS, distortion, kmeans
from tersor.errors import InputError

NUMBERS = st.integers(-12, 12).map(lambda i: i / 4)
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 3.0])
PAIRS = st.lists(st.tuples(NUMBERS, WEIGHTS), min_size=1, max_size=8)


def least(x, h, count, *, zero):
    """The least distortion of all ways to cut the sorted numbers; by definition."""
    order = np.argsort(x)
    x, h, found = x[order], h[order], []
    for inner in itertools.combinations_with_replacement(range(x.size + 1), count - 1):
        cuts = [0, *inner, x.size]
        parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
        means = [np.average(x[p], weights=h[p]) if h[p].any() else 0.0 for p in parts]
        by_mean = [(h[p] * (x[p] - m) ** 2).sum() for p, m in zip(parts, means, strict=True)]
        by_zero = [(h[p] * x[p] ** 2).sum() for p in parts]
        if zero:
            found += [sum(by_mean) - by_mean[i] + by_zero[i] for i in range(count)]
        else:
            found.append(sum(by_mean))
    return min(found)


@given(pairs=PAIRS, count=st.integers(1, 4), zero=st.booleans())
def test_exact_is_the_least_of_all_partitions(pairs, count, zero):
    x, h = np.array(pairs).T
    h = h if h.any() else np.ones(h.size)
    found = kmeans(x, count, weights=h, zero=zero)
    assert found.size <= count
    assert np.array_equal(found, np.sort(found))
    assert not zero or 0.0 in found
    # numbers up to 3: sums of 8 products have errors far below 1e-12
    assert distortion(x, found, h) == pytest.approx(least(x, h, count, zero=zero), abs=1e-12)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_exact_is_never_worse_than_a_local_optimum(seed, zero):
    rng = np.random.default_rng(seed)
    x, h = rng.standard_t(3, 700), rng.random(700)
    if zero:
        x[rng.random(700) < 0.5] = 0.0
    for count in (1, 2, 5, 32, 600):
        best = distortion(x, kmeans(x, count, weights=h, zero=zero), h)
        for start in STARTS[:3]:
            found = kmeans(x, count, start=start, weights=h, zero=zero, seed=seed)
            assert found.size <= count
            assert not zero or 0.0 in found
            assert best <= distortion(x, found, h) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("start", STARTS)
def test_every_centroid_is_the_mean_of_those_that_are_next_to_it(start):
    x = np.random.default_rng(0).normal(size=500)
    found = kmeans(x, 9, start=start, zero=True)
    nearest = np.abs(x[:, None] - found).argmin(axis=1)
    for i in range(found.size):
        assert found[i] == (0 if found[i] == 0 else pytest.approx(x[nearest == i].mean()))


@pytest.mark.parametrize("start", STARTS)
def test_weights_are_repetitions(start):
    x = np.random.default_rng(1).normal(size=60).round(1)
    times = np.random.default_rng(2).integers(0, 4, 60)
    weighted = kmeans(x, 5, start=start, weights=times)
    if start == "random":  # draws differ: the same quality is not certain
        assert weighted.size == 5
    else:
        assert weighted == pytest.approx(kmeans(np.repeat(x, times), 5, start=start))


def test_what_counts_more_is_met_better():
    x, h = np.array([0.0, 1.0, 4.0]), np.array([1.0, 9.0, 1.0])
    assert kmeans(x, 2, weights=h) == pytest.approx([0.9, 4.0])


def test_starts_begin_where_they_say():
    x = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 8.0])
    assert kmeans(x, 3, start="linear").tolist() == [1 / 7, 8.0]  # 0, 4, 8: 4 is empty
    assert kmeans(x, 4, start="density").tolist() == [1 / 7, 8.0]  # at 1/8, 3/8, 5/8, 7/8
    random = kmeans(np.arange(100.0), 7, start="random", seed=3)
    assert np.array_equal(random, kmeans(np.arange(100.0), 7, start="random", seed=3))
    assert not np.array_equal(random, kmeans(np.arange(100.0), 7, start="random", seed=4))


@pytest.mark.parametrize("start", STARTS)
def test_few_numbers_are_met_exactly(start):
    assert kmeans(np.array([2.0, 2.0, -1.0]), 5, start=start).tolist() == [-1.0, 2.0]
    zeros = np.zeros(4)
    assert kmeans(zeros, 5, start=start, zero=True).tolist() == [0.0]
    assert kmeans(np.array([1.0, 2.0]), 1, start=start, zero=True).tolist() == [0.0]


def test_weights_of_nothing_count_alike():
    assert kmeans(np.array([1.0, 3.0]), 1, weights=np.zeros(2)).tolist() == [2.0]


def test_numbers_far_from_zero_lose_no_digits():
    x = 1e6 + np.random.default_rng(0).normal(size=300)
    near, far = distortion(x - 1e6, kmeans(x - 1e6, 8)), distortion(x, kmeans(x, 8))
    # an offset of 1e6 leaves 2e-10 of each number: 300 errors of 1 * 2e-10
    assert far == pytest.approx(near, abs=6e-8)


@pytest.mark.parametrize("zero", [False, True])
def test_merging_neighbours_costs_little(monkeypatch, zero):
    x = np.random.default_rng(0).standard_t(4, 3000)
    best = distortion(x, kmeans(x, 16, zero=zero))
    monkeypatch.setattr(module, "_LARGEST_EXACT", 512)
    merged = distortion(x, kmeans(x, 16, zero=zero))
    assert best <= merged < 1.005 * best  # 32 groups a cluster: (1 / 32)^2 = 0.1 % at most


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros(0)}, "values must be one or more finite numbers. Got 0"),
        ({"values": np.array([1.0, np.nan])}, "values must be one or more finite numbers"),
        ({"count": 0}, "count must be 1 or more. Got 0"),
        ({"start": "best"}, "start must be one of linear, density, random, exact. Got 'best'"),
        ({"weights": np.ones(2)}, "weights must be 3 finite numbers of 0 or more. Got 2"),
        ({"weights": np.array([1, -1, 1])}, "weights must be 3 finite numbers"),
        ({"weights": np.array([1, np.inf, 1])}, "weights must be 3 finite numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    given = {"values": np.arange(3.0), "count": 2, **change}
    with pytest.raises(InputError, match=message):
        kmeans(given.pop("values"), given.pop("count"), **given)
