"""Networks with fewer channels and fresh weights: shapes follow, all else is the same."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tersor.errors import ModelError
from tersor.network.capture import capture
from tersor.network.narrow import narrowed
from tersor.testing.networks import convolutional, encoder, perceptron, samples_for


def shapes(network):
    return {name: tuple(t.shape) for name, t in network.module.state_dict().items()}


class Images(nn.Module):
    """Convolution, batch norm, a shortcut with channels of zeros, a flattening by a number."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16 * 16, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 6))
        x = torch.relu(self.wide(x) + short)
        return self.head(x.reshape(-1, 16 * 16))


IMAGES = capture(Images(), torch.zeros(2, 3, 8, 8))


def test_inner_widths_shrink_and_the_ends_stay():
    small = narrowed(perceptron(), 0.5)
    assert shapes(small) == {
        "first.weight": (16, 12),
        "first.bias": (16,),
        "second.weight": (8, 16),
        "second.bias": (8,),
        "third.weight": (3, 8),
        "third.bias": (3,),
    }
    (y,) = small.run({"x": np.ones((4, 12), np.float32)}).values()
    assert y.shape == (4, 3)


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.37, 0.5, 0.9, 1.0])
def test_shortcuts_depthwise_layers_and_norms_follow(factor):
    network = convolutional()
    small = narrowed(network, factor)
    width = max(1, round(factor * 8))
    found = shapes(small)
    assert found["stem.weight"] == (width, 3, 3, 3)
    assert found["depthwise.weight"] == (width, 1, 3, 3)
    assert found["deep_bn.running_mean"] == (width,)
    assert found["head.weight"] == (5, 2 * width)
    (scores,) = small.run(dict(samples_for(network, 3).inputs)).values()
    assert scores.shape == (3, 5)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 1.0])
def test_padded_channels_and_written_sizes_follow(factor):
    small = narrowed(IMAGES, factor)
    wide = max(1, round(factor * 16))
    assert shapes(small)["head.weight"] == (5, 16 * wide)
    (scores,) = small.run({"x": np.ones((3, 3, 8, 8), np.float32)}).values()
    assert scores.shape == (3, 5)


@pytest.mark.parametrize(("factor", "pair"), [(0.5, (1, 3)), (1.0, (2, 6)), (0.0, (0, 0))])
def test_channels_of_zeros_stay_divided_as_they_were(factor, pair):
    graph = narrowed(IMAGES, factor).graph
    (pads,) = (node.args[1] for node in graph.nodes if "pad" in str(node.target))
    assert tuple(pads) == (0, 0, 0, 0, *pair)


def test_weights_are_drawn_by_the_seed_within_the_range_of_their_fan_in():
    one, same, other = (narrowed(perceptron(), 0.5, seed=seed) for seed in (0, 0, 1))
    weight = one.tensor("second.weight").detach()
    assert torch.equal(weight, same.tensor("second.weight"))
    assert not torch.equal(weight, other.tensor("second.weight"))
    assert weight.abs().max() <= 16**-0.5
    # uniform: variance bound^2 / 3, of 128 draws; their fourth moment gives 8 % of spread
    assert float(weight.square().mean()) == pytest.approx(1 / 48, rel=0.32)
    assert one.tensor("second.bias").abs().max() <= 16**-0.5


def test_normalizations_begin_as_the_identity():
    small = narrowed(convolutional(), 0.5)
    ends = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for leaf, value in ends.items():
        assert (small.tensor(f"stem_bn.{leaf}") == value).all()


def test_the_original_stays_and_is_the_teacher():
    network = convolutional()
    before = {name: t.clone() for name, t in network.module.state_dict().items()}
    small = narrowed(network, 0.5)
    assert small.origin is network
    assert small.notes == ()
    assert all(torch.equal(t, before[n]) for n, t in network.module.state_dict().items())
    groups = [node.args[6] for node in network.graph.nodes if "conv2d" in str(node.target)]
    assert groups[-1] == 8


class Groups(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1, groups=2)

    def forward(self, x):
        return self.two(self.one(x))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(8, 8)

    def forward(self, x):
        return self.one(torch.relu(self.one(x)))


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.two(x + self.one(x))


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(4, 3)

    def forward(self, x):
        return self.two(self.one(x).reshape(-1, 2, 4))


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1, groups=8)

    def forward(self, x):
        return self.two(self.one(x))


class Computed(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(8, 8)

    def forward(self, x):
        return functional.linear(x, self.one.weight * 2.0)


VECTOR, IMAGE = torch.zeros(2, 8), torch.zeros(2, 4, 5, 5)


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (Groups(), IMAGE, "conv2d_1 is a convolution in groups"),
        (Shared(), VECTOR, "one.weight is shared by layers that would differ"),
        (Joined(), VECTOR, "add joins values that would differ in size"),
        (Fixed(), VECTOR, "reshape fixes sizes: "),
        (Last(), IMAGE, "conv2d_1 is an output of another size then"),
        (Computed(), VECTOR, "linear has a weight that is computed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_is_in_the_way_is_named(module, example, message):
    with pytest.raises(ModelError, match=message):
        narrowed(capture(module, example), 0.5)


def test_what_else_was_learnt_is_named():
    with pytest.raises(ModelError, match="was learnt and is no layer's weight"):
        narrowed(encoder(), 1.0)
