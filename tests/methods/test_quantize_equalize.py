import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tersor.errors import InputError
from tersor.methods.quantize.equalize import Equalize
from tersor.network.capture import capture
from tersor.testing.networks import perceptron, samples_for


class Net(nn.Module):
    """conv, f, then two readers: a depthwise and a grouped convolution."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.between = between
        self.first = nn.Conv2d(3, 8, 3)
        self.first.weight.data *= torch.logspace(-2, 2, 8).reshape(-1, 1, 1, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 4, 3, padding=1, groups=2)

    def forward(self, x):
        y = self.between(self.first(x))
        return self.depthwise(y).sum(1) + self.grouped(y).sum(1)


def network_of(between):
    return capture(Net(between).eval(), (torch.randn(2, 3, 9, 9),))


def by_input(network):
    """Largest magnitude of each of the 8 channels: as written, and as read by any."""
    own = network.tensor("first.weight").detach().abs().amax(dim=(1, 2, 3))
    depthwise = network.tensor("depthwise.weight").detach().abs().amax(dim=(1, 2, 3))
    grouped = network.tensor("grouped.weight").detach().abs().reshape(2, 2, 4, -1)
    return own, torch.maximum(depthwise, grouped.amax(dim=(1, 3)).reshape(-1))


def homogeneous(x):
    return functional.max_pool2d(functional.relu(x), 2)


def test_ranges_agree_and_outputs_stay():
    network = network_of(homogeneous)
    result = Equalize().apply(network)
    before, after = by_input(network), by_input(result)
    assert (before[0] / before[1]).max() > 50
    torch.testing.assert_close(after[0], after[1])
    torch.testing.assert_close(after[0], (before[0] * before[1]).sqrt())  # Nagel's equation 11
    feeds = dict(samples_for(network).inputs)
    (exact,), (found,) = (n.run(feeds).values() for n in (network, result))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    assert [note.layer for note in result.notes if note.done] == ["first"]


def test_chains_of_linear_layers_are_equalized_to_the_end():
    network = perceptron()
    result = Equalize(sweeps=100).apply(network)
    for one, other in (("first", "second"), ("second", "third")):
        rows = result.tensor(f"{one}.weight").detach().abs().amax(dim=1)
        columns = result.tensor(f"{other}.weight").detach().abs().amax(dim=0)
        torch.testing.assert_close(rows, columns, rtol=1e-3, atol=0)
    feeds = dict(samples_for(network).inputs)
    exact, found = network.run(feeds)["y"], result.run(feeds)["y"]
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize(
    "between",
    [functional.relu6, functional.sigmoid, lambda x: functional.relu(x) + x],
    ids=["relu6", "sigmoid", "residual"],
)
def test_what_is_no_multiple_is_left_alone(between):
    network = network_of(between)
    result = Equalize().apply(network)
    assert torch.equal(result.tensor("first.weight"), network.tensor("first.weight"))
    assert not any(note.done for note in result.notes)


def test_a_channel_of_zeros_is_left_alone():
    network = network_of(homogeneous).copy()
    weight = network.tensor("first.weight").detach().clone()
    weight[2] = 0.0
    network.set_tensor("first.weight", weight)
    result = Equalize().apply(network)
    assert not result.tensor("first.weight")[2].any()
    read = (n.tensor("depthwise.weight")[2] for n in (network, result))
    assert torch.equal(*read)


def test_fewer_than_no_sweeps_are_refused():
    with pytest.raises(InputError, match="sweeps must be 0 or more"):
        Equalize(sweeps=-1)
