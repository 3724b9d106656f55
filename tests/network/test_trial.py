import numpy as np
import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.network.network import Network, Port
from tersor.network.trial import Trial


def test_a_network_of_a_fixed_batch_is_compared_on_whole_batches():
    graph = fx.Graph()
    x = graph.placeholder("x")  # more than 16 at once, and no part of 32
    graph.output((graph.call_function(torch.ops.aten.reshape.default, (x, [20, 3])),))
    ports = (Port("x", (20, 3), "float32"),), (Port("y", (20, 3), "float32"),)
    network = Network(fx.GraphModule({}, graph), *ports)
    samples = Samples({"x": np.ones((40, 3), np.float32)})
    assert Trial(network, samples).noise(network) == 0.0
