"""Moments of what layers get, in an exact network and in one that is rounded on the way."""

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.data.samples import Samples
from tersor.network import moments as module
from tersor.network.layers import weighted_layers
from tersor.network.moments import Lockstep, as_rows, as_weight
from tersor.network.running import each_value
from tersor.testing.networks import convolutional, of_four, perceptron, samples_for


def outputs_of(network, layer, samples):
    """What a layer gives, (channels, everything else), in float64."""
    tensors = network.tensors(dict(samples.inputs))
    with torch.no_grad():
        found = next(
            value for name, value in each_value(network, tensors) if name == layer.node
        )
    axis = 1 if layer.op.startswith("conv") else -1
    return found.movedim(axis, 0).flatten(1).double().numpy()


def with_bias(network, layer, moments):
    """The layer's weight as rows, and its bias behind, if the moments hold a constant."""
    rows = as_rows(network.tensor(layer.weight).detach().double().numpy(), layer)
    if not moments.biased:
        return rows
    bias = network.tensor(layer.bias).detach().double().numpy()
    return np.concatenate([rows, bias.reshape(*rows.shape[:2], 1)], 2)


class Product(nn.Module):
    """Inputs times a constant, the way it is written in mathematics."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))

    def forward(self, x):
        return x @ self.weight


def windows():
    """Convolutions of all kinds of windows, in one and two dimensions."""
    return {
        "strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 9, 7)),
        "dilated": (nn.Conv2d(3, 4, (3, 2), dilation=(2, 1)), (3, 9, 7)),
        "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (4, 6, 6)),
        "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding=(1, 0)), (4, 6, 6)),
        "in a line": (nn.Conv1d(3, 4, 3, stride=2, padding=2), (3, 11)),
        "linear": (nn.Linear(5, 3), (5,)),
        "product": (Product(5, 3), (4, 5)),
        "linear on a sequence": (nn.Linear(5, 3, bias=False), (7, 5)),
    }


@pytest.mark.parametrize("name", windows())
def test_moments_tell_the_mean_square_of_what_a_layer_gives(name):
    """For each row w, with its bias: E (w x)^2 = w (E x x^T) w^T."""
    torch.manual_seed(0)
    layer_module, shape = windows()[name]
    network = tersor.capture(layer_module, (torch.zeros(2, *shape),))
    samples = samples_for(network, 10)
    (layer,) = weighted_layers(network)
    (found,) = Lockstep(network, [layer], samples)
    rows = with_bias(network, layer, found)
    squares = np.einsum("gok,gkl,gol->go", rows, found.seen.own, rows).reshape(-1)
    expected = np.square(outputs_of(network, layer, samples)).mean(1)
    np.testing.assert_allclose(squares, expected, rtol=1e-4)
    np.testing.assert_allclose(found.seen.cross, found.seen.own, rtol=1e-4, atol=1e-5)
    assert found.biased == (layer.bias is not None)
    first, last = found.halves
    both = [(2 * a + 3 * b) / 5 for a, b in zip(first, last, strict=True)]
    np.testing.assert_allclose(both, found.seen, rtol=1e-5)


@pytest.mark.parametrize("make", [convolutional, perceptron])
def test_every_layer_comes_once_in_the_order_of_the_graph(make):
    network = make()
    layers = weighted_layers(network)
    steps = Lockstep(network, layers, samples_for(network, 8))
    assert [each.layer for each in steps] == list(steps.layers) == layers


def test_later_layers_see_what_was_put_and_what_it_was():
    network = perceptron()
    samples = samples_for(network, 8)
    layers = weighted_layers(network)
    found = {}
    steps = Lockstep(network, layers, samples)
    for moments in steps:
        found[moments.layer.name] = moments.seen
        steps.put(moments.layer.weight, 2 * network.tensor(moments.layer.weight))
        if moments.layer.bias:
            steps.put(moments.layer.bias, 2 * network.tensor(moments.layer.bias))
    second = found["second"]
    inner = slice(0, -1)  # without the constant
    np.testing.assert_allclose(
        second.own[0, inner, inner], 2 * second.cross[0, inner, inner], rtol=1e-4, atol=1e-6
    )
    exact = {m.layer.name: m.seen for m in Lockstep(network, layers, samples)}["second"]
    np.testing.assert_allclose(
        second.own[0, inner, inner], 4 * exact.own[0, inner, inner], rtol=1e-4, atol=1e-6
    )


def test_the_network_itself_stays_as_it_is():
    network = perceptron()
    before = {name: t.clone() for name, t in network.module.state_dict().items()}
    steps = Lockstep(network, weighted_layers(network), samples_for(network, 8))
    for moments in steps:
        steps.put(moments.layer.weight, 0 * network.tensor(moments.layer.weight))
    assert all(torch.equal(before[n], t) for n, t in network.module.state_dict().items())


def test_more_samples_join_where_values_are_smaller(monkeypatch):
    """The first layer has room for 16 samples only: 6,144 bytes each; the last for all."""
    network = convolutional()
    samples = samples_for(network, 64)
    layers = weighted_layers(network)
    whole = [m.seen for m in Lockstep(network, layers, samples)]
    few = [m.seen for m in Lockstep(network, layers, samples.take(0, 16))]
    monkeypatch.setattr(module, "_BYTES", 140_000)
    found = [m.seen for m in Lockstep(network, layers, samples)]
    np.testing.assert_allclose(found[0].own, few[0].own, rtol=1e-5)
    np.testing.assert_allclose(found[-1].own, whole[-1].own, rtol=1e-5)
    assert not np.allclose(few[-1].own, whole[-1].own, rtol=1e-2)


def test_many_positions_are_thinned_out_and_still_tell_about_the_same(monkeypatch):
    torch.manual_seed(0)
    network = tersor.capture(nn.Conv2d(2, 3, 3, padding=1), (torch.zeros(2, 2, 24, 24),))
    samples = samples_for(network, 12)
    (layer,) = weighted_layers(network)
    (whole,) = Lockstep(network, [layer], samples)
    monkeypatch.setattr(module, "_ROWS", 12 * 24 * 24 // 9)
    (few,) = Lockstep(network, [layer], samples)
    np.testing.assert_allclose(few.seen.own, whole.seen.own, atol=0.15)
    assert not np.array_equal(few.seen.own, whole.seen.own)


def test_layers_whose_inputs_cannot_be_told_are_left_out():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.linear = nn.Embedding(9, 4), nn.Linear(4, 2)
            self.up = nn.ConvTranspose1d(2, 2, 2)

        def forward(self, x):
            return self.up(self.linear(self.embedding(x)).transpose(1, 2))

    network = tersor.capture(Mixed(), (torch.zeros(2, 3, dtype=torch.long),))
    samples = Samples({network.inputs[0].name: np.arange(30).reshape(10, 3) % 9})
    steps = Lockstep(network, weighted_layers(network), samples)
    assert [layer.name for layer in steps.layers] == ["linear"]
    assert len(list(steps)) == 1


def test_a_matrix_for_each_of_several_parts_is_left_out():
    """What each of the three gets is not what all get."""
    network = tersor.capture(
        nn.Sequential(nn.Linear(5, 4), Product(3, 4, 6), Product(6, 2)),
        (torch.zeros(2, 3, 7, 5),),
    )
    samples = samples_for(network, 8)
    layers = weighted_layers(network)
    assert [layer.shape for layer in layers] == [(4, 5), (3, 4, 6), (6, 2)]
    steps = Lockstep(network, layers, samples)
    assert [moments.layer for moments in steps] == [layers[0], layers[2]]


def test_rows_become_the_weight_again():
    network = convolutional()
    for layer in weighted_layers(network):
        weight = network.tensor(layer.weight).detach().numpy()
        assert np.array_equal(as_weight(as_rows(weight, layer), layer), weight)


@pytest.mark.parametrize("most", [256, 8, 3])
def test_networks_of_a_fixed_batch_see_whole_batches_only(monkeypatch, most):
    """Of 10 samples 8; of those that are chosen at least one batch."""
    monkeypatch.setattr(module, "_MOST_SAMPLES", most)
    network = of_four()
    samples = samples_for(network, 10)
    (found,) = Lockstep(network, weighted_layers(network), samples)
    rows = {256: np.arange(8), 8: np.linspace(0, 9, 8), 3: np.linspace(0, 9, 4)}[most]
    x = samples.inputs["x"][rows.astype(int)]
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    np.testing.assert_allclose(found.seen.own[0], x.T @ x / len(x), rtol=1e-5, atol=1e-6)
