"""What tells one training from another."""

from dataclasses import replace

from tests.train.trainings import task

from tersor.data.samples import Samples
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import convolutional, perceptron
from tersor.train.checkpoint import key_of


def moved():
    """A perceptron that differs in one number."""
    network = perceptron()
    bias = network.tensor("second.bias").detach().clone()
    bias[3] += 1e-3
    network.set_tensor("second.bias", bias)
    return network


def test_whatever_differs_gives_another_key():
    step, samples = FineTune(epochs=2), task(40)
    x, labels = samples.inputs["x"], samples.labels
    trainings = [
        (step, perceptron(), samples),
        (FineTune(epochs=3), perceptron(), samples),
        (step, moved(), samples),
        (step, convolutional(), samples),
        (step, replace(perceptron(), origin=convolutional()), samples),
        (step, replace(perceptron(), origin=replace(moved(), origin=None)), samples),
        (step, perceptron(), Samples({"x": x + 1}, labels)),
        (step, perceptron(), Samples({"x": x}, labels + 1)),
        (step, perceptron(), Samples({"x": x})),
        (step, perceptron(), samples, [perceptron()]),
        (step, perceptron(), samples, [moved()]),
        (step, perceptron(), samples, [convolutional()]),
        (step, perceptron(), samples, [perceptron(), moved()]),
        (step, perceptron(), samples, [moved(), perceptron()]),
    ]
    keys = [key_of(*given) for given in trainings]
    assert len(set(keys)) == len(keys)


def test_the_same_training_has_the_same_key():
    one, other = (
        key_of(FineTune(epochs=2), perceptron(), task(40), [moved()]) for _ in range(2)
    )
    assert one == other
