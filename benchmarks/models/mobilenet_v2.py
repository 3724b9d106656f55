"""MobileNet v2 of width 1.0 for 224x224 images: 3,489,097 weights, normalizations folded.

A 3x3 convolution of stride 2; 17 blocks of 1x1 expansion (not in the first), 3x3 depthwise and
1x1 projection, with the input added where shapes allow it; a 1x1 convolution to 1280; global
average; a 1x1 convolution to 1001 classes, of which 0 is the background. ReLU6 after all but
the projections. Padding as TensorFlow's SAME.

The published classifier.weight has been rounded to 8 bits per channel before: that one tensor
says nothing about 8-bit rounding.

Source: Sandler et al., "MobileNetV2", arXiv:1801.04381; weights of Google.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import SHARED
from benchmarks.models.same import same
from benchmarks.models.weights import fill

_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_WIDTHS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)


class Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, before: int, width: int, stride: int, factor: int) -> None:
        super().__init__()
        inner = before * factor
        self.expand = nn.Conv2d(before, inner, 1) if factor > 1 else None
        self.dw = nn.Conv2d(inner, inner, 3, stride, groups=inner)
        self.project = nn.Conv2d(inner, width, 1)
        self.adds = stride == 1 and before == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, before, h, w) to (n, width, h / stride, w / stride)."""
        inner = x if self.expand is None else functional.relu6(self.expand(x))
        y: torch.Tensor = self.project(functional.relu6(same(self.dw, inner)))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """1001 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 32, 3, 2)
        before = (32, *_WIDTHS[:-1])
        factors = (1, *[6] * 16)
        self.blocks = nn.Sequential(*map(Block, before, _WIDTHS, _STRIDES, factors))
        self.head = nn.Conv2d(320, 1280, 1)
        self.classifier = nn.Conv2d(1280, 1001, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 3, 224, 224) in [-1, 1] to (n, 1001) scores."""
        x = self.blocks(functional.relu6(same(self.conv0, image)))
        x = functional.relu6(self.head(x))
        x = functional.adaptive_avg_pool2d(x, 1)
        scores: torch.Tensor = self.classifier(x).flatten(1)
        return scores


def pretrained() -> MobileNetV2:
    """The network with its published weights."""
    model = MobileNetV2()
    path = SHARED / "imagenet_models" / "mobilenet_v2_1.0_224.npz"
    fill(model, path, {r"b(\d+)\.": r"blocks.\1."})
    return model
