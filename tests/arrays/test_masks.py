"""Masks by score: which elements stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.arrays.masks import cubic, largest, largest_of_all, with_one_each

arrays = st.lists(
    st.lists(st.integers(-3, 3), min_size=1, max_size=20).map(lambda v: np.array(v, float)),
    min_size=1,
    max_size=4,
)


@given(arrays, st.floats(0, 1))
def test_as_many_stay_as_asked_and_none_that_goes_is_larger(scores, part):
    total = sum(each.size for each in scores)
    count = round(part * total)
    masks = largest_of_all(scores, count)
    kept = np.concatenate([s[m] for s, m in zip(scores, masks, strict=True)])
    gone = np.concatenate([s[~m] for s, m in zip(scores, masks, strict=True)])
    assert kept.size == count
    assert not kept.size or not gone.size or gone.max() <= kept.min()


def test_among_equals_the_later_stays():
    assert largest(np.array([[1.0, 1.0], [1.0, 1.0]]), 1).tolist() == [
        [False, False],
        [False, True],
    ]
    masks = largest_of_all([np.ones(2), np.ones(2)], 2)
    assert [m.tolist() for m in masks] == [[False, False], [True, True]]


def test_an_array_that_loses_all_keeps_its_largest():
    scores = [np.array([9.0, 8.0]), np.array([1.0, 2.0])]
    masks = with_one_each(largest_of_all(scores, 2), scores)
    assert [m.tolist() for m in masks] == [[True, True], [False, True]]


@pytest.mark.parametrize(("progress", "expected"), [(-1, 0.5), (0, 0.5), (1, 0.9), (2, 0.9)])
def test_the_cubic_schedule_has_its_ends(progress, expected):
    assert cubic(progress, 0.5, 0.9) == expected


def test_the_cubic_schedule_rises():
    values = [cubic(i / 50, 0.1, 0.9) for i in range(51)]
    assert values == sorted(values)
    assert values[25] == pytest.approx(0.9 - 0.8 / 8)
