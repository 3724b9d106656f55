import operator
from dataclasses import replace

import pytest
import torch
from torch import nn

from tersor.codes.affine import Affine
from tersor.errors import ModelError
from tersor.network.check import check
from tersor.network.network import Port
from tersor.testing.networks import convolutional, perceptron

aten = torch.ops.aten


def node(network, name):
    return next(n for n in network.graph.nodes if n.name == name)


@pytest.mark.parametrize("make", [convolutional, perceptron])
def test_good_networks_pass(make):
    check(make())


def test_codes_and_quantizers_pass():
    network = perceptron().copy()
    network.set_code("first.weight", Affine.encode(network.tensor("first.weight"), axis=0))
    check(network)


@pytest.mark.parametrize(
    ("path", "values", "text"),
    [
        ("stem.weight", [float("nan")], r"stem\.weight holds 1 NaN of 216 numbers"),
        ("head.bias", [float("inf"), float("-inf")], r"head\.bias holds 2 infinite of 5"),
        ("stem_bn.running_var", [float("nan"), float("inf")], "1 NaN and 1 infinite of 8"),
    ],
)
def test_numbers_that_are_not_finite_are_counted(path, values, text):
    network = convolutional().copy()
    spoiled = network.tensor(path).detach().clone()
    spoiled.view(-1)[: len(values)] = torch.tensor(values)
    network.set_tensor(path, spoiled)
    with pytest.raises(ModelError, match=text) as caught:
        check(network)
    assert caught.value.tensor == path


def masked(value):
    network = perceptron().copy()
    network.set_tensor("mask", torch.full((12,), value))
    first = node(network, "linear_default")
    with network.graph.inserting_before(first):
        added = network.graph.call_function(
            aten.add.Tensor, (first.args[0], network.graph.get_attr("mask"))
        )
    first.replace_input_with(first.args[0], added)
    return network


def test_a_mask_may_hold_infinity_but_not_nan():
    check(masked(float("-inf")))
    with pytest.raises(ModelError, match="mask holds 12 NaN"):
        check(masked(float("nan")))


def broken(change):
    network = perceptron().copy()
    change(network)
    return network


def in_place(network):
    node(network, "relu_default").target = aten.relu_.default


def method(network):
    with network.graph.inserting_before(node(network, "relu_default")):
        network.graph.call_method("relu", (node(network, "linear_default"),))


def module(network):
    network.module.add_submodule("strange", nn.ReLU())
    with network.graph.inserting_before(node(network, "relu_default")):
        network.graph.call_module("strange", (node(network, "linear_default"),))


def python(network):
    node(network, "relu_default").target = torch.nn.functional.relu_


def foreign(network):
    node(network, "relu_default").target = print


def single_output(network):
    out = node(network, "output")
    out.args = (out.args[0][0],)


def order(network):
    node(network, "relu_default").append(node(network, "linear_default"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (in_place, r"relu_default works in place \(aten\.relu_\.default\)"),
        (method, "relu calls a method"),
        (module, "strange calls a ReLU"),
        (foreign, "relu_default calls .*print.*, which is not of ATen"),
        (single_output, "does not return a flat tuple"),
        (order, "The graph is damaged"),
    ],
)
def test_graphs_that_break_the_rules_are_refused(change, text):
    with pytest.raises(ModelError, match=text):
        check(broken(change))


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ({"inputs": ()}, "has 1 inputs, but 0 names"),
        ({"outputs": (Port("x", (), "float32"),)}, "has two ends named 'x'"),
    ],
)
def test_ports_must_fit(ports, text):
    with pytest.raises(ModelError, match=text):
        check(replace(perceptron(), **ports))


def test_sizes_may_be_computed_in_python():
    network = perceptron().copy()
    first = node(network, "linear_default")
    with network.graph.inserting_before(first):
        network.graph.call_function(operator.mul, (2, 3))
    check(network)
