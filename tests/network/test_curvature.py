import numpy as np
import pytest
import torch
from torch import nn

from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import ModelError
from tersor.network import curvature as module
from tersor.network.capture import capture
from tersor.network.curvature import curvature

X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32) * np.arange(5, dtype="f4")


def linear():
    torch.manual_seed(0)
    return capture(nn.Linear(5, 3), (torch.zeros(2, 5),))


def samples(network, x=X):
    return Samples({network.inputs[0].name: x})


def by_definition(network, batch):
    """E over signs of (dy / dw)^2 of y = W x + b: the mean of x^2 over power, summed apart."""
    y = next(iter(network.run({network.inputs[0].name: X}).values()))
    powers = [(y[i : i + batch] ** 2).sum() / batch for i in range(0, len(X), batch)]
    squares = [(X[i : i + batch] ** 2).sum(axis=0) for i in range(0, len(X), batch)]
    total = sum(s / p for s, p in zip(squares, powers, strict=True)) / len(X)
    return np.broadcast_to(total, (3, 5))


def test_of_a_linear_layer_it_is_the_power_of_its_inputs(monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 1)  # one sample at a time: signs do not matter
    network = linear()
    found = curvature(network, samples(network), ["weight"])["weight"]
    np.testing.assert_allclose(found, by_definition(network, 1), rtol=1e-5)


def test_in_batches_it_is_so_on_average():
    network = linear()
    runs = [curvature(network, samples(network), ["weight"], seed=s) for s in range(40)]
    mean = np.mean([run["weight"] for run in runs], axis=0)
    want = by_definition(network, 8)
    # 40 runs of 8 batches, each estimate with a deviation of about sqrt(2) of its mean
    np.testing.assert_allclose(mean, want, rtol=5 * 2**0.5 / 320**0.5)


def test_the_network_stays_as_it_is_and_codes_count_as_what_they_hold():
    network = linear().copy()
    weight = network.tensor("weight").detach().clone()
    network.set_code("weight", Masked.encode(weight, weight > 0))
    before = str(network.graph)
    found = curvature(network, samples(network), ["weight"])["weight"]
    assert found.shape == (3, 5)
    assert bool((found[:, 1:] > 0).all())  # also where the weight is 0
    assert not found[:, 0].any()  # where the input is 0
    assert str(network.graph) == before
    assert network.code("weight").weight.grad is None
    assert torch.equal(network.code("weight").weight, weight)


def test_a_weight_that_nothing_depends_on_has_none():
    network = linear().copy()
    network.set_tensor("other", torch.ones(4))
    assert curvature(network, samples(network), ["other"])["other"].tolist() == [0.0] * 4


def test_a_network_of_a_fixed_batch_takes_whole_ones():
    network = capture(nn.Linear(5, 3), (torch.zeros(6, 5),), dynamic_batch=False)
    assert network.fixed_batch == 6
    one = curvature(network, samples(network, X[:12]), ["weight"])["weight"]
    other = curvature(network, samples(network, X[:15]), ["weight"])["weight"]
    np.testing.assert_array_equal(one, other)


def test_without_outputs_in_floats_there_is_none():
    class Chooser(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(5, 3)

        def forward(self, x):
            return self.inner(x).argmax(1)

    network = capture(Chooser(), (torch.zeros(2, 5),))
    with pytest.raises(ModelError, match="gives no output in floats"):
        curvature(network, samples(network), ["inner.weight"])
