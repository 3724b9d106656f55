"""MobileNet v1 of width 0.25 for 224x224 images: 475,544 weights, normalizations not folded.

A 3x3 convolution of stride 2, then 13 pairs of a 3x3 depthwise and a 1x1 convolution, each
with batch normalization and ReLU6; global average; a 1x1 convolution as classifier. Depthwise
convolutions 2, 4, 6 and 12 have stride 2. Padding as TensorFlow's SAME.

Source: Howard et al., "MobileNets", arXiv:1704.04861; weights of Google.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import SHARED
from benchmarks.models.same import same
from benchmarks.models.weights import fill

_WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
_HALVED = (2, 4, 6, 12)


class Layer(nn.Module):
    """A convolution, its normalization, ReLU6."""

    def __init__(self, before: int, width: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, width, kernel, stride, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, before, h, w) to (n, width, ceil(h / stride), ceil(w / stride))."""
        return functional.relu6(self.bn(same(self.conv, x)))


class MobileNetV1(nn.Module):
    """1000 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = Layer(3, _WIDTHS[0], 3, 2, 1)
        pairs = []
        for i, (before, width) in enumerate(pairwise(_WIDTHS), start=1):
            stride = 2 if i in _HALVED else 1
            deep = Layer(before, before, 3, stride, before)
            pairs.append(nn.ModuleDict({"dw": deep, "pw": Layer(before, width, 1, 1, 1)}))
        self.pairs = nn.ModuleList(pairs)
        self.classifier = nn.Conv2d(_WIDTHS[-1], 1000, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 3, 224, 224) in [-1, 1] to (n, 1000) scores."""
        x = self.conv0(image)
        for pair in self.pairs:
            assert isinstance(pair, nn.ModuleDict)
            x = pair["pw"](pair["dw"](x))
        x = functional.adaptive_avg_pool2d(x, 1)
        scores: torch.Tensor = self.classifier(x).flatten(1)
        return scores


def pretrained() -> MobileNetV1:
    """The network with its published weights."""
    model = MobileNetV1()
    names = {r"conv0\.weight": "conv0.conv.weight"}
    for i in range(1, 14):
        for kind in ("dw", "pw"):
            names[rf"{kind}{i}\.weight"] = f"pairs.{i - 1}.{kind}.conv.weight"
            names[rf"{kind}{i}\.bn"] = f"pairs.{i - 1}.{kind}.bn"
    fill(model, SHARED / "imagenet_models" / "mobilenet_v1_0.25_224.npz", names)
    return model
