"""Slopes of gates: against autograd through gates that stand in the networks themselves."""

import numpy as np
import pytest
import torch
from tests.network.cutting import Made, followed
from torch import nn
from torch.nn import functional

from tersor.data.samples import Samples
from tersor.errors import DataError
from tersor.network.channels import channels
from tersor.testing.networks import of_four, perceptron, samples_for
from tersor.train.gates import gate_scores

BATCH = 16
COUNT = 23  # a whole batch, and a part of one


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def open_gates(**sizes):
    return {name: torch.ones(size, requires_grad=True) for name, size in sizes.items()}


class Plain(nn.Module):
    """Convolution, norm, relu, pool; flattened pixels are read by a linear layer."""

    gates = {"conv": 4, "deep": 6, "fc": 5}  # noqa: RUF012
    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.deep = nn.Conv2d(4, 6, 3, bias=False)
        self.fc, self.head = nn.Linear(24, 5), nn.Linear(5, 3)

    def forward(self, x, conv=None, deep=None, fc=None):
        y = passed(functional.relu(self.bn(self.conv(x))), conv)
        y = passed(functional.max_pool2d(functional.relu(self.deep(y)), 2), deep)
        return self.head(passed(functional.relu(self.fc(y.flatten(1))), fc, -1))


class Residual(nn.Module):
    """Channels that two convolutions make, a depthwise one changes, and two layers read."""

    gates = {"stem": 4, "inner": 5}  # noqa: RUF012
    shape = (3, 5, 5)

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.inner, self.back = nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x, stem=None, inner=None):
        y = torch.relu(self.norm(self.stem(x)))
        z = torch.relu(self.depthwise(y))
        z = passed(torch.relu(self.inner(passed(z, stem))), inner)
        y = torch.relu(y + self.back(z))
        return self.head(passed(y.mean((2, 3)), stem))


class Recurrent(nn.Module):
    """An LSTM, whose state it reads itself at the next step, and a layer that reads it too.

    With gates it is written out from its equations.
    """

    gates = {"lstm.weight_ih_l0/1": 4}  # noqa: RUF012
    shape = (5, 3)

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x, **gates):
        if not gates:
            return self.head(self.lstm(x)[0]).sum(1)
        (gate,) = gates.values()
        h = c = torch.zeros(len(x), 4)
        states = []
        for t in range(x.shape[1]):
            own = functional.linear(x[:, t], self.lstm.weight_ih_l0, self.lstm.bias_ih_l0)
            fed = functional.linear(h * gate, self.lstm.weight_hh_l0, self.lstm.bias_hh_l0)
            i, f, g, o = (own + fed).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return self.head(torch.stack(states, 1) * gate).sum(1)


class Attention(nn.Module):
    """Heads; widths of queries and keys, which only their product reads; widths of values."""

    gates = {"q/0": 2, "q/1": 3, "v/1": 3, "out": 6}  # noqa: RUF012
    shape = (5, 6)

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.head = nn.Linear(6, 3)

    def forward(self, x, **gates):
        q, k, v = (self.split(layer(x)) for layer in (self.q, self.k, self.v))
        scores = passed(q, gates.get("q/1"), -1) @ k.transpose(-1, -2)
        y = passed(scores.softmax(-1) @ v, gates.get("v/1"), -1)
        y = passed(y, gates.get("q/0")).transpose(1, 2).flatten(2)
        return self.head(passed(self.out(y), gates.get("out"), -1)).mean(1)

    @staticmethod
    def split(x):
        return x.reshape(*x.shape[:2], 2, 3).transpose(1, 2)


def passed(x, gate, axis=1):
    """Channels times their gates."""
    if gate is None:
        return x
    return x * gate.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


class FusedAttention(nn.Module):
    """Queries and keys out of one layer: each width stands in it twice."""

    gates = {"qk/1": 3}  # noqa: RUF012
    shape = (5, 6)

    def __init__(self):
        super().__init__()
        self.qk, self.v = nn.Linear(6, 12), nn.Linear(6, 6)

    def forward(self, x, **gates):
        q, k = (Attention.split(part) for part in self.qk(x).split(6, -1))
        scores = passed(q, gates.get("qk/1"), -1) @ k.transpose(-1, -2)
        return (scores.softmax(-1) @ Attention.split(self.v(x))).mean((1, 2))


NETWORKS = [Plain, Residual, Recurrent, Attention, FusedAttention]


def slopes(module, x, scalar):
    """Of a scalar of a batch's outputs, by gates that are open."""
    gates = open_gates(**module.gates)
    found = torch.autograd.grad(scalar(module(x, **gates)), list(gates.values()))
    return dict(zip(gates, (g.double().numpy() for g in found), strict=True))


def squares(module, x, scalars):
    """Sums over batches of squared slopes."""
    total = dict.fromkeys(module.gates, 0.0)
    for start, scalar in zip(range(0, len(x), BATCH), scalars, strict=True):
        for name, slope in slopes(module, x[start : start + BATCH], scalar).items():
            total[name] = total[name] + slope**2
    return total


def assert_near(found, wanted):
    """Float32 sums of some hundred products."""
    assert set(wanted) <= set(found)
    for name, values in wanted.items():
        assert values.max() > 0
        np.testing.assert_allclose(found[name], values, rtol=2e-4, atol=1e-4 * values.max())


@pytest.mark.parametrize("kind", NETWORKS)
def test_second_order_is_the_slope_of_outputs_along_random_directions(kind):
    module = kind()
    x = drawn(COUNT, *kind.shape)
    network, known = followed(module, x[:2])
    samples = Samples({network.inputs[0].name: x.numpy()})
    found = gate_scores(network, known, samples, labelled=False, seed=5)

    with torch.no_grad():
        outputs = module(x)
    directions = torch.Generator().manual_seed(5)
    noise = [torch.randn(part.shape, generator=directions) for part in outputs.split(BATCH)]
    total = squares(module, x, [lambda o, n=n: (o * n).sum() for n in noise])
    scale = COUNT * outputs.double().var(correction=0).item()
    assert_near(found, {name: each / scale for name, each in total.items()})
    assert [found[g.name].shape for g in known.groups] == [(g.size,) for g in known.groups]


@pytest.mark.parametrize("kind", NETWORKS)
def test_first_order_is_the_slope_of_the_loss_of_labels(kind):
    module = kind()
    x = drawn(COUNT, *kind.shape)
    network, known = followed(module, x[:2])
    labels = torch.arange(COUNT) % 2
    samples = Samples({network.inputs[0].name: x.numpy()}, labels.numpy())
    found = gate_scores(network, known, samples, labelled=True)

    losses = [
        lambda o, t=t: functional.cross_entropy(o, t, reduction="sum")
        for t in labels.split(BATCH)
    ]
    total = squares(module, x, losses)
    assert_near(found, {name: each / COUNT for name, each in total.items()})


def test_directions_add_up_to_the_jacobian():
    """E (d (e . f) / dg)^2 is the sum of (df / dg)^2 over outputs and samples.

    The same batch each time, so of `draws`: a standard deviation of sqrt(2 / draws).
    """
    module, draws = Plain(), 120
    x = drawn(BATCH, *Plain.shape)
    network, known = followed(module, x[:2])
    samples = Samples({network.inputs[0].name: np.tile(x.numpy(), (draws, 1, 1, 1))})
    found = gate_scores(network, known, samples, labelled=False)["fc"]

    gate = torch.ones(5)
    slope = torch.autograd.functional.jacobian(lambda g: module(x, fc=g), gate)
    wanted = slope.double().square().sum((0, 1)).numpy()
    with torch.no_grad():
        wanted /= BATCH * module(x).double().var(correction=0).item()
    np.testing.assert_allclose(found, wanted, rtol=5 * (2 / draws) ** 0.5)


def test_all_outputs_count_each_by_its_own_spread():
    """The second is no number, the third much larger, the fourth always the same."""

    def function(m, x):
        y = torch.relu(m.first(x))
        return m.one(y), y.argmax(1), 1000 * m.other(torch.relu(m.second(y))), 0 * y

    parts = {"first": nn.Linear(4, 6), "second": nn.Linear(6, 5)}
    parts |= {"one": nn.Linear(6, 2), "other": nn.Linear(5, 3)}
    module = Made(function, **parts)
    x = drawn(BATCH, 4)
    network, known = followed(module, x[:2])
    samples = Samples({network.inputs[0].name: x.numpy()})
    found = gate_scores(network, known, samples, labelled=False)["second"]

    with torch.no_grad():
        inner = torch.relu(module.second(torch.relu(module.first(x))))
        large = module.other(inner)
        directions = torch.Generator().manual_seed(0)
        noise = [torch.randn(BATCH, size, generator=directions) for size in (2, 3)][1]
        slope = (inner * (noise @ module.other.weight)).sum(0)
    wanted = slope.double().square() / (BATCH * large.double().var(correction=0))
    assert_near({"second": found}, {"second": wanted.numpy()})


def test_a_closed_gate_moves_the_loss_by_its_slope_where_the_loss_is_linear():
    """The last layer's inputs: outputs are linear in them, and so is e . f."""
    module = Plain()
    x = drawn(BATCH, *Plain.shape)
    network, known = followed(module, x[:2])
    samples = Samples({network.inputs[0].name: x.numpy()})
    noise = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(0))
    found = gate_scores(network, known, samples, labelled=False)["fc"]
    with torch.no_grad():
        whole = module(x)
        for channel in range(5):
            gate = (torch.arange(5) != channel).float()
            moved = ((whole - module(x, fc=gate)) * noise).sum().item()
            wanted = moved**2 / (BATCH * whole.double().var(correction=0).item())
            assert found[channel] == pytest.approx(wanted, rel=1e-3)


def test_the_chances_of_a_softmax_count_by_their_logarithms():
    """Shifted by one number for each sample, that is what the scores before it are."""
    x = drawn(COUNT, *Plain.shape)
    labels = (torch.arange(COUNT) % 3).numpy()
    found = []
    for last in (nn.Identity(), nn.Softmax(-1)):
        network, known = followed(
            Made(lambda m, x: m.last(m.net(x) / 50), net=Plain(), last=last), x[:2]
        )
        samples = Samples({network.inputs[0].name: x.numpy()}, labels)
        found.append(list(gate_scores(network, known, samples, labelled=True).values()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3)


def test_dead_channels_cost_nothing():
    network = perceptron()
    with torch.no_grad():
        network.tensor("first.weight")[:4] = 0
        network.tensor("first.bias")[:4] = -1
    known = channels(network)
    found = gate_scores(network, known, samples_for(network), labelled=False)["first"]
    assert (found[:4] == 0).all()
    assert (found[4:] > 0).any()


def test_the_network_stays_as_it_is_and_the_same_seed_gives_the_same_bits():
    network = perceptron()
    known, samples = channels(network), samples_for(network, 40)
    network.tensor("second.weight").requires_grad_(requires_grad=False)
    before = {name: t.clone() for name, t in network.module.state_dict().items()}
    one, again, other = (
        gate_scores(network, known, samples, labelled=False, seed=seed) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)
    for name, tensor in network.module.state_dict().items():
        assert torch.equal(before[name], tensor)
    assert all(p.grad is None for p in network.module.parameters())
    assert not network.tensor("second.weight").requires_grad


def test_weights_that_are_not_trained_tell_slopes_too():
    network = perceptron()
    known, samples = channels(network), samples_for(network, 40)
    wanted = gate_scores(network, known, samples, labelled=False)
    for parameter in network.module.parameters():
        parameter.requires_grad_(requires_grad=False)
    found = gate_scores(network, known, samples, labelled=False)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_of_many_samples_evenly_spaced_ones_are_looked_at(monkeypatch):
    monkeypatch.setattr("tersor.train.gates._MOST_SAMPLES", 5)
    network = perceptron()
    known, samples = channels(network), samples_for(network, 41)
    found = gate_scores(network, known, samples, labelled=False)
    few = Samples({"x": samples.inputs["x"][::10]})
    wanted = gate_scores(network, known, few, labelled=False)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_networks_of_a_fixed_batch_get_whole_ones_only():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(torch.relu(self.first(x.reshape(4, 6))))

    network, known = followed(Fixed(), drawn(4, 6))
    assert network.fixed_batch == 4
    x = samples_for(network, 11).inputs
    (name,) = x
    found = gate_scores(network, known, Samples(x), labelled=False)
    wanted = gate_scores(network, known, Samples({name: x[name][:8]}), labelled=False)
    assert np.array_equal(found["first"], wanted["first"])
    with pytest.raises(DataError, match=r"Samples are 3, fewer than the 4 of a batch\."):
        gate_scores(network, known, Samples({name: x[name][:3]}), labelled=False)


def test_labels_are_asked_for():
    network = perceptron()
    known, samples = channels(network), samples_for(network)
    with pytest.raises(DataError, match=r"Loss 'labels' needs labels"):
        gate_scores(network, known, samples, labelled=True)


def test_a_network_of_which_nothing_can_be_cut_has_no_scores():
    network = of_four()
    assert gate_scores(network, channels(network), samples_for(network), labelled=False) == {}
