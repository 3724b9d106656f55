"""ResNet-20, -32 and -44 for CIFAR-10, with weight-free shortcuts.

A 3x3 convolution of 16 channels, three stages of (depth - 2) / 6 basic blocks with 16, 32 and
64 channels, global average, linear. Where a stage begins with stride 2 the shortcut takes
every second pixel and pads the channels with zeros, a quarter of the new width on
either side ("option A").

Source: He et al., "Deep residual learning for image recognition", arXiv:1512.03385, 4.2.
Names of parameters are those of the published checkpoints.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import SHARED

DEPTHS = (20, 32, 44)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.padding = channels // 4 if stride != 1 or before != channels else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, before, h, w) to (n, channels, h / stride, w / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(y + x)


class CifarResNet(nn.Module):
    """A residual network of `depth` = 6 n + 2 layers for 32x32 images of 10 classes."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, blocks)
        self.layer2 = _stage(16, 32, 2, blocks)
        self.layer3 = _stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 3, 32, 32) normalised images to (n, 10) scores."""
        x = functional.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = functional.avg_pool2d(x, x.shape[3])
        scores: torch.Tensor = self.linear(x.flatten(1))
        return scores


def _stage(before: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
    first = Block(before, channels, stride)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))


def pretrained(depth: int) -> CifarResNet:
    """The network of that depth with its published weights, in evaluation mode."""
    (path,) = (SHARED / "cifar10_models").glob(f"resnet{depth}-*.th")
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    model = CifarResNet(depth)
    model.load_state_dict({name.removeprefix("module."): t for name, t in state.items()})
    return model.eval()
