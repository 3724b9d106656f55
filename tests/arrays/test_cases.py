"""The worst samples: those whose answer changed first, then the larger error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.arrays.cases import FEW, Answer, Cases


def definition(ratios, before, after):
    """Indices in the order of the module's docstring."""
    changed = [b.argmax() != a.argmax() for b, a in zip(before, after, strict=True)]
    order = sorted(range(len(ratios)), key=lambda i: (not changed[i], -ratios[i], i))
    return [i for i in order if ratios[i] > 0][:FEW]


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 17))
def test_equals_its_definition_whatever_the_batches(seed, count, size):
    rng = np.random.default_rng(seed)
    ratios = rng.integers(0, 5, count) / 4.0  # few values, so that ties are common
    before, after = rng.integers(0, 3, (2, count, 4)).astype(np.float32)
    cases = Cases()
    for i in range(0, count, size):
        part = slice(i, i + size)
        cases.add(i, {"y": ratios[part]}, None, (before[part], after[part]))
    assert [c.index for c in cases.worst()] == definition(ratios, before, after)


def test_the_output_that_moved_most_and_both_answers_are_told():
    cases = Cases()
    ratios = {"a": np.array([0.25, 0.0]), "b": np.array([0.5, 0.0])}
    scores = np.array([[1.0, 4.0, 2.5], [0, 0, 0]]), np.array([[3.0, 2.0, 1.0], [0, 0, 0]])
    cases.add(10, ratios, np.array([1, 2]), scores)
    (case,) = cases.worst()  # on the second sample nothing differs
    assert (case.index, case.output, case.ratio, case.label) == (10, "b", 0.5, 1)
    assert (case.before, case.after) == (Answer(1, 1.5), Answer(0, 1.0))
    assert case.changed


@pytest.mark.parametrize(
    ("labels", "known"),
    [(np.array([[3]]), 3), (np.array([2.0]), 2), (np.array([0.5]), None),
     (np.array([[1, 2]]), None), (None, None)],
)  # fmt: skip
def test_a_label_is_a_whole_number_or_not_known(labels, known):
    cases = Cases()
    cases.add(0, {"y": np.array([1.0])}, labels, None)
    (case,) = cases.worst()
    assert (case.label, case.before, case.after, case.changed) == (known, None, None, False)


def test_an_error_where_the_original_is_silent_comes_first():
    cases = Cases(few=2)
    cases.add(0, {"y": np.array([3.0, math.inf, 9.0])}, None, None)
    assert [c.index for c in cases.worst()] == [1, 2]
