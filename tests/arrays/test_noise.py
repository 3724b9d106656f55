import math

import numpy as np
import pytest

from tersor.arrays.noise import Noise, Worst


def test_batches_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    exact, found = rng.standard_normal((2, 11, 3, 2))
    whole, parts = Noise(), Noise()
    whole.add(0, {"y": exact}, {"y": found})
    for start in range(0, 11, 4):
        part = slice(start, start + 4)
        parts.add(start, {"y": exact[part]}, {"y": found[part]})
    assert parts.sqnr_db("y") == pytest.approx(whole.sqnr_db("y"))
    assert parts.rms("y") == pytest.approx(np.sqrt(np.square(found - exact).mean()))
    assert parts.worst() == whole.worst()
    assert parts.largest == np.abs(found - exact).max()


def test_worst_is_relative_to_the_sample_itself():
    exact = np.array([[100.0], [1.0], [10.0]])
    noise = Noise()
    noise.add(5, {"y": exact}, {"y": exact + np.array([[1.0], [0.1], [0.1]])})
    assert noise.worst() == Worst(6, "y", pytest.approx(20.0))


def test_noise_on_silence_is_infinitely_loud():
    noise = Noise()
    noise.add(0, {"y": np.zeros((2, 1))}, {"y": np.array([[0.0], [1.0]])})
    assert noise.worst() == Worst(1, "y", -math.inf)
    assert noise.sqnr_db("y") == -math.inf


def test_nothing_differs():
    noise = Noise()
    noise.add(0, {"y": np.zeros((2, 0))}, {"y": np.zeros((2, 0))})
    assert (noise.worst(), noise.sqnr_db("y"), noise.rms("y")) == (None, math.inf, 0.0)


def test_relative_power_is_one_over_the_signal_to_noise_ratio():
    noise = Noise()
    noise.add(0, {"y": np.array([[3.0], [4.0]])}, {"y": np.array([[3.0], [3.5]])})
    assert noise.relative_power("y") == pytest.approx(0.25 / 25)
    noise.add(
        0,
        {"z": np.ones((1, 1)), "0": np.zeros((1, 1))},
        {"z": np.ones((1, 1)), "0": np.ones((1, 1))},
    )
    assert (noise.relative_power("z"), noise.relative_power("0")) == (0.0, math.inf)
