import itertools

import numpy as np
import pytest
import torch
from torch import fx, nn

from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer
from tersor.network.sensitivity import layer_noise
from tersor.testing.networks import perceptron, samples_for

aten = torch.ops.aten


def matrices(*sizes):
    """Linear layers l0, l1, ... with nothing between: outputs are linear in each result."""
    graph, root = fx.Graph(), nn.Module()
    random = torch.Generator().manual_seed(0)
    x = graph.placeholder("x")
    for i, (before, after) in enumerate(itertools.pairwise(sizes)):
        root.add_module(f"l{i}", nn.Module())
        w = nn.Parameter(torch.randn(after, before, generator=random))
        root.get_submodule(f"l{i}").register_parameter("weight", w)
        weight = graph.get_attr(f"l{i}.weight")
        x = graph.create_node("call_function", aten.linear.default, (x, weight), name=f"n{i}")
    graph.output((x,))
    ports = (Port("x", ("n", sizes[0]), "float32"),), (Port("y", ("n", sizes[-1]), "float32"),)
    return Network(fx.GraphModule(root, graph), *ports)


def rounded(network, paths):
    """A copy with the weights of that name in four bits, inputs in steps of a quarter."""
    result = network.copy()
    for path in paths:
        result.set_code(path, Affine.encode(network.tensor(path), bits=4, axis=0))
    for node in list(result.graph.nodes):
        weights = {str(a.target) for a in node.args if isinstance(a, fx.Node)}
        if weights & set(paths):
            name = f"q_{node.name}"
            result.module.add_submodule(name, ActivationQuantizer(0.25, 128))
            with result.graph.inserting_before(node):
                steps = result.graph.call_module(name, (node.args[0],))
            node.replace_input_with(node.args[0], steps)
    result.module.recompile()
    return result


def measured(network, path, samples):
    """The definition: this layer alone is rounded."""
    y = network.run(dict(samples.inputs))["y"].astype(float)
    z = rounded(network, [path]).run(dict(samples.inputs))["y"]
    return np.square(z - y).sum() / np.square(y).sum()


def test_one_linear_output_has_no_error_of_estimation():
    network = matrices(6, 5, 4, 1)
    samples = samples_for(network, 40)
    paths = [f"l{i}.weight" for i in range(3)]
    found = layer_noise(network, rounded(network, paths), ["n0", "n1", "n2"], samples)
    for i, path in enumerate(paths):
        assert found[f"n{i}"] == pytest.approx(measured(network, path, samples), rel=1e-4)


def test_several_outputs_are_right_within_the_error_of_the_signs():
    network = matrices(12, 16, 8)
    samples = samples_for(network, 800)
    paths = ["l0.weight", "l1.weight"]
    found = layer_noise(network, rounded(network, paths), ["n0", "n1"], samples)
    for node, path in zip(["n0", "n1"], paths, strict=True):
        error = 4 * (2 / 800) ** 0.5  # four standard errors
        assert found[node] == pytest.approx(measured(network, path, samples), rel=error)


def test_what_is_not_rounded_makes_no_noise():
    network = perceptron()
    nodes = [n.name for n in network.graph.nodes if "linear" in n.name]
    found = layer_noise(network, network.copy(), nodes, samples_for(network))
    assert found == dict.fromkeys(nodes, 0.0)


def test_without_layers_nothing_is_measured():
    network = perceptron()
    assert layer_noise(network, network, [], samples_for(network, 4)) == {}


def test_weights_that_codes_hold_are_measured_as_what_they_give():
    plain, coded = matrices(6, 5, 4), matrices(6, 5, 4)
    for path in ("l0.weight", "l1.weight"):
        weight = plain.tensor(path).detach()
        coded.set_code(path, Masked.encode(weight, weight > 0))
        plain.set_tensor(path, weight * (weight > 0))
    samples = samples_for(plain, 9)
    paths, nodes = ["l0.weight", "l1.weight"], ["n0", "n1"]
    expected = layer_noise(plain, rounded(plain, paths), nodes, samples)
    assert layer_noise(coded, rounded(plain, paths), nodes, samples) == expected
    assert min(expected.values()) > 0


def test_the_worst_output_counts():
    """An error counts by the size of the output that it is in."""
    network = matrices(6, 1).copy()
    (last,) = network.graph.output_node().args[0]
    with network.graph.inserting_after(last):
        both = network.graph.call_function(aten.mul.Tensor, (last, 100.0))
    with network.graph.inserting_after(both):
        shifted = network.graph.call_function(aten.add.Tensor, (last, 100.0))
    network.graph.output_node().args = ((shifted, both),)
    network.module.recompile()
    ports = tuple(Port(name, ("n", 1), "float32") for name in ("shifted", "large"))
    network = Network(network.module, network.inputs, ports)
    samples = samples_for(network, 20)
    twin = rounded(network, ["l0.weight"])
    exact, found = network.run(dict(samples.inputs)), twin.run(dict(samples.inputs))
    wanted = [np.square(found[n] - exact[n]).sum() / np.square(exact[n]).sum() for n in exact]
    assert wanted[1] > 10 * wanted[0]
    noise = layer_noise(network, twin, ["n0"], samples)["n0"]
    assert noise == pytest.approx(wanted[1], rel=1e-3)


def test_outputs_that_are_no_floats_have_no_noise():
    network = matrices(6, 3).copy()
    (last,) = network.graph.output_node().args[0]
    with network.graph.inserting_after(last):
        best = network.graph.call_function(aten.argmax.default, (last, 1))
    network.graph.output_node().args = ((best,),)
    network.module.recompile()
    network = Network(network.module, network.inputs, (Port("y", ("n",), "int64"),))
    assert layer_noise(network, network.copy(), ["n0"], samples_for(network)) == {}


def test_layers_in_front_of_a_clamp_are_measured_where_it_lets_them_through():
    """Of a layer behind whose clamp nothing moves, roundings make no noise."""
    graph, root = fx.Graph(), nn.Module()
    root.register_parameter("weight", nn.Parameter(torch.ones(3, 3)))
    x = graph.placeholder("x")
    y = graph.create_node(
        "call_function", aten.linear.default, (x, graph.get_attr("weight")), name="n0"
    )
    graph.output((graph.call_function(aten.clamp.default, (y, 0.0, 6.0)),))
    port = Port("x", ("n", 3), "float32")
    network = Network(
        fx.GraphModule(root, graph), (port,), (Port("y", port.shape, "float32"),)
    )
    coarse = network.copy()
    coarse.set_code("weight", Affine.encode(torch.full((3, 3), 0.9), bits=8, axis=0))
    for value, wanted in [(1.0, 0.01), (3.0, 0.0)]:  # 3 becomes 2.7, 9 is cut to 6
        samples = Samples({"x": np.full((4, 3), value, np.float32)})
        found = layer_noise(network, coarse, ["n0"], samples)["n0"]
        assert found == pytest.approx(wanted, rel=1e-4)
