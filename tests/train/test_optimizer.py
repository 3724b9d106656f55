"""Optimizers and how their rates go."""

import pytest
import torch
from torch import nn

from tersor.errors import InputError
from tersor.train.optimizer import Optimizer


def rates(schedule, steps=40):
    optimizer = Optimizer(schedule=schedule, learning_rate=0.1)
    built = optimizer.build([nn.Parameter(torch.zeros(2, 2))])
    schedule = optimizer.rates(built, steps)
    found = []
    for _ in range(steps):
        found.append(built.param_groups[0]["lr"])
        built.step()
        schedule.step()
    return [*found, built.param_groups[0]["lr"]]


def test_a_constant_rate_stays():
    assert rates("constant") == [0.1] * 41


def test_the_cosine_falls_from_the_whole_rate_to_nothing():
    found = rates("cosine")
    assert found[0] == 0.1
    assert found[20] == pytest.approx(0.05)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0, abs=1e-12)


def test_a_warm_up_rises_over_a_twentieth():
    found = rates("warmup")
    assert found[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_only_weights_decay(kind):
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    chosen = Optimizer(kind=kind, weight_decay=0.5, learning_rate=0.1, momentum=0.0)
    built = chosen.build([weight, bias])
    for each in (weight, bias):
        each.grad = torch.zeros_like(each)
    built.step()
    assert torch.equal(bias, torch.ones(2))
    assert torch.allclose(weight, torch.full((2, 2), 0.95))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("weight_decay", -1.0),
        ("clip", -0.1),
        ("momentum", 1.0),
    ],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(InputError, match=setting):
        Optimizer(**{setting: value})
