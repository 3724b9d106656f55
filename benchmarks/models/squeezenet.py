"""SqueezeNet 1.1 for 224x224 images: 1,235,496 weights.

A 3x3 convolution of stride 2 without padding, then eight fire modules with 3x3 maximum pools
of stride 2 before fire2, fire4 and fire6; a 1x1 convolution to 1000 classes, ReLU, global
average. A fire module squeezes by a 1x1 convolution and expands by a 1x1 and a 3x3 one side
by side.

Source: Iandola et al., "SqueezeNet", arXiv:1602.07360, version 1.1; weights of the ONNX model
zoo.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import SHARED
from benchmarks.models.weights import fill

_POOLED = (2, 4, 6)
_SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)


class Fire(nn.Module):
    """Squeeze, expand twice, concatenate."""

    def __init__(self, before: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.e1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.e3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, before, h, w) to (n, 8 squeezed, h, w)."""
        x = functional.relu(self.squeeze(x))
        both = (functional.relu(self.e1x1(x)), functional.relu(self.e3x3(x)))
        return torch.cat(both, dim=1)


class SqueezeNet(nn.Module):
    """1000 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2)
        before = 64
        for i, squeezed in enumerate(_SQUEEZED, start=2):
            self.add_module(f"fire{i}", Fire(before, squeezed))
            before = 8 * squeezed
        self.conv10 = nn.Conv2d(512, 1000, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 3, 224, 224) normalised to (n, 1000) scores."""
        x = functional.relu(self.conv1(image))
        for i in range(2, 10):
            if i in _POOLED:
                x = functional.max_pool2d(x, 3, 2)
            x = self.get_submodule(f"fire{i}")(x)
        x = functional.relu(self.conv10(x))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


def pretrained() -> SqueezeNet:
    """The network with its published weights."""
    model = SqueezeNet()
    fill(model, SHARED / "imagenet_models" / "squeezenet1_1.npz")
    return model
