"""Mel features against their definition."""

import numpy as np
import pytest
from benchmarks import features


def tone(hz):
    return np.sin(2 * np.pi * hz * np.arange(features.LENGTH) / features.RATE).astype("f4")


def test_silence_is_the_floor_of_the_logarithm():
    found = features.log_mel(np.zeros((2, features.LENGTH), np.float32))
    assert found.shape == (2, features.FRAMES, features.MELS)
    assert np.abs(found - np.log(1e-6)).max() < 1e-5


@pytest.mark.parametrize("hz", [250.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_filter_around_it(hz):
    mel = 2595 * np.log10(1 + np.array([60.0, hz, 4000.0]) / 700)
    place = (mel[1] - mel[0]) / (mel[2] - mel[0]) * (features.MELS + 1) - 1
    (found,) = features.log_mel(tone(hz)[None])
    assert (np.abs(found.argmax(axis=1) - place) <= 1).all()


def test_ten_times_louder_is_log_100_more():
    quiet = features.log_mel(tone(1000.0)[None])
    loud = features.log_mel(10 * tone(1000.0)[None])
    strong = quiet > np.log(1e-2)  # well above the floor
    assert strong.any()
    np.testing.assert_allclose((loud - quiet)[strong], np.log(100), atol=1e-3)


def test_sounds_are_cut_or_padded_to_a_second():
    assert features.one_second(np.ones(9000, np.float32)).sum() == 8000
    assert features.one_second(np.ones(10, np.float32))[9:11].tolist() == [1, 0]
