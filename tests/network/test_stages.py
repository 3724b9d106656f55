"""Where blocks and stages end."""

import pytest
import torch
from torch import nn

from tersor.network.capture import capture
from tersor.network.stages import blocks, channel_axes, stages
from tersor.testing.networks import convolutional, encoder, perceptron


class Images(nn.Module):
    """Two stages of residual blocks, the second at half the size, and a gate like SE's."""

    def __init__(self):
        super().__init__()
        sizes = [(3, 8, 1), (8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (8, 16, 2)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, s, padding=1) for i, o, s in sizes)
        self.gate, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 4)

    def forward(self, x):
        stem, one, two, down, last, shortcut = self.convs
        x = torch.relu(stem(x))
        x = torch.relu(x + two(torch.relu(one(x))))
        y = last(torch.relu(down(x)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        x = torch.relu(y + shortcut(x))
        return self.head(x.mean((2, 3)))


class Moved(nn.Module):
    """Channels first and last in turn, in one dimension."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv1d(3, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        first = torch.relu(self.conv(x))
        last = self.linear(first.transpose(1, 2))
        back = torch.tanh(last.permute(0, 2, 1))
        mixed = torch.softmax(last @ back, -1)  # as many rows and columns as channels
        return torch.cat([back, first], 1), mixed, first.mean(1, keepdim=True)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.gru = nn.Embedding(9, 6), nn.GRU(6, 4, batch_first=True)
        self.head = nn.Linear(4, 9)

    def forward(self, ids):
        hidden, _ = self.gru(self.table(ids))
        return self.head(torch.relu(hidden))


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.one(x), 2)
        x = nn.functional.max_pool2d(torch.relu(self.two(x)), 2)
        return x.flatten(1)


class Skips(nn.Module):
    """A U: what is computed before its bottom is read after it."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1)
        self.three = nn.Conv2d(7, 2, 3, padding=1)

    def forward(self, x):
        first = self.one(x)
        deep = torch.relu(self.two(torch.relu(first)))
        up = nn.functional.interpolate(deep, scale_factor=2.0)
        return self.three(torch.cat([up, first[:, :3]], 1)) + first[:, :2]


def nodes(network, op):
    return [n.name for n in network.graph.nodes if str(n.target).startswith(f"aten.{op}.")]


@pytest.fixture(scope="module")
def images():
    return capture(Images(), torch.randn(2, 3, 8, 8))


def test_stages_of_images_end_where_the_size_changes(images):
    relus = nodes(images, "relu")
    assert len(relus) == 5
    assert stages(images) == [relus[2], relus[4]]


def test_blocks_end_on_the_trunk(images):
    relus = nodes(images, "relu")
    assert blocks(images) == [relus[0], relus[2], relus[4]]


def test_a_count_takes_even_steps_with_the_last_one(images):
    relus = nodes(images, "relu")
    assert stages(images, 1) == [relus[4]]
    assert stages(images, 2) == [relus[2], relus[4]]
    assert stages(images, 9) == [relus[0], relus[2], relus[4]]


def test_only_those_may_be_chosen_that_are_named(images):
    relus = nodes(images, "relu")
    assert stages(images, among={relus[0], relus[4]}) == [relus[0], relus[4]]
    assert stages(images, among={relus[1]}) == [relus[1]]  # beside the trunk
    assert stages(images, among=set()) == []


def reachable(start, without):
    """Nodes to which a path leads from `start`, and not over `without`."""
    found, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node.name not in found and node.name != without:
            found.add(node.name)
            waiting += node.users
    return found


@pytest.mark.parametrize("make", [convolutional, perceptron, encoder])
def test_the_trunk_is_what_no_path_leads_around(make):
    """Every way from the first layer to the output goes over each end of a block."""
    network = make()
    by_name = {n.name: n for n in network.graph.nodes}
    first = next(by_name[name] for name in channel_axes(network))
    found = blocks(network)
    assert found
    for name in found:
        assert "output" not in reachable(first, name)
    for name in {*nodes(network, "relu"), *nodes(network, "gelu")} - set(found):
        assert "output" in reachable(first, name)


def test_tokens_are_looked_at_in_even_steps():
    network = encoder()
    adds = nodes(network, "add")
    assert stages(network) == adds
    assert stages(network, 1) == adds[-1:]


def test_where_no_end_is_on_the_trunk_all_count():
    network = capture(Skips(), torch.randn(2, 3, 8, 8))
    relus, cats = nodes(network, "relu"), nodes(network, "cat")
    assert blocks(network) == [*relus, *cats]


def test_axes_follow_permutations():
    network = capture(Moved(), torch.randn(2, 3, 6))
    axes = channel_axes(network)
    assert [axes[name] for name in nodes(network, "conv1d")] == [1]
    assert [axes[name] for name in nodes(network, "transpose")] == [2]
    assert [axes[name] for name in nodes(network, "linear")] == [2]
    assert [axes[name] for name in nodes(network, "permute")] == [1]
    assert [axes[name] for name in nodes(network, "cat")] == [1]
    without = [nodes(network, op) for op in ("matmul", "softmax", "mean")]
    assert [len(names) for names in without] == [1, 1, 1]
    assert not {name for (name,) in without} & axes.keys()


def test_axes_of_gates_and_pools(images):
    axes = channel_axes(images)
    means = nodes(images, "mean")
    assert axes[means[0]] == 1
    assert means[1] not in axes
    assert {axes[name] for name in [*nodes(images, "mul"), *nodes(images, "conv2d")]} == {1}


def test_axes_of_words():
    network = capture(Words(), torch.tensor([[1, 2, 3], [4, 5, 6]]))
    axes = channel_axes(network)
    names = [*nodes(network, "embedding"), *nodes(network, "relu")]
    assert [axes[name] for name in names] == [2, 2]


def test_a_pool_that_reads_a_layer_ends_it():
    network = capture(Pooled(), torch.randn(2, 1, 12, 12))
    pools = nodes(network, "max_pool2d")
    assert blocks(network) == [pools[0], *nodes(network, "relu")]
