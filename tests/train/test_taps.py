"""Values of inner nodes, taken where the outputs are computed."""

import pytest
import torch

from tersor.errors import ModelError
from tersor.testing.networks import perceptron
from tersor.train.taps import parted, tapped


def test_values_come_behind_the_outputs():
    network, x = perceptron(), torch.randn(4, 12)
    names = ("relu_default_1", "linear_default")
    found = tapped(network, names).module(x)
    outputs, values = parted(found, names)
    first = x @ network.tensor("first.weight").T + network.tensor("first.bias")
    second = first.relu() @ network.tensor("second.weight").T + network.tensor("second.bias")
    assert len(outputs) == 1
    assert torch.equal(outputs[0], network.module(x)[0])
    assert list(values) == list(names)
    assert torch.allclose(values["linear_default"], first, atol=1e-5)
    assert torch.allclose(values["relu_default_1"], second.relu(), atol=1e-5)


def test_the_network_stays_as_it_is_and_tensors_are_shared():
    network = perceptron()
    code = str(network.graph)
    result = tapped(network, ["relu_default"])
    assert str(network.graph) == code
    assert result.module.get_parameter("first.weight") is network.module.get_parameter(
        "first.weight"
    )


def test_where_nobody_asks_it_is_the_network_itself():
    network = perceptron()
    assert tapped(network, ()) is network
    assert parted(network.module(torch.zeros(1, 12)), ())[1] == {}


@pytest.mark.parametrize("name", ["relu_default_9", "output"])
def test_a_node_that_is_not_there_is_named(name):
    with pytest.raises(ModelError, match=f"{name} is no node of the network"):
        tapped(perceptron(), [name])
