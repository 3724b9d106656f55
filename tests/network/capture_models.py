"""Modules of the kinds that users bring, as small as they can be."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Residual(nn.Module):
    """A ResNet block whose shortcut takes every other pixel and pads channels (option A)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.relu(out)


class Transformer(nn.Module):
    """Embedding tied to the head, one encoder block."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        with torch.no_grad():
            x = self.embed(ids) * 2
        return self.head(self.block(x))


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Nested(nn.Module):
    """Two inputs, one of them nested and one a number; results in a dict."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x, more, scale=1.0, *, mask=None):
        h = self.norm(self.drop(self.first(x * scale + more["shift"])))
        return {"h": h, "pair": Pair(h + more["bias"], h - 1), "nothing": mask}


class Writes(nn.Module):
    """Writes into a part of a tensor, which no single functional operation does."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        y = self.norm(x) + 1
        y[:, 0] = 0
        return y


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return x * self.seen


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else x + 1


class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(4, -1)


class Views(nn.Module):
    """Changes a tensor whose view is read afterwards."""

    def forward(self, x):
        y = x + 1
        view = y.reshape(-1)
        y.mul_(2)
        return view


class Number(nn.Module):
    def forward(self, x):
        return x, 3
