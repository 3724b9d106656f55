"""Cut networks against the same networks with zeros, for many architectures."""

import time

import numpy as np
import pytest
import torch
from tests.network.cutting import (
    assert_cuts_like_zeros,
    captured,
    halved,
    outputs,
    random_part,
    wanted,
)

from architectures import ARCHITECTURES
from tersor.errors import InputError
from tersor.network.arguments import arguments
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.network import Network, Port
from tersor.network.surgery import cut
from tersor.testing.networks import _Builder, convolutional, encoder

aten = torch.ops.aten


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_halves_are_cut_as_if_they_were_zero(name):
    network, inputs, found = captured(name)
    small = halved(name)
    expected = wanted(network, inputs, found, random_part(found))
    for value, like in zip(outputs(small, inputs), expected, strict=True):
        np.testing.assert_allclose(value, like, rtol=0, atol=2e-5 * np.abs(like).max())
    assert cost(small).parameters < 0.6 * cost(network).parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_few_channels_are_cut_as_if_they_were_zero(name):
    """Groups of sizes that divide nothing any more."""
    network, inputs, found = captured(name)
    assert_cuts_like_zeros(network, inputs, found, random_part(found, 0.85, seed=1))


@pytest.mark.parametrize("name", ["resnet_basic", "shufflenet_v1", "bert", "lstm_tagger"])
def test_one_channel_of_every_group_is_enough(name):
    network, inputs, found = captured(name)
    small = assert_cuts_like_zeros(network, inputs, found, random_part(found, 0.0))
    assert all(group.size > 1 for group in found.groups)
    assert not [group for group in channels(small).groups if group.name in found.keeping({})]


@pytest.mark.parametrize("make", [convolutional, encoder])
def test_the_network_stays_as_it_is(make):
    network = make()
    stamp, code = network.stamp, network.module.code
    before = [tensor.clone() for tensor in network.module.state_dict().values()]
    found = channels(network)
    small = cut(network, random_part(found), found)
    assert (network.stamp, network.module.code) == (stamp, code)
    after = network.module.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert small.origin is network


def test_who_cuts_nothing_gets_the_same_tensors():
    network = encoder()
    found = channels(network)
    same = cut(network, {g.name: np.ones(g.size, bool) for g in found.groups}, found)
    assert same.stamp == network.stamp
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(outputs(network, [x])[0], outputs(same, [x])[0])


def test_groups_that_are_not_named_stay_whole():
    network = convolutional()
    found = channels(network)
    small = cut(network, {"stem": np.arange(8) < 3})
    shapes = {path: tuple(small.tensor(path).shape) for path in found.trail.stored}
    changed = {path for path in shapes if shapes[path] != tuple(network.tensor(path).shape)}
    (group,) = (group for group in found.groups if group.name == "stem")
    assert changed == {member.path for member in group.members}


def test_parameters_stay_parameters_and_buffers_stay_buffers():
    network = convolutional()
    found = channels(network)
    small = cut(network, random_part(found), found).module
    whole = network.module
    assert dict(small.named_parameters()).keys() == dict(whole.named_parameters()).keys()
    assert dict(small.named_buffers()).keys() == dict(whole.named_buffers()).keys()
    assert all(p.requires_grad for p in small.parameters())


@pytest.mark.parametrize(
    ("keep", "problem"),
    [
        ({"absent": np.ones(8, bool)}, "group must be one of"),
        ({"stem": np.zeros(8, bool)}, "at least one of them true"),
    ],
)
def test_what_cannot_be_kept_is_refused(keep, problem):
    with pytest.raises(InputError, match=problem):
        cut(convolutional(), keep)


def test_layer_norm_of_fewer_channels_has_another_weight_and_epsilon():
    """By the definition: sqrt(n / n') w (x - m) / sqrt(var' + eps n / n') of the kept n'."""
    made = _Builder(0)
    x = made.linear("first", made.graph.placeholder("x"), 3, 16)
    y = made.linear("last", made.layer_norm("norm", x, 16), 16, 2)
    network = made.network(
        Port("x", ("batch", 3), "float32"), Port("y", ("batch", 2), "float32"), y
    )
    keep = np.arange(16) % 4 != 0
    small = cut(network, {"first": keep})
    weight = network.tensor("norm.weight").detach()[torch.from_numpy(keep)]
    found = small.tensor("norm.weight").detach()
    torch.testing.assert_close(found, weight * (16 / 12) ** 0.5)
    (norm,) = (n for n in small.graph.nodes if str(n.target) == "aten.layer_norm.default")
    assert arguments(norm)["normalized_shape"] == [12]
    assert arguments(norm)["eps"] == pytest.approx(1e-5 * 16 / 12)


def deep(blocks: int, width: int = 16) -> Network:
    """Residual blocks of two convolutions, each with batch normalization, and relu."""
    made = _Builder(0)
    x = made.graph.placeholder("x")
    y = made.conv("stem", x, (width, 3, 3, 3))
    for i in range(blocks):
        z = y
        for name in (f"first{i}", f"second{i}"):
            z = made.conv(name, z, (width, width, 3, 3))
            z = made.call(aten.relu.default, made.batch_norm(f"{name}_bn", z, width))
        y = made.call(aten.add.Tensor, z, y)
    y = made.linear("head", made.call(aten.mean.dim, y, [2, 3]), width, 5)
    return made.network(
        Port("x", ("batch", 3, 8, 8), "float32"), Port("y", ("batch", 5), "float32"), y
    )


def concatenating(count: int, growth: int = 4) -> Network:
    """Each convolution reads what all convolutions before it gave."""
    made = _Builder(0)
    x = made.graph.placeholder("x")
    y, width = made.conv("stem", x, (growth, 3, 3, 3)), growth
    for i in range(count):
        z = made.batch_norm(f"conv{i}_bn", y, width)
        z = made.conv(f"conv{i}", z, (growth, width, 3, 3))
        y, width = made.call(aten.cat.default, [y, z], 1), width + growth
    y = made.linear("head", made.call(aten.mean.dim, y, [2, 3]), width, 5)
    return made.network(
        Port("x", ("batch", 3, 8, 8), "float32"), Port("y", ("batch", 5), "float32"), y
    )


@pytest.mark.parametrize(("make", "count"), [(deep, 250), (concatenating, 150)])
def test_hundreds_of_layers_take_a_second(make, count):
    """The first has 500 convolutions; the other one's concatenations have up to 151 parts."""
    network = make(count)
    start = time.process_time()
    found = channels(network)
    analysed = time.process_time()
    small = cut(network, random_part(found), found)
    done = time.process_time()
    assert len(found.groups) == count + 1
    assert cost(small).parameters < 0.3 * cost(network).parameters
    assert analysed - start < 2
    assert done - analysed < 1
