"""Networks and samples on which trainings are tried in a fraction of a second."""

from dataclasses import dataclass

import numpy as np

from tersor.data.samples import Samples
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import perceptron
from tersor.train.during import Part
from tersor.train.optimizer import Optimizer

FAST = Optimizer(learning_rate=1e-2)


def task(count=400, seed=0):
    """Samples for `perceptron`: three classes that a line or two divide."""
    x = np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32)
    return Samples({"x": x}, (x[:, 0] > x[:, 1]).astype(np.int64) + (x[:, 2] > 1))


def trained(samples=None, network=None, **settings):
    """A fine-tuned perceptron."""
    given = {"epochs": 3, "batch": 32, "optimizer": FAST, **settings}
    return FineTune(**given).apply(network or perceptron(), samples or task())


def state(network):
    """All tensors, by name."""
    return {name: t.numpy().copy() for name, t in network.module.state_dict().items()}


def same(one, other):
    """Whether two networks hold the same bits."""
    a, b = state(one), state(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@dataclass(frozen=True)
class Watch:
    """Something during training that does what it is told and notes what it was called for."""

    seen: list
    does: dict

    def start(self, run):
        self.seen.append("start")
        return Watching(run, self.seen, self.does)


class Watching(Part):
    def __init__(self, run, seen, does):
        self._run, self._seen, self._does = run, seen, does

    def _called(self, hook, default=None):
        self._seen.append(hook)
        return self._does[hook](self._run) if hook in self._does else default

    @property
    def settled(self):
        return self._does["settled"](self._run) if "settled" in self._does else True

    def inputs(self, tensors):
        found = self._called("inputs")
        return tensors if found is None else [found(each) for each in tensors]

    def penalty(self):
        return self._called("penalty")

    def before_step(self):
        self._called("before_step")

    def after_step(self):
        self._called("after_step")

    def after_epoch(self, epoch):
        self._called(f"after_epoch {epoch.number}")

    def finish(self):
        self._called("finish")
