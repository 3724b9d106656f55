import tracemalloc

import numpy as np
import pytest

from tersor.data.samples import Samples
from tersor.network.observe import observe
from tersor.testing.networks import perceptron


def live_bytes(count):
    """The most that is held while `count` samples are looked at."""
    network = perceptron()
    one = np.random.default_rng(0).standard_normal((1, 12)).astype(np.float32)
    samples = Samples({"x": np.broadcast_to(one, (count, 12))})  # takes no memory itself
    nodes = [node.name for node in network.graph.nodes if node.op == "call_function"]
    tracemalloc.start()
    try:
        observe(network, nodes, samples)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_thousand_samples_take_no_more_memory_than_a_hundred():
    live_bytes(100)  # what is made once
    assert live_bytes(10_000) == pytest.approx(live_bytes(100), rel=0.05)
