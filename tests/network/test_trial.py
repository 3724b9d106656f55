from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx

from tersor.codes.affine import Affine
from tersor.data.samples import Samples
from tersor.network.network import Network, Port
from tersor.network.observe import observe
from tersor.network.trial import Trial
from tersor.testing.networks import convolutional, perceptron, samples_for


def test_noise_is_error_power_over_signal_power_of_the_first_samples():
    network = convolutional()
    samples = samples_for(network, 40)
    rounded = coarse(network)
    exact, found = (n.run(samples.take(0, 16).inputs)["scores"] for n in (network, rounded))
    wanted = np.square(found - exact).sum() / np.square(exact).sum()
    assert Trial(network, samples).noise(rounded) == pytest.approx(wanted, rel=1e-3)


def test_what_is_heard_while_all_samples_are_looked_at_is_what_a_run_of_its_own_tells():
    network = convolutional()
    samples, rounded = samples_for(network, 40), coarse(network)
    heard = Trial(network, samples)
    observe(network, [node.name for node in network.graph.nodes][:1], samples, heard)
    result, noise = heard.corrected(rounded)
    other, wanted = Trial(network, samples).corrected(rounded)
    assert 0 < noise == wanted
    for name in ("branch.bias", "head.bias"):
        assert torch.equal(result.tensor(name), other.tensor(name))
        assert not torch.equal(result.tensor(name), network.tensor(name))


def coarse(network):
    """Weights of three bits."""
    result = network.copy()
    for path in ("branch.weight", "head.weight"):
        result.set_code(path, Affine.encode(network.tensor(path), bits=3, axis=0))
    return result


def test_a_value_that_is_two_outputs_is_heard_as_both():
    ports = tuple(Port(name, ("batch", 10), "float32") for name in ("a", "b"))
    both, changed = (perceptron().copy() for _ in range(2))
    (last,) = both.graph.output_node().args[0]
    both.graph.output_node().args = ((last, last),)
    (last,) = changed.graph.output_node().args[0]
    with changed.graph.inserting_after(last):
        twice = changed.graph.call_function(torch.ops.aten.add.Tensor, (last, last))
    changed.graph.output_node().args = ((last, twice),)
    for network in (both, changed):
        network.module.recompile()
    both, changed = (replace(network, outputs=ports) for network in (both, changed))
    trial = Trial(both, samples_for(both, 4))
    assert trial.noise(both) == 0.0
    assert trial.noise(changed) == pytest.approx(1.0)  # b is off by its own size


def test_a_network_of_a_fixed_batch_is_compared_on_whole_batches():
    graph = fx.Graph()
    x = graph.placeholder("x")  # more than 16 at once, and no part of 32
    graph.output((graph.call_function(torch.ops.aten.reshape.default, (x, [20, 3])),))
    ports = (Port("x", (20, 3), "float32"),), (Port("y", (20, 3), "float32"),)
    network = Network(fx.GraphModule({}, graph), *ports)
    samples = Samples({"x": np.ones((40, 3), np.float32)})
    assert Trial(network, samples).noise(network) == 0.0
