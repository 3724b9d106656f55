"""A short training on which ways to prune are tried."""

import numpy as np

from tersor.data.samples import Samples
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import perceptron
from tersor.train.optimizer import Optimizer

WEIGHTS = {"first.weight": 384, "second.weight": 512}  # those of 64 elements or more


def samples(count=640):
    """Three classes by the first three of twelve inputs; the others are noise."""
    x = np.random.default_rng(0).normal(size=(count, 12)).astype(np.float32)
    return Samples({"x": x}, (x[:, 0] > x[:, 1]).astype(np.int64) + (x[:, 2] > 1))


def trained(*during, network=None, epochs=10, rate=1e-2):
    """A perceptron that was trained with something during it."""
    optimizer = Optimizer(learning_rate=rate)
    step = FineTune(epochs=epochs, batch=32, during=during, optimizer=optimizer)
    return step.apply(network or perceptron(), samples())


def zeros(network, name="first.weight"):
    """How many elements of a weight are 0."""
    return int((network.tensor(name) == 0).sum())


def error(network):
    """The share of wrong classes, on other samples."""
    other = np.random.default_rng(1).normal(size=(2000, 12)).astype(np.float32)
    labels = (other[:, 0] > other[:, 1]).astype(np.int64) + (other[:, 2] > 1)
    return float((network.run({"x": other})["y"].argmax(1) != labels).mean())
