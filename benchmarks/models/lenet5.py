"""LeNet-5 for MNIST in the shape that Caffe made known: 431,080 weights.

5x5 convolution of 20 channels, pool, 5x5 of 50, pool, linear 800 to 500, ReLU, linear to 10;
no padding, no ReLU after the convolutions, pools of 2x2 maxima.

Source: LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of
the IEEE 86 (1998), with the widths of Caffe's MNIST example.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import SHARED
from benchmarks.models.weights import fill


class LeNet5(nn.Module):
    """Two convolutions, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, 28, 28) in [0, 1] to (n, 10) scores."""
        x = functional.max_pool2d(self.conv1(image), 2)
        x = functional.max_pool2d(self.conv2(x), 2)
        scores: torch.Tensor = self.fc2(functional.relu(self.fc1(x.flatten(1))))
        return scores


def pretrained() -> LeNet5:
    """The network with its published weights."""
    model = LeNet5()
    fill(model, SHARED / "mnist_models" / "lenet5.npz")
    return model
