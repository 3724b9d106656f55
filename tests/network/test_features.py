import numpy as np
import pytest
import torch

from tersor.data.samples import Samples
from tersor.errors import ModelError
from tersor.network.features import Features, features
from tersor.testing.networks import encoder, perceptron, samples_for


def test_peaks_are_the_largest_magnitudes_of_all_samples():
    network, samples = perceptron(), samples_for(perceptron(), 100)
    found = features(network, ["x"], samples)["x"]
    np.testing.assert_array_equal(found.peaks, np.abs(samples.inputs["x"]).max(0))


def test_axes_before_the_last_are_rows():
    x = np.random.default_rng(0).standard_normal((3, 5, 16)).astype(np.float32)
    found = features(encoder(), ["x"], Samples({"x": x}))["x"]
    np.testing.assert_array_equal(found.rows, x.reshape(-1, 16))


def test_rows_come_from_every_batch_and_their_number_is_bounded():
    x = np.repeat(np.arange(320, dtype=np.float32)[:, None], 12, 1)
    found = features(perceptron(), ["x"], Samples({"x": x}), rows=40)["x"]
    assert len(found.rows) == 40
    assert {int(r) // 32 for r in found.rows[:, 0]} == set(range(10))


def test_a_value_that_is_not_finite_is_named():
    bad = Samples({"x": np.full((2, 12), np.inf, np.float32)})
    with pytest.raises(ModelError, match=r"x gives NaN or infinity"):
        features(perceptron(), ["x"], bad)


def test_few_rows_are_all_kept():
    seen = Features()
    seen.add(torch.arange(6.0).reshape(3, 2), most=3)
    assert seen.rows.tolist() == [[0, 1], [2, 3], [4, 5]]
