"""ResNet-8 of MLPerf Tiny's image classification: 78,666 parameters, CIFAR-10.

Three stages of one block with 16, 32 and 64 channels; the shortcuts of stages 2 and 3 are 1x1
convolutions of stride 2. All convolutions have a bias; those that a shortcut joins have batch
normalization, too. Padding as TensorFlow's SAME.

Source: Banbury et al., "MLPerf Tiny benchmark", arXiv:2106.07597; weights of MLCommons Tiny.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import SHARED
from benchmarks.models.same import same
from benchmarks.models.weights import fill

_EPS = 1e-3


class TinyResNet8(nn.Module):
    """Convolutions and normalizations under the numbers that the weights have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 16, 3)
        self.conv1, self.conv2 = nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)
        self.conv3, self.conv4 = nn.Conv2d(16, 32, 3, 2), nn.Conv2d(32, 32, 3)
        self.conv5 = nn.Conv2d(16, 32, 1, 2)
        self.conv6, self.conv7 = nn.Conv2d(32, 64, 3, 2), nn.Conv2d(64, 64, 3)
        self.conv8 = nn.Conv2d(32, 64, 1, 2)
        widths = (16, 16, 16, 32, 32, 64, 64)
        for i, width in enumerate(widths):
            self.add_module(f"bn{i}", nn.BatchNorm2d(width, _EPS))
        self.dense = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 3, 32, 32) as 0 ... 255 to (n, 10) scores."""
        relu = functional.relu
        x = relu(self._normal(0, 0, image))
        x = relu(x + self._normal(2, 2, relu(self._normal(1, 1, x))))
        y = self._normal(4, 4, relu(self._normal(3, 3, x)))
        x = relu(self.conv5(x) + y)
        y = self._normal(7, 6, relu(self._normal(6, 5, x)))
        x = relu(self.conv8(x) + y)
        x = functional.avg_pool2d(x, 8).flatten(1)
        scores: torch.Tensor = self.dense(x)
        return scores

    def _normal(self, conv: int, bn: int, x: torch.Tensor) -> torch.Tensor:
        """A convolution and the normalization after it."""
        y = same(self.get_submodule(f"conv{conv}"), x)
        normal: torch.Tensor = self.get_submodule(f"bn{bn}")(y)
        return normal


def pretrained() -> TinyResNet8:
    """The network with its published weights."""
    model = TinyResNet8()
    fill(model, SHARED / "cifar10_models" / "resnet8_mlperf_tiny.npz")
    return model
