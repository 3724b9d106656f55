"""A wide teacher of small images, what is left of it after cuts, and parts at work."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from tests.train.trainings import FAST
from torch import nn

from tersor.data.samples import Samples
from tersor.methods.distil.attention import Attention
from tersor.methods.distil.features import Features
from tersor.methods.distil.itself import Itself
from tersor.methods.distil.layers import Layers
from tersor.methods.distil.soft_targets import SoftTargets
from tersor.methods.distil.teachers import Teachers
from tersor.methods.train.fine_tune import FineTune
from tersor.network.capture import capture
from tersor.network.narrow import narrowed
from tersor.network.network import Network
from tersor.testing.networks import samples_for
from tersor.train.during import Forward, Run
from tersor.train.loop import trainable
from tersor.train.optimizer import Optimizer
from tersor.train.taps import parted, tapped
from tersor.train.teacher import Answer

CLASSES = 6


class Block(nn.Module):
    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(before, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.short(x))


class Residual(nn.Module):
    """Three residual blocks in two stages."""

    def __init__(self, channels):
        super().__init__()
        twice = 2 * channels
        self.stem = nn.Conv2d(1, channels, 3, 1, 1)
        self.a, self.b = Block(channels, channels, 1), Block(channels, twice, 2)
        self.c, self.head = Block(twice, twice, 1), nn.Linear(twice, CLASSES)

    def forward(self, x):
        x = self.c(self.b(self.a(torch.relu(self.stem(x)))))
        return self.head(x.mean((2, 3)))


def images(count: int, seed: int) -> Samples:
    """One of six patterns of 4x4 somewhere in noise of 8x8, and which one it is."""
    patterns = np.random.default_rng(0).standard_normal((CLASSES, 4, 4))
    rng = np.random.default_rng(seed)
    labels, x = rng.integers(0, CLASSES, count), 0.7 * rng.standard_normal((count, 1, 8, 8))
    for image, label, (i, j) in zip(x, labels, rng.integers(0, 5, (count, 2)), strict=True):
        image[0, i : i + 4, j : j + 4] += patterns[label]
    return Samples({"x": x.astype(np.float32)}, labels)


@cache
def wide() -> Network:
    """A network that knows the patterns, as it comes to its user."""
    torch.manual_seed(0)
    network = capture(Residual(8), torch.randn(2, 1, 8, 8))
    step = FineTune(epochs=5, batch=25, optimizer=Optimizer(learning_rate=5e-3))
    result = replace(step.apply(network, images(800, 1)), origin=None, notes=())
    result.module.zero_grad(set_to_none=True)
    return result


def thin() -> Network:
    """A quarter of the channels within each block of `wide`, those of the largest weights."""
    result, before = wide().copy(), wide()

    def cut(path, keep, axis=0):
        tensor = before.tensor(path).detach()
        result.set_tensor(path, tensor.index_select(axis, keep))

    for block in "abc":
        sizes = before.tensor(f"{block}.conv1.weight").detach().abs().sum((1, 2, 3))
        keep = sizes.argsort(descending=True)[: len(sizes) // 4].sort().values
        cut(f"{block}.conv1.weight", keep)
        cut(f"{block}.conv2.weight", keep, axis=1)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            cut(f"{block}.bn1.{leaf}", keep)
    result.module.recompile()
    own = copy.deepcopy(result.module)
    own.zero_grad(set_to_none=True)
    return replace(result, module=own)


def unlike(network: Network, teacher: Network) -> float:
    """Mean square error of the outputs over the teacher's variance, on unseen images."""
    inputs = dict(images(1000, 2).inputs)
    (own,), (wanted,) = (each.run(inputs).values() for each in (network, teacher))
    return float(np.square(own - wanted).mean() / wanted.var())


def taught(network: Network, *during, seed: int = 0, **settings) -> Network:
    """Trained on few images without labels, with something during it."""
    given = {"epochs": 16, "batch": 16, "optimizer": Optimizer(learning_rate=6e-3)}
    step = FineTune(loss="original", during=during, seed=seed, **{**given, **settings})
    return step.apply(network, Samples(images(64, 50 + seed).inputs))


EACH = {
    "soft_targets": SoftTargets(),
    "features": Features(),
    "attention": Attention(),
    "layers": Layers(),
    "teachers": Teachers(),
    "itself": Itself(),
    "itself-best": Itself(teacher="best"),
}
OF_THE_TEACHER = [name for name in EACH if "itself" not in name]


def run_of(network, **given):
    """A training that has just begun."""
    return Run(network, **{"steps": 10, "epochs": 1, "samples": 8, "seed": 0, **given})


def at_work(during, network, inputs=None):
    """A part, and a batch of inputs as it sees it."""
    given = samples_for(network, 8, seed=3).inputs if inputs is None else inputs
    x = [torch.from_numpy(a) for a in given.values()]
    count = len(x[0])
    part = during.start(run := run_of(network, rows=count))
    needs = part.needs()
    teacher = tapped(run.teacher, needs.teacher_values) if network.origin else network
    with torch.no_grad():
        answer = Answer(*parted(teacher.module(*x), needs.teacher_values))
    outputs, values = parted(tapped(network, needs.values).module(*x), needs.values)
    return part, Forward(np.arange(count), tuple(x), None, outputs, values, answer)


def student_of(teacher, factor=0.5):
    """A narrower network of fresh weights, and its teacher."""
    return narrowed(teacher, factor, seed=1)


def quickly(network, *during, epochs=3):
    """A perceptron that learns from its teacher on 64 samples."""
    step = FineTune(epochs=epochs, batch=16, loss="original", during=during, optimizer=FAST)
    return step.apply(network, samples_for(network, 64))


def move(network, seed):
    """Change all weights, as a step of training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable(network).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
