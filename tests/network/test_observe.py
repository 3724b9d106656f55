import numpy as np
import torch
from tests.growth import Growth
from torch import fx

from tersor.data.samples import Samples
from tersor.network.network import Network, Port
from tersor.network.observe import observe
from tersor.testing.networks import convolutional, perceptron, samples_for


def test_ten_thousand_samples_take_little_more_memory_than_a_hundred():
    network = convolutional()
    one = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    nodes = [node.name for node in network.graph.nodes if node.op == "call_function"]
    most = {}
    for count in (100, 100, 10_000):  # the first makes what is made once
        samples = Samples({"x": np.broadcast_to(one, (count, 3, 8, 8))})  # takes no memory
        with Growth() as memory:
            observe(network, nodes, samples)
        most[count] = memory.bytes
    assert most[10_000] < most[100] + 20e6  # all values of 10,000 samples: 130 MB


class Ear:
    """Hears two nodes on the first five samples, two at a time."""

    count, size, nodes = 5, 2, {"x", "relu_default"}

    def __init__(self):
        self.heard = {}

    def hear(self, start, name, value):
        self.heard[start, name] = value.clone()


def test_a_listener_hears_the_first_samples_and_all_are_counted():
    network = perceptron()
    samples = samples_for(network, 21)
    names = ["x", *(n.name for n in network.graph.nodes if "linear" in n.name)]
    ear = Ear()
    found, wanted = observe(network, names, samples, ear), observe(network, names, samples)
    for name in names:
        assert np.array_equal(found[name].counts, wanted[name].counts)
    assert set(ear.heard) == {(start, name) for start in (0, 2, 4) for name in Ear.nodes}
    x = np.concatenate([ear.heard[start, "x"] for start in (0, 2, 4)])
    assert np.array_equal(x, samples.inputs["x"][:5])
    assert all((ear.heard[start, "relu_default"] >= 0).all() for start in (0, 2, 4))


def test_a_listener_may_hear_of_all_samples():
    network = perceptron()
    samples = samples_for(network, 3)
    assert observe(network, ["x"], samples, Ear())["x"].counts.sum() == 3 * 12


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
