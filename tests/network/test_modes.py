import copy

import pytest
import torch
from capture_models import Nested
from torch import nn

from tersor.network.capture import capture
from tersor.network.modes import set_training
from tersor.testing.networks import convolutional


def regularized():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Dropout(0.5))
    return capture(module, torch.randn(2, 20))


def test_dropout_drops_and_scales_the_rest():
    network = set_training(copy.deepcopy(regularized()), training=True)
    (out,) = network.module(torch.randn(64, 20))
    dropped = (out == 0).float().mean()
    # 1920 coins: 5 standard deviations
    assert abs(dropped - 0.5) < 5 * 0.5 / 1920**0.5


def test_running_statistics_move_towards_the_batch():
    network = set_training(copy.deepcopy(regularized()), training=True)
    x = torch.randn(64, 20)
    before = network.tensor("1.running_mean").clone()
    batch = torch.nn.functional.linear(x, network.tensor("0.weight"), network.tensor("0.bias"))
    network.module(x)
    wanted = 0.9 * before + 0.1 * batch.mean(0)
    torch.testing.assert_close(network.tensor("1.running_mean"), wanted)


def test_training_like_the_module_itself():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30))
    network = set_training(capture(module, torch.randn(2, 20)), training=True)
    x = torch.randn(8, 20)
    assert torch.equal(network.module(x)[0], module.train()(x))
    assert torch.equal(network.tensor("1.running_var"), module[1].running_var)


@pytest.mark.parametrize("make", [regularized, convolutional])
def test_evaluation_returns_exactly(make):
    network = make()
    back = set_training(set_training(network, training=True), training=False)
    assert back.module.code == network.module.code
    assert not back.module.training


def test_the_network_itself_stays():
    network = regularized()
    code = network.module.code
    set_training(network, training=True)
    assert network.module.code == code


def test_twice_is_once():
    once = set_training(regularized(), training=True)
    twice = set_training(once, training=True)
    assert twice.module.code == once.module.code
    assert set_training(twice, training=False).module.code == regularized().module.code


def test_without_running_statistics_the_batchs_own_count_in_both_modes():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False))
    network = capture(module, torch.randn(4, 3))
    x = torch.randn(4, 3)
    wanted = network.module(x)[0]
    evaluating = set_training(network, training=False)
    assert torch.equal(evaluating.module(x)[0], wanted)


def test_gradients_reach_every_parameter():
    inputs = (torch.randn(4, 3), {"shift": torch.randn(4, 3), "bias": torch.randn(4, 4)})
    network = set_training(copy.deepcopy(capture(Nested(), inputs)), training=True)
    found = network.module(torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 4))
    (found[0] ** 2).sum().backward()
    assert {n for n, p in network.module.named_parameters() if p.grad is not None} == {
        *("first.weight", "first.bias", "norm.weight", "norm.bias")
    }
