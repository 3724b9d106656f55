"""The order in which images lie in memory: faster, and nothing else."""

import numpy as np
import pytest
import torch
from tests.train.trainings import FAST
from torch import nn

import tersor
from tersor.data.samples import Samples
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.train import layout
from tersor.train.optimizer import Optimizer


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 1, 5, 7), (1, 4, 1, 1)])
def test_images_hold_the_same_numbers_with_the_channels_of_a_pixel_together(shape):
    image = torch.rand(shape)
    found = layout.channels_last(image)
    assert torch.equal(found, image)
    assert found.stride()[1] == 1
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_image_stays_as_it_is():
    rows = torch.rand(2, 3)
    assert layout.channels_last(rows) is rows


def test_images_of_one_channel_leave_a_convolution_channels_last():
    """The plain order and the other are the same memory there: the strides must tell."""
    found = nn.Conv2d(1, 4, 3)(layout.channels_last(torch.rand(2, 1, 8, 8)))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_training_gives_the_same_weights_in_either_order(monkeypatch):
    network = convolutional()
    inputs = samples_for(network, 96).inputs
    samples = Samples(inputs, np.arange(96) % 5)
    training = FineTune(
        epochs=1, batch=32, loss="labels", optimizer=Optimizer(kind="sgd", learning_rate=1e-2)
    )
    last = training.apply(network, samples)
    monkeypatch.setattr(layout, "pays", lambda _: False)
    plain = training.apply(network, samples)
    for name, tensor in plain.module.state_dict().items():
        np.testing.assert_allclose(
            last.module.state_dict()[name], tensor, rtol=1e-3, atol=1e-4
        )


class Viewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 3), nn.Linear(3 * 4 * 4, 2)

    def forward(self, x):
        y = self.conv(x)
        return self.linear(y.view(len(y), -1))


def test_graphs_with_views_are_trained_in_the_usual_order():
    network = tersor.capture(Viewed(), (torch.zeros(2, 2, 6, 6),))
    assert layout.pays(convolutional())
    assert not layout.pays(perceptron())
    assert not layout.pays(network)
    samples = samples_for(network, 32)
    FineTune(epochs=1, batch=16, loss="original", optimizer=FAST).apply(network, samples)
