"""Which values are rounded, and who reads them rounded."""

import torch
from torch import nn
from torch.nn import functional

from tersor.network.capture import capture
from tersor.network.layers import layers
from tersor.network.points import only_moves, points
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


class Pooled(nn.Module):
    """What a convolution makes, or adds, is averaged: nobody multiplies the average."""

    def __init__(self, *, residual):
        super().__init__()
        self.residual = residual
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y = functional.dropout(torch.relu(self.conv(x)), training=False)
        return (torch.sigmoid(y) if self.residual else y).mean((2, 3))


def test_what_a_convolution_hands_to_a_pool_is_rounded_and_the_average_is_not():
    found = found_in(capture(Pooled(residual=False), torch.randn(2, 3, 4, 4)))
    reads = {name: sorted(users) for name, users in rounded_reads(found).items()}
    assert [users for users in reads.values() if "mean" in users]
    assert "mean" not in reads


def test_a_pool_of_what_floats_make_reads_floats():
    found = found_in(capture(Pooled(residual=True), torch.randn(2, 3, 4, 4)))
    assert not any("mean" in users for users in rounded_reads(found).values())


def test_padding_and_views_bring_no_new_values_but_pools_choose_some():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            x = functional.max_pool2d(functional.relu(self.first(x)), 2)
            return self.second(functional.pad(x, (0, 1, 0, 1)))

    network = capture(Padded(), (torch.zeros(1, 3, 8, 8),))
    found = found_in(network)
    moving = {node.name for node in found.of if only_moves(node, found)}
    assert {name.split("_")[0] for name in moving} == {"pad"}
    groups = {found.of[node] for node in found.of if node.name in moving}
    assert all(any(n.name not in moving for n in found.groups[g]) for g in groups)


def test_a_view_of_what_a_float_kernel_makes_brings_all_of_it():
    found = found_in(encoder())
    (joined,) = [n for n in found.of if n.name.startswith("reshape")]
    assert not only_moves(joined, found)
