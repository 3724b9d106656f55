"""TensorFlow's padding SAME for convolutions that have no padding of their own.

Along an axis of size h, with kernel k and stride s, max((ceil(h / s) - 1) s + k - h, 0) zeros
are added, the smaller half before. What is equal on both sides goes into the convolution.
"""

import torch
from torch import nn
from torch.nn import functional


def same(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A convolution of (n, c, h, w) with as much padding as SAME asks for."""
    assert isinstance(conv, nn.Conv2d)
    (top, bottom), (left, right) = (
        _zeros(size, k, s)
        for size, k, s in zip(x.shape[2:], conv.kernel_size, conv.stride, strict=True)
    )
    if top == bottom and left == right:
        return functional.conv2d(
            x, conv.weight, conv.bias, conv.stride, (top, left), groups=conv.groups
        )
    padded: torch.Tensor = conv(functional.pad(x, (left, right, top, bottom)))
    return padded


def _zeros(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
