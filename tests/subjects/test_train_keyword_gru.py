"""Training the keyword spotter, and what it left in the repository."""

import numpy as np
import pytest
import torch
from benchmarks import records
from benchmarks.features import LENGTH
from benchmarks.models.keyword_gru import WEIGHTS, pretrained
from benchmarks.train_keyword_gru import NAME, accuracy, trained


def sounds():
    """Two kinds, low and high tones, 20 of each."""
    time = np.arange(LENGTH) / 8000
    hz = np.concatenate([np.linspace(200, 300, 20), np.linspace(2000, 2500, 20)])
    return np.sin(2 * np.pi * hz[:, None] * time).astype("f4"), np.repeat([0, 1], 20)


def test_training_learns_and_gives_the_same_twice():
    torch.set_num_threads(1)
    first, second = (trained(0, *sounds(), epochs=20) for _ in range(2))
    again = second.state_dict()
    assert all(torch.equal(t, again[name]) for name, t in first.state_dict().items())
    assert accuracy(first, *sounds()) == 1.0


def test_seed_0_is_in_the_results_and_its_weights_are_small():
    assert 0 in {row["seed"] for row in records.read(NAME)}
    assert WEIGHTS.stat().st_size < 300_000
    assert sum(p.numel() for p in pretrained().parameters()) == 38_410


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
def test_no_recording_both_trains_and_tests():
    from benchmarks.splits import digits, spoken

    train, _ = spoken(range(10, 50))
    test = digits("test")
    assert len(train) == 1200
    assert len(test) == 150
    assert np.bincount(test.labels).tolist() == [15] * 10
