"""Scores and drops of the benchmarks, against their definitions."""

import numpy as np
import pytest
from benchmarks import scoring

from tersor.arrays.intervals import paired_proportions


def pairs(cosines):
    """Embeddings of width 2, in pairs with these cosines, of various lengths."""
    angles = np.arccos(cosines)
    first = np.stack([np.ones_like(angles), np.zeros_like(angles)], axis=1)
    second = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.stack([first, second], axis=1).reshape(-1, 2)


def test_top1_is_the_share_of_highest_outputs():
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]], np.float32)
    assert scoring.score("top1", outputs, np.array([1, 0, 1])) == pytest.approx(200 / 3)


def test_drop_of_top1_has_the_paired_interval_of_tango():
    labels = np.zeros(100, np.int64)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    before = np.stack([right] * 90 + [wrong] * 10)
    after = np.stack([wrong] * 5 + [right] * 87 + [wrong] * 8)  # 5 lost, 2 won
    found = scoring.drop("top1", before, after, labels)
    assert found.value == pytest.approx(3)
    assert (found.low, found.high) == tuple(100 * x for x in paired_proportions(5, 2, 100))


@pytest.mark.parametrize("sign", [1, -1])
def test_spearman_sees_the_order_of_similarities_only(sign):
    similar = pairs(sign * np.array([-0.5, 0.0, 0.1, 0.9]))
    labels = np.repeat([0.0, 1.0, 2.0, 3.0], 2)
    assert scoring.score("spearman", similar, labels) == pytest.approx(100 * sign)


def test_spearman_by_hand():
    """Ranks 2 1 3 4 against 1 2 3 4: 1 - 6 * (1 + 1) / (4 * 15) = 0.8."""
    found = scoring.score("spearman", pairs([0.2, 0.1, 0.3, 0.4]), np.repeat([1, 2, 3, 4], 2))
    assert found == pytest.approx(80)


def test_bootstrap_of_equal_networks_has_no_width():
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(60, 8)), np.repeat(rng.integers(0, 6, 30), 2)
    assert scoring.drop("spearman", outputs, outputs, labels) == scoring.Drop(0.0, 0.0, 0.0)


def test_bootstrap_holds_the_drop_and_is_the_same_twice():
    rng = np.random.default_rng(0)
    cosines = np.linspace(-0.9, 0.9, 50)
    labels = np.repeat(np.arange(50), 2)
    worse = np.clip(cosines + rng.normal(scale=0.3, size=50), -1, 1)
    found = scoring.drop("spearman", pairs(cosines), pairs(worse), labels)
    assert 0 < found.low < found.value < found.high
    assert found == scoring.drop("spearman", pairs(cosines), pairs(worse), labels)
