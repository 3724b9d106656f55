"""The teacher computes each sample once."""

import numpy as np
import torch

from tersor.testing.networks import perceptron
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
