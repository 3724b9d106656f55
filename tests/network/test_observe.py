import tracemalloc

import numpy as np
import pytest
import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.network.network import Network, Port
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


def test_all_channels_are_counted_where_only_a_part_of_the_numbers_is():
    # 32,768 of 3 x 225 x 227 x 16 numbers: every 75th, of one channel only, were 75 kept
    images = np.zeros((16, 3, 225, 227), np.float32)
    images[:] = np.arange(1, 4, dtype=np.float32)[:, None, None]
    for form in (torch.contiguous_format, torch.channels_last):
        histogram = observe(_doubling(form), ["doubled"], Samples({"x": images}))["doubled"]
        counts = histogram.counts[histogram.counts > 0]
        assert len(counts) == 3
        assert counts.max() < 1.05 * counts.min()


def _doubling(form):
    graph = fx.Graph()
    x = graph.placeholder("x")
    ordered = graph.call_function(torch.clone, (x,), {"memory_format": form})
    doubled = graph.create_node("call_function", torch.add, (ordered, ordered), name="doubled")
    graph.output((doubled,))
    port = Port("x", ("batch", 3, 225, 227), "float32")
    return Network(fx.GraphModule({}, graph), (port,), (Port("y", port.shape, "float32"),))
