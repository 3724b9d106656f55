"""Repaired weights: against least squares over samples that are written out."""

import numpy as np
import pytest
import torch
from cutting import Made, captured, drawn, followed, outputs, random_part
from torch import nn
from torch.nn import functional

from tersor.arrays.compensation import damped
from tersor.data.samples import Samples
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.network import repair
from tersor.network.channels import channels
from tersor.network.repair import repaired, standing_in
from tersor.network.surgery import cut
from tersor.testing.networks import perceptron, samples_for

COUNT = 64
CLOSE = 1e-3  # of the largest weight: moments are sums of float32 products


@pytest.fixture
def exactly(monkeypatch):
    """Few samples are fitted as many are."""
    monkeypatch.setattr(repair, "_ENOUGH", 0)


def best(weight, before, now):
    """The V (rows, k) that makes mean |W y - V x|^2 + d |V - W|^2 least, by another way.

    Args:
        weight: W (rows, k).
        before: The y, one in each row.
        now: The x.
    """
    own = now.T @ now / len(now)
    root = (len(now) * (damped(own[None])[0] - own)[0, 0]) ** 0.5
    left = np.concatenate([now, root * np.eye(now.shape[1])])
    right = np.concatenate([before @ weight.T, root * weight.T])
    return np.linalg.lstsq(left, right, rcond=None)[0].T


def with_one(rows):
    return np.pad(rows.astype(np.float64), [(0, 0), (0, 1)], constant_values=1)


def joined(network, name):
    """Weight and bias of a layer, (rows, k + 1)."""
    weight, bias = (network.tensor(f"{name}.{each}").detach() for each in ("weight", "bias"))
    return torch.cat([weight.flatten(1), bias[:, None]], 1).double().numpy()


def assert_fits(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=CLOSE * np.abs(wanted).max())


def without(size, *gone):
    return ~np.isin(np.arange(size), gone)


@pytest.mark.usefixtures("exactly")
def test_layers_in_turn_do_with_what_they_get_what_they_did_with_exact_inputs():
    network = perceptron()
    samples = samples_for(network, COUNT)
    known = channels(network)
    keep = {"first": np.arange(32) % 3 > 0, "second": np.arange(16) % 4 > 0}
    found = repaired(network, known, keep, samples)

    def relu(x):
        return np.maximum(x, 0)

    x = with_one(samples.inputs["x"])
    first, second, third = (joined(network, name) for name in ("first", "second", "third"))
    hidden = with_one(relu(x @ first.T))
    deep = with_one(relu(hidden @ second.T))
    kept = hidden * np.append(keep["first"], 1)
    new = best(second, hidden, kept) * keep["second"][:, None]
    new[:, :-1] *= keep["first"]
    assert_fits(joined(found, "second"), new)
    now = with_one(relu(kept @ new.T))
    last = best(third, deep, now)
    last[:, :-1] *= keep["second"]
    assert_fits(joined(found, "third"), last)
    assert_fits(joined(found, "first"), first * keep["first"][:, None])


@pytest.mark.usefixtures("exactly")
def test_convolutions_are_fitted_over_samples_and_positions():
    module = Made(
        lambda m, x: m.read(torch.relu(m.make(x))).mean((2, 3)),
        make=nn.Conv2d(3, 6, 3),
        read=nn.Conv2d(6, 4, 3, stride=2, padding=1),
    )
    x = drawn(COUNT, 3, 9, 9)
    network, known = followed(module, x[:2])
    keep = without(6, 1, 4)
    samples = Samples({network.inputs[0].name: x.numpy()})
    found = repaired(network, known, {"make": keep}, samples)

    with torch.no_grad():
        exact = torch.relu(module.make(x))
    now = exact * torch.from_numpy(keep)[:, None, None]
    patches = [
        with_one(functional.unfold(v, 3, padding=1, stride=2).mT.flatten(0, 1).numpy())
        for v in (exact, now)
    ]
    wanted = best(joined(network, "read"), *patches)
    wanted[:, :-1] *= np.repeat(keep, 9)
    assert_fits(joined(found, "read"), wanted)


@pytest.mark.usefixtures("exactly")
def test_groups_of_a_convolution_are_fitted_each_by_itself():
    module = Made(
        lambda m, x: m.last(torch.relu(m.read(torch.relu(m.make(x))))),
        make=nn.Conv2d(3, 8, 1),
        read=nn.Conv2d(8, 6, 1, groups=2),
        last=nn.Conv2d(6, 2, 1),
    )
    x = drawn(COUNT, 3, 5, 5)
    network, known = followed(module, x[:2])
    (group,) = (
        g
        for g in known.groups
        if {m.path for m in g.members} >= {"make.weight"} and g.size == 4
    )
    samples = Samples({network.inputs[0].name: x.numpy()})
    found = repaired(network, known, {group.name: without(4, 2)}, samples)

    with torch.no_grad():
        exact = torch.relu(module.make(x)).permute(0, 2, 3, 1).reshape(-1, 8).numpy()
    before = joined(network, "read")
    for part in (0, 1):
        y = with_one(exact[:, 4 * part : 4 * part + 4])
        mask = np.append(without(4, 2), True)
        rows = slice(3 * part, 3 * part + 3)
        wanted = best(before[rows], y, y * mask) * mask
        assert_fits(joined(found, "read")[rows], wanted)


@pytest.mark.usefixtures("exactly")
def test_a_weight_of_several_layers_is_fitted_to_all():
    def function(m, x):
        return m.read(torch.relu(m.one(x))), m.read(torch.tanh(m.other(x)))

    module = Made(function, one=nn.Linear(5, 8), other=nn.Linear(5, 8), read=nn.Linear(8, 3))
    x = drawn(COUNT, 5)
    network, known = followed(module, x[:2])
    keep = without(8, 0, 5)
    samples = Samples({network.inputs[0].name: x.numpy()})
    found = repaired(network, known, {"one": keep}, samples)

    with torch.no_grad():
        exact = torch.cat([torch.relu(module.one(x)), torch.tanh(module.other(x))])
    before = network.tensor("read.weight").detach().double().numpy()  # the bias is of both
    y = exact.double().numpy()
    assert_fits(found.tensor("read.weight").detach().numpy(), best(before, y, y * keep) * keep)
    assert torch.equal(found.tensor("read.bias"), network.tensor("read.bias"))


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("norm", ["layer", "groups", "whole group"])
def test_what_reads_a_norm_is_fitted_to_what_the_cut_network_computes(norm):
    """Means go over what is left there."""
    module = Made(
        lambda m, x: m.read(m.norm(m.make(x))),
        make=nn.Linear(5, 12),
        norm=nn.LayerNorm(12) if norm == "layer" else nn.GroupNorm(3, 12),
        read=nn.Linear(12, 4),
    )
    x = drawn(COUNT, 5)
    network, known = followed(module, x[:2])
    size = {"layer": 12, "groups": 4, "whole group": 3}[norm]
    (group,) = (g for g in known.groups if g.size == size)
    keep = {group.name: without(size, 1)}
    samples = Samples({network.inputs[0].name: x.numpy()})
    found = repaired(network, known, keep, samples)

    small = cut(network, keep, known)
    with torch.no_grad():
        exact = module.norm(module.make(x)).double().numpy()
        (norm_node,) = (
            n for n in small.graph.nodes if "norm" in n.name and n.op != "get_attr"
        )
        small.graph.output_node().args = ((norm_node,),)
        small.module.recompile()
        left = small.module(x)[0].double().numpy()
    (member,) = (m for m in group.members if m.path == "read.weight")
    mask = keep[group.name][member.channels]
    now = np.zeros_like(exact)
    now[:, mask] = left
    wanted = best(joined(network, "read"), with_one(exact), with_one(now))
    wanted[:, :-1] *= mask
    assert_fits(joined(found, "read"), wanted)


def test_means_stand_in_for_what_goes_group_by_group():
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [2.0, 4.0], [8.0, 8.0]]])
    stays = torch.tensor([True, False, False, False])[:, None]
    found = standing_in(x, stays, 2)
    assert found.tolist() == [[[1.0, 3.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]]
    assert torch.equal(standing_in(x, torch.ones(4, 1, dtype=torch.bool), 1), x)


def test_a_channel_like_another_is_made_up_for():
    """The weights of both on the one that stays give no error, and damping lets pass no more
    than its price for them: d |w|^2 of the weights that go.
    """
    network = perceptron()
    with torch.no_grad():
        for name in ("first.weight", "first.bias"):
            network.tensor(name)[3] = network.tensor(name)[5]
    known = channels(network)
    x = samples_for(network, COUNT)
    found = repaired(network, known, {"first": without(32, 3)}, x)

    first, before = joined(network, "first"), joined(network, "second")
    hidden = with_one(np.maximum(with_one(x.inputs["x"]) @ first.T, 0))
    error = hidden @ (joined(found, "second") - before).T
    own = hidden.T @ hidden / COUNT
    own[3], own[:, 3] = 0, 0
    price = (damped(own[None])[0] - own)[0, 0] * np.square(before[:, 3]).sum()
    plain = np.square(hidden[:, 3, None] * before[:, 3]).sum(1).mean()
    assert np.square(error).sum(1).mean() <= price * (1 + CLOSE) < 0.01 * plain


def more(network, inputs, count):
    """Samples like an architecture's example inputs."""
    rng = np.random.default_rng(3)
    found = {}
    for port, x in zip(network.inputs, inputs, strict=True):
        shape = (count, *x.shape[1:])
        if x.is_floating_point():
            found[port.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            found[port.name] = rng.integers(0, int(x.max()) + 1, shape).astype(x.numpy().dtype)
    return found


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("resnet_basic", 0.3),
        ("mobilenet_v2", 0.3),
        ("fpn_detector", 0.5),  # layers that several levels share
        ("einsum_attention", 0.3),  # layer normalization of what is cut
        ("lstm_tagger", 0.3),
    ],
)
def test_outputs_on_new_samples_are_nearer_to_the_original(name, ratio):
    network, inputs, known = captured(name)
    data = more(network, inputs, 96)
    seen, fresh = (
        {n: part(a) for n, a in data.items()} for part in (lambda a: a[:64], lambda a: a[64:])
    )
    keep = random_part(known, 0.7)
    mended = repaired(network, known, keep, Samples(seen))
    feeds = network.tensors(fresh)
    whole, zeros, small, plain = (
        outputs(n, feeds)[0]
        for n in (network, mended, cut(mended, keep, known), cut(network, keep, known))
    )
    assert np.square(small - whole).mean() < ratio * np.square(plain - whole).mean()
    if not any("norm" in n.name and "batch" not in n.name for n in known.trail.scaled):
        np.testing.assert_allclose(small, zeros, rtol=0, atol=1e-5 * np.abs(zeros).max())


def test_few_samples_are_not_fitted_exactly(monkeypatch):
    """12 samples for 33 and 17 inputs: exact fits of them are far off on others."""
    network = perceptron()
    known = channels(network)
    keep = {"first": np.arange(32) % 3 > 0, "second": np.arange(16) % 4 > 0}
    others = network.tensors(samples_for(network, 500, 1).inputs)
    (whole,) = outputs(network, others)

    def error():
        found = repaired(network, known, keep, samples_for(network, 12))
        return np.square(outputs(found, others)[0] - whole).mean()

    careful = error()
    monkeypatch.setattr(repair, "_ENOUGH", 0)
    assert careful < 0.8 * error()


def test_the_network_stays_as_it_is():
    network, inputs, known = captured("einsum_attention")
    before = {name: t.clone() for name, t in network.module.state_dict().items()}
    code = str(network.graph)
    data = Samples(more(network, inputs, 16))
    found = repaired(network, known, random_part(known), data)
    assert (
        before.keys() == network.module.state_dict().keys() == found.module.state_dict().keys()
    )
    assert all(torch.equal(before[n], t) for n, t in network.module.state_dict().items())
    assert str(network.graph) == code == str(found.graph)
    assert found.origin is network


def test_where_nothing_goes_nothing_is_repaired():
    network = perceptron()
    known = channels(network)
    found = repaired(network, known, {}, samples_for(network))
    for name in ("first", "second", "third"):
        assert_fits(joined(found, name), joined(network, name))


def test_weights_that_codes_hold_stay():
    network = QuantizeWeights(bits=8, minimum=0, keep=("first",)).apply(perceptron())
    known = channels(network)
    assert [g.name for g in known.groups] == []
    found = repaired(network, known, {}, samples_for(network))
    for name in ("second.weight", "third.weight"):
        assert found.code(name) is not None
        assert torch.equal(found.tensor(name), network.tensor(name))
