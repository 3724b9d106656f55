"""Rare forms in which channels stand: cut ones act as zeros there, too, or stay."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tests.network.cutting import (
    Made,
    assert_cuts_like_zeros,
    described,
    drawn,
    followed,
    frozen,
    outputs,
    random_part,
    zeroed,
)
from tests.network.from_onnx.onnx_models import floats, model, node
from torch import nn

from tersor.data.samples import Samples
from tersor.methods.prune.channels import PruneChannels
from tersor.methods.prune.dead import PruneDead
from tersor.network import repair
from tersor.network.channels import channels
from tersor.network.from_onnx.reader import read
from tersor.network.repair import repaired
from tersor.network.slimming import Target
from tersor.network.surgery import cut
from tersor.network.zeros import averaged

IMAGE, TOKENS = drawn(2, 3, 6, 6), drawn(2, 5, 3)


def last_states(m, x):
    return m.out(m.a(x)[1].permute(1, 0, 2).flatten(1))


def last_lstm_states(m, x):
    return m.out(m.a(x)[1][0].transpose(0, 1).flatten(1))


def from_learned_states(m, x):
    states = (s.expand(-1, x.shape[0], -1).contiguous() for s in (m.h, m.c))
    return m.out(m.a(x, tuple(states))[0])


def through_normal_instances(m, x):
    y = m.a(x)
    return m.out(F.instance_norm(y.reshape(x.shape[0], 2, -1)).reshape_as(y))


def dealt_out(x):
    return x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)


def pairs(m, x):
    y = m.a(x)
    return m.out((torch.bmm(y, y.transpose(1, 2)).flatten(1) + 1).relu())


def by_numbers(m, x):
    return m.out(m.a(x).index_select(1, torch.tensor([1, 0, 3])))


def image(function, width=8, out=8):
    """Two convolutions and what is between them."""
    return Made(
        lambda m, x: m.out(function(m.a(x))),
        a=nn.Conv2d(3, width, 1),
        out=nn.Conv2d(out, 4, 1),
    )


def recurrent(function, made, width):
    return Made(function, a=made, out=nn.Linear(width, 4))


CASES = {
    "joined along the first axis": (
        Made(
            lambda m, x: m.out(torch.cat([m.a(x), m.b(x)])),
            a=nn.Linear(3, 8),
            b=nn.Linear(3, 8),
            out=nn.Linear(8, 4),
        ),
        TOKENS,
    ),
    "last states, both ways": (
        recurrent(last_states, nn.GRU(3, 8, bidirectional=True, batch_first=True), 16),
        TOKENS,
    ),
    "last states of three layers": (
        recurrent(last_lstm_states, nn.LSTM(3, 6, 3, bidirectional=True), 36),
        TOKENS,
    ),
    "states that are learned": (
        Made(
            from_learned_states,
            a=nn.LSTM(3, 8, 2, batch_first=True),
            h=nn.Parameter(torch.empty(2, 1, 8)),
            c=nn.Parameter(torch.empty(2, 1, 8)),
            out=nn.Linear(8, 4),
        ),
        TOKENS,
    ),
    "projected units": (
        recurrent(lambda m, x: m.out(m.a(x)[0]), nn.LSTM(3, 8, 2, proj_size=5), 5),
        TOKENS,
    ),
    "normal instances of several channels": (
        Made(through_normal_instances, a=nn.Conv2d(3, 8, 1), out=nn.Conv2d(8, 4, 1)),
        IMAGE,
    ),
    "cards dealt out and added": (image(lambda y: y + dealt_out(y), 16, 16), IMAGE),
    "pairs of channels": (
        Made(pairs, a=nn.Conv1d(5, 4, 1), out=nn.Linear(16, 4)),
        TOKENS,
    ),
    "squeezed": (
        Made(
            lambda m, x: m.out(F.adaptive_avg_pool2d(m.a(x), 1).squeeze()),
            a=nn.Conv2d(3, 8, 1),
            out=nn.Linear(8, 4),
        ),
        IMAGE,
    ),
    "by numbers": (Made(by_numbers, a=nn.Conv2d(3, 6, 1), out=nn.Conv2d(3, 4, 1)), IMAGE),
    "several times over, the size told": (
        image(lambda y: y.repeat_interleave(2, 1, output_size=16), 8, 16),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_cut_acts_as_zeros(name):
    module, x = CASES[name]
    network, found = followed(module, x)
    whole = {group.name: np.ones(group.size, bool) for group in found.groups}
    keeps = [random_part(found), random_part(found, 0.0), random_part(found, 0.9, 1)]
    for keep in (*keeps, *({**whole, name: keeps[0][name]} for name in whole)):
        assert_cuts_like_zeros(network, (x,), found, keep)


def test_states_have_no_channels_but_units():
    _, found = followed(*CASES["last states, both ways"])
    assert [line.split(": ")[0] for line in described(found)] == ["a.weight_ih_l0/1 8"]
    _, found = followed(*CASES["states that are learned"])
    assert [group.size for group in found.groups] == [8]


def test_normal_instances_of_several_channels_lose_whole_ones_or_some_of_each():
    _, found = followed(*CASES["normal instances of several channels"])
    assert [(group.name, group.size) for group in found.groups] == [("a/0", 2), ("a/1", 4)]
    assert list(averaged(found)) == ["a/1"]


def test_results_of_projections_may_go_and_units_stay():
    _, found = followed(*CASES["projected units"])
    assert [group.size for group in found.groups] == [5]


def test_mean_squares_in_more_bits_count_what_is_cut_as_zeros():
    def normal(m, x):
        y = m.a(x)
        return m.out(y / y.pow(2).to(torch.float64).mean(-1, keepdim=True).float().sqrt())

    network, found = followed(Made(normal, a=nn.Linear(3, 8), out=nn.Linear(8, 4)), TOKENS)
    keep = random_part(found)
    wanted = outputs(zeroed(network, found, keep), (TOKENS,))[0]
    small = cut(network, keep, found)
    np.testing.assert_allclose(outputs(small, (TOKENS,))[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "cards dealt out and added",
            "16: add (add) has pairs of them on one axis",
        ),
        ("pairs of channels", "4: flatten (flatten) has pairs of them on one axis"),
        ("by numbers", "6: index_select (index_select) takes positions by their numbers"),
    ],
)
def test_what_stays_is_told_with_the_node(name, why):
    _, found = followed(*CASES[name])
    assert why in str(frozen(found))


def stored_alone(m, x):
    """Queries that are learned meet a weight before they meet an input."""
    return m.out(m.a(x) @ m.b(m.queries).transpose(0, 1))


def queries():
    return Made(
        stored_alone,
        a=nn.Linear(3, 8),
        queries=nn.Parameter(torch.empty(5, 6)),
        b=nn.Linear(6, 8),
        out=nn.Linear(5, 4),
    )


def low_rank(m, x):
    return m.out(F.linear(x, m.weight + m.left @ m.right))


STORED = {
    "queries": (queries(), TOKENS),
    "low rank": (
        Made(
            low_rank,
            weight=nn.Parameter(torch.empty(8, 3)),
            left=nn.Parameter(torch.empty(8, 4)),
            right=nn.Parameter(torch.empty(4, 3)),
            out=nn.Linear(8, 4),
        ),
        TOKENS,
    ),
    "a table": (
        Made(
            lambda m, x: m.out(x) + m.b(m.c(m.table).relu()).mean(0),
            table=nn.Parameter(torch.empty(7, 2)),
            c=nn.Linear(2, 6),
            b=nn.Linear(6, 4),
            out=nn.Linear(3, 4),
        ),
        TOKENS,
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_channels_of_what_no_input_reaches_are_alive(name):
    module, x = STORED[name]
    network, _ = followed(module, x)
    small = PruneDead().apply(network)
    np.testing.assert_array_equal(outputs(small, (x,))[0], outputs(network, (x,))[0])
    assert [n.text for n in small.notes if n.done] == []


def test_dead_channels_of_what_no_input_reaches_go():
    network, found = followed(*STORED["queries"])
    (group,) = (group for group in found.groups if group.size == 6)
    for member in group.members:
        value = network.tensor(member.path).detach().clone()
        network.set_tensor(member.path, value.index_fill(member.axis, torch.tensor([2]), 0))
    small = PruneDead().apply(network)
    np.testing.assert_allclose(
        outputs(small, (TOKENS,))[0], outputs(network, (TOKENS,))[0], rtol=0, atol=1e-5
    )
    assert small.tensor("queries").shape == (5, 5)


def test_layers_that_read_what_is_stored_are_repaired():
    module, _ = STORED["queries"]
    x = drawn(200, 5, 3)
    network, found = followed(module, x)
    samples = Samples({network.inputs[0].name: x.numpy()})
    result = repaired(network, found, random_part(found), samples)
    assert result.tensor("b.weight").shape == network.tensor("b.weight").shape


def test_an_axis_of_samples_that_is_one_long_is_no_axis_to_squeeze():
    module, x = CASES["squeezed"]
    network, _ = followed(module, x)
    assert outputs(network, (x[:1],))[0].shape == (1, 4)


def test_group_normalization_in_an_onnx_file_keeps_the_channels_that_it_counts():
    """As exporters write it where the operator set has none."""
    nodes = [
        node("Conv", "x first", "y"),
        node("Reshape", "y parted", "y2"),
        node("InstanceNormalization", "y2 ones zeros", "z2", epsilon=1e-5),
        node("Shape", "y", "shape"),
        node("Reshape", "z2 shape", "z"),
        node("Conv", "z second", "out"),
    ]
    weights = {
        "first": floats(8, 3, 1, 1),
        "parted": np.array([0, 2, -1]),
        "ones": np.ones(2, np.float32),
        "zeros": np.zeros(2, np.float32),
        "second": floats(4, 8, 1, 1, seed=1),
    }
    proto = model(nodes, {"x": ["n", 3, 6, 6]}, ["out"], weights)
    network = read(proto.SerializeToString())
    found = channels(network)
    assert [group.size for group in found.groups] == [2, 4]
    assert_cuts_like_zeros(network, (IMAGE,), found, random_part(found))


def test_a_target_that_leaves_one_channel_is_reached():
    module, x = CASES["squeezed"]
    network, _ = followed(module, x)
    method = PruneChannels(target=Target(macs=0.13), score="l2", repair=False)
    assert outputs(method.apply(network), (x,))[0].shape == (2, 4)


def test_repair_knows_the_mean_of_normal_instances(monkeypatch):
    """Twice the same channels in each group: what is left makes up for the others."""
    monkeypatch.setattr(repair, "_ENOUGH", 0)
    module, _ = CASES["normal instances of several channels"]
    x = drawn(64, 3, 6, 6)
    network, found = followed(module, x)
    for name in ("a.weight", "a.bias"):
        value = network.tensor(name).detach().clone()
        value[[2, 3, 6, 7]] = value[[0, 1, 4, 5]]
        network.set_tensor(name, value)
    keep = {"a/1": np.array([True, True, False, False])}
    samples = Samples({network.inputs[0].name: x.numpy()})
    small = cut(repaired(network, found, keep, samples), keep, found)
    wanted = outputs(network, (x,))[0]
    np.testing.assert_allclose(outputs(small, (x,))[0], wanted, rtol=0, atol=0.1)
