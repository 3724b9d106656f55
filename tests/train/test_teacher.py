"""The teacher computes each sample once."""

import numpy as np
import torch

from tersor.testing.networks import perceptron
from tersor.train.surroundings import Surroundings, surrounded
from tersor.train.teacher import Teacher


class Counting:
    """A network that counts how often it is called."""

    def __init__(self):
        self.calls, self._network = 0, perceptron()

    def module(self, *tensors):
        self.calls += 1
        return self._network.module(*tensors)


def test_what_is_known_is_not_computed_again():
    network, x = Counting(), torch.randn(6, 12)
    teacher = Teacher(network, 6, keep=True)
    rows = np.arange(6)
    first = teacher.outputs(rows[:4], [x[:4]])
    teacher.outputs(rows[4:], [x[4:]])
    (again,) = teacher.outputs(rows[[5, 0, 3]], [x[[5, 0, 3]]])
    assert network.calls == 2
    assert torch.equal(again[1:], first[0][[0, 3]])
    assert not again.requires_grad


def test_samples_that_change_are_computed_each_time():
    network, x = Counting(), torch.randn(6, 12)
    teacher = Teacher(network, 6, keep=False)
    for _ in range(2):
        teacher.outputs(np.arange(6), [x])
    assert network.calls == 2


VALUES = ("relu_default", "relu_default_1")


def runs(monkeypatch):
    """How often any module of a graph is called from now on."""
    calls = []
    call = torch.fx.GraphModule.__call__

    def counted(self, *tensors):
        calls.append(len(tensors[0]))
        return call(self, *tensors)

    monkeypatch.setattr(torch.fx.GraphModule, "__call__", counted)
    return calls


def test_inner_values_are_kept_as_outputs_are(monkeypatch):
    network, x = perceptron(), torch.randn(6, 12)
    hidden = torch.relu(x @ network.tensor("first.weight").T + network.tensor("first.bias"))
    wanted = network.module(x)[0].detach()
    calls = runs(monkeypatch)
    teacher = Teacher(network, 6, keep=True, values=VALUES)
    rows = np.arange(6)
    for chosen in (rows[:4], rows[4:], rows[[5, 0, 3]]):
        answer = teacher.answer(chosen, [x[chosen]])
        assert torch.allclose(answer.outputs[0], wanted[chosen], atol=1e-6)
        assert torch.allclose(answer.values["relu_default"], hidden[chosen], atol=1e-6)
        assert set(answer.values) == set(VALUES)
        assert not answer.values["relu_default"].requires_grad
    assert calls == [4, 2]
    assert torch.allclose(teacher.outputs(rows[:2], [x[:2]])[0], wanted[:2], atol=1e-6)
    assert calls == [4, 2]


def test_where_inner_values_do_not_fit_outputs_are_kept_alone(monkeypatch):
    monkeypatch.setattr("tersor.train.teacher._MOST_BYTES", 6 * 3 * 4)
    calls = runs(monkeypatch)
    x, rows = torch.randn(6, 12), np.arange(6)
    teacher = Teacher(perceptron(), 6, keep=True, values=VALUES)
    for _ in range(2):
        assert set(teacher.answer(rows, [x]).values) == set(VALUES)
    teacher.outputs(rows, [x])
    assert calls == [6, 6]


def test_without_values_an_answer_has_outputs_only(monkeypatch):
    calls = runs(monkeypatch)
    x, rows = torch.randn(6, 12), np.arange(6)
    teacher = Teacher(perceptron(), 6, keep=True)
    for _ in range(2):
        answer = teacher.answer(rows, [x])
    assert answer.values == {}
    assert len(answer.outputs) == 1
    assert calls == [6]


def test_it_multiplies_as_the_student_does():
    network, x = perceptron(), torch.randn(64, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = network.module(x)[0].float()
    with surrounded(Surroundings(precision="bf16")):
        teacher = Teacher(network, 64, keep=False, values=VALUES[:1])
        answer = teacher.answer(np.arange(64), [x])
    assert torch.equal(answer.outputs[0], wanted)
    assert {each.dtype for each in (*answer.outputs, *answer.values.values())} == {
        torch.float32
    }
