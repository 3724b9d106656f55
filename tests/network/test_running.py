import numpy as np
import pytest
import torch

from tersor.data.samples import Samples
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.network import Network, Port
from tersor.network.running import batch_size_of, for_running
from tersor.testing.networks import convolutional, perceptron, samples_for

aten = torch.ops.aten


def network_of(build):
    """A network of one input x, (batch, 3), and the outputs that `build` makes of it."""
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    outputs = build(graph, x)
    graph.output(outputs)
    port = Port("x", ("batch", 3), "float32")
    ports = tuple(Port(f"y{i}", port.shape, "float32") for i in range(len(outputs)))
    return Network(torch.fx.GraphModule({}, graph), (port,), ports)


def targets(network):
    return [str(node.target) for node in network.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("make", [convolutional, perceptron])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_outputs_are_the_same_bits(make, rounded):
    network, samples = make(), samples_for(make(), 4)
    if rounded:
        network = QuantizeStatic(min_sqnr_db=0.0).apply(network, samples)
    before = targets(network)
    found, wanted = for_running(network).run(samples.inputs), network.run(samples.inputs)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    assert targets(network) == before
    assert len(for_running(network).graph.nodes) == len(network.graph.nodes)


def test_activation_functions_overwrite_what_nobody_else_reads():
    found = targets(for_running(convolutional()))
    assert "aten.relu_.default" in found
    assert "aten.hardtanh_.default" in found


def test_no_value_is_overwritten_that_somebody_else_looks_at():
    network = network_of(
        lambda graph, x: (
            graph.call_function(aten.relu.default, (x,)),  # what the caller gave
            double := graph.call_function(aten.add.Tensor, (x, x)),
            graph.call_function(aten.relu.default, (double,)),
        )
    )
    assert targets(for_running(network)) == targets(network)


def test_a_value_that_is_kept_is_not_overwritten():
    network = network_of(
        lambda graph, x: (
            graph.call_function(
                aten.relu.default, (graph.call_function(aten.add.Tensor, (x, x)),)
            ),
        )
    )
    (name,) = (node.name for node in network.graph.nodes if "add" in node.name)
    assert targets(for_running(network))[-1] == "aten.relu_.default"
    assert targets(for_running(network, keep={name}))[-1] == "aten.relu.default"


def test_batches_are_smaller_where_values_are_larger():
    small, large = (
        network_of(lambda graph, x: (graph.call_function(aten.relu.default, (x,)),))
        for _ in range(2)
    )
    port = Port("x", ("batch", 1 << 22), "float32")
    large = Network(large.module, (port,), (Port("y", port.shape, "float32"),))
    assert batch_size_of(small, 16) == 16
    assert batch_size_of(large, 16) == 6  # of two values of 2^22 numbers


def test_looking_at_samples_leaves_them_as_they_are():
    samples = samples_for(convolutional(), 3)
    before = {name: np.array(array) for name, array in samples.inputs.items()}
    for_running(convolutional()).run(Samples(samples.inputs).inputs)
    for name, array in before.items():
        np.testing.assert_array_equal(samples.inputs[name], array)
