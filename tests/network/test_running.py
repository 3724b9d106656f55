import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from tersor.data.samples import Samples
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.network import Network, Port
from tersor.network.packed import convolution
from tersor.network.quantizer import ActivationQuantizer, round_in_place
from tersor.network.running import batch_size_of, each_value, for_running
from tersor.testing.networks import convolutional, perceptron, samples_for

aten = torch.ops.aten


def network_of(build, modules=()):
    """A network of one input x, (batch, 3), and the outputs that `build` makes of it."""
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    outputs = build(graph, x)
    graph.output(outputs)
    port = Port("x", ("batch", 3), "float32")
    ports = tuple(Port(f"y{i}", port.shape, "float32") for i in range(len(outputs)))
    return Network(torch.fx.GraphModule(dict(modules), graph), (port,), ports)


def targets(network):
    return [str(node.target) for node in network.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("make", [convolutional, perceptron])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_outputs_are_the_same_bits(make, rounded, monkeypatch):
    """But for packed convolutions, which are the same to rounding: see test_packed."""
    monkeypatch.setattr("tersor.network.running.pack", lambda *_: None)
    network, samples = make(), samples_for(make(), 4)
    if rounded:
        network = QuantizeStatic(min_sqnr_db=0.0).apply(network, samples)
    before = targets(network)
    found, wanted = for_running(network).run(samples.inputs), network.run(samples.inputs)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    assert targets(network) == before
    everything = {node.name for node in network.graph.nodes}
    assert len(for_running(network, keep=everything).graph.nodes) == len(network.graph.nodes)


def test_what_was_rounded_to_a_grid_and_only_moved_is_not_rounded_again():
    """Nor is anything else left out: not another grid, not what was made of rounded values."""

    def build(graph, x):
        rounded = graph.call_module("q", (x,))
        padded = graph.call_function(aten.constant_pad_nd.default, (rounded, [1, 0], 0.0))
        again = graph.call_module("q", (padded,))
        summed = graph.call_function(aten.add.Tensor, (again, again))
        return graph.call_module("q", (summed,)), graph.call_module("r", (again,))

    grids = {"q": ActivationQuantizer(0.37, 100), "r": ActivationQuantizer(0.4, 100)}
    network = network_of(build, grids)
    running = for_running(network)
    found = {node.name for node in running.graph.nodes}
    assert {node.name for node in network.graph.nodes} - found == {"q_1"}
    assert "q_1" in {n.name for n in for_running(network, keep={"q_1"}).graph.nodes}
    x = {"x": np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32) * 30}
    for name, found in running.run(x).items():
        np.testing.assert_array_equal(found, network.run(x)[name])


def test_activation_functions_overwrite_what_nobody_else_reads(monkeypatch):
    monkeypatch.setattr("tersor.network.running.pack", lambda *_: None)
    found = targets(for_running(convolutional()))
    assert "aten.relu_.default" in found
    assert "aten.hardtanh_.default" in found


def test_roundings_overwrite_what_nobody_else_reads():
    network, samples = convolutional(), samples_for(convolutional(), 4)
    rounded = QuantizeStatic(min_sqnr_db=0.0).apply(network, samples)
    running = for_running(rounded)
    in_place = [n for n in running.graph.nodes if n.target is round_in_place]
    others = [n for n in running.graph.nodes if n.op == "call_module"]
    assert in_place
    assert [n.args[0].op for n in others if n.args[0].op == "placeholder"]  # the caller's
    kept = for_running(rounded, overwrite=False)
    assert all(n.target is not round_in_place for n in kept.graph.nodes)


def test_convolutions_are_packed():
    running = for_running(convolutional())
    assert sum(n.target is convolution for n in running.graph.nodes) == 3
    kept = for_running(convolutional(), keep={"relu_default"})
    assert "relu_default" in {n.name for n in kept.graph.nodes}


def test_a_network_for_running_ends_with_its_last_reader():
    running = for_running(convolutional())
    module = weakref.ref(running.module)
    gc.disable()
    try:
        del running
        assert module() is None
    finally:
        gc.enable()


def test_values_are_told_of_the_nodes_that_are_asked_for():
    network, samples = convolutional(), samples_for(convolutional(), 2)
    arrays = network.tensors(samples.inputs)
    with torch.no_grad():
        everything = dict(each_value(network, arrays))
        some = list(each_value(network, arrays, of={"relu_default", "x"}))
    assert list(everything) == [node.name for node in network.graph.nodes]
    assert [name for name, _ in some] == ["x", "relu_default"]
    for name, value in some:
        assert torch.equal(value, everything[name])


def test_no_value_is_overwritten_that_somebody_else_looks_at():
    network = network_of(
        lambda graph, x: (
            graph.call_function(aten.relu.default, (x,)),  # what the caller gave
            double := graph.call_function(aten.add.Tensor, (x, x)),
            graph.call_function(aten.relu.default, (double,)),
        )
    )
    assert targets(for_running(network)) == targets(network)


def test_values_are_left_as_they_are_where_that_is_asked_for():
    network = network_of(
        lambda graph, x: (
            graph.call_function(
                aten.relu.default, (graph.call_function(aten.add.Tensor, (x, x)),)
            ),
        )
    )
    assert targets(for_running(network))[-1] == "aten.relu_.default"
    assert targets(for_running(network, overwrite=False))[-1] == "aten.relu.default"


def test_a_value_that_is_looked_at_is_overwritten_only_afterwards():
    network, samples = convolutional(), samples_for(convolutional(), 4)
    rounded = QuantizeStatic(min_sqnr_db=0.0).apply(network, samples)
    every = {node.name for node in rounded.graph.nodes}
    running, arrays = for_running(rounded, keep=every), rounded.tensors(samples.inputs)
    assert "aten.relu_.default" in targets(running)
    with torch.no_grad():
        wanted = dict(each_value(rounded, arrays))
        for name, value in each_value(running, arrays, of=wanted):
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-5)


def of_width(width):
    """A network of two values of that width, and a sample of 2^21 numbers for it."""
    network = network_of(lambda graph, x: (graph.call_function(aten.relu.default, (x,)),))
    port = Port("x", ("batch", width), "float32")
    sample = np.broadcast_to(np.float32(0), (1, 1 << 21))
    return replace(network, inputs=(port,)), Samples({"x": sample})


def test_as_many_samples_run_at_once_as_memory_bears():
    for width in (1 << 21, "width"):  # told by the network or by the samples
        assert batch_size_of(*of_width(width), 16) == 2  # of two values of 8 MiB, in 40 MiB
        assert batch_size_of(*of_width(width), 1) == 1
    assert batch_size_of(*of_width(3), 16) == 16
    network, _ = of_width("width")
    assert batch_size_of(network, Samples({"other": np.zeros((1, 3))}), 16) == 16


def test_looking_at_samples_leaves_them_as_they_are():
    samples = samples_for(convolutional(), 3)
    before = {name: np.array(array) for name, array in samples.inputs.items()}
    for_running(convolutional()).run(Samples(samples.inputs).inputs)
    for name, array in before.items():
        np.testing.assert_array_equal(samples.inputs[name], array)
