"""Which values are rounded, and who reads them rounded."""

from tersor.network.layers import layers
from tersor.network.points import points
from tersor.testing.networks import convolutional, encoder


def chosen_of(network):
    return [layer for layer in layers(network) if layer.compressible]


def found_in(network):
    return points(network.graph, chosen_of(network))


def rounded_reads(found):
    return {node.name: {u.name for u in users} for node, users in found.readers.items()}


def test_a_residual_sum_reads_a_normalized_value_as_it_is():
    reads = rounded_reads(found_in(encoder()))
    assert reads["layer_norm_default"] == {
        "linear_default",
        *(f"linear_default_{i}" for i in (1, 2)),
    }
    assert reads["layer_norm_default_1"] == {"linear_default_4"}


def test_what_a_convolution_makes_is_read_rounded_by_all():
    network = convolutional()
    found = found_in(network)
    for node, users in found.readers.items():
        assert users == [u for u in node.users if u.op != "output"]
