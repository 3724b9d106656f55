"""Which values are rounded, and who reads them rounded."""

import torch

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


def test_what_attention_makes_is_rounded_once_behind_its_transposition():
    network = encoder()
    reads = rounded_reads(found_in(network))
    nodes = {node.name: node for node in network.graph.nodes}
    (joined,) = [n for n in nodes.values() if n.name.startswith("reshape")]
    assert reads[joined.name] == {"linear_default_3"}
    chain = joined.all_input_nodes[0], joined.all_input_nodes[0].all_input_nodes[0]
    assert [str(n.target).split(".")[1] for n in chain] == [
        "transpose",
        "scaled_dot_product_attention",
    ]
    assert not {n.name for n in chain} & set(reads)


def test_what_an_integer_kernel_makes_is_rounded_in_front_of_a_view_too():
    network = convolutional()
    (pool,) = [n for n in network.graph.nodes if n.name.startswith("max_pool2d")]
    with network.graph.inserting_after(pool):
        view = network.graph.call_function(torch.ops.aten.clone.default, (pool,))
    for user in [u for u in pool.users if u is not view]:
        user.replace_input_with(pool, view)
    found = found_in(network)
    assert {pool, view} <= set(found.of)
    assert found.of[pool] == found.of[view]
