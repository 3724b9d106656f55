"""Swin: attention within windows that shift from block to block (arXiv:2103.14030)."""

import torch
from torch import nn

from architectures.parts import example, image
from architectures.vision import Mlp


def window_partition(x, size):
    """(batch, height, width, channels) as (windows, size, size, channels)."""
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size, size, c)


def window_reverse(windows, size, h, w):
    """The inverse of `window_partition`."""
    c = windows.shape[-1]
    x = windows.view(-1, h // size, w // size, size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, c)


def relative_index(size):
    """For each pair of a window's pixels, which row of the bias table is theirs."""
    grid = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    at = torch.stack(grid).flatten(1)
    apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + size - 1
    return apart[..., 0] * (2 * size - 1) + apart[..., 1]


def shift_mask(side, size, shift):
    """-100 between pixels that only the shift brought into one window."""
    region = torch.zeros(1, side, side, 1)
    slices = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    count = 0
    for rows in slices:
        for columns in slices:
            region[:, rows, columns, :] = count
            count += 1
    windows = window_partition(region, size).view(-1, size * size)
    apart = windows.unsqueeze(1) - windows.unsqueeze(2)
    return apart.masked_fill(apart != 0, -100.0)


class WindowAttention(nn.Module):
    """Attention within windows, with a bias by relative position."""

    def __init__(self, dim, size, heads):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(
            torch.randn((2 * size - 1) ** 2, heads)
        )
        self.register_buffer("relative_position_index", relative_index(size))
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        attn = attn + bias.view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            attn = attn.view(b // windows, windows, self.heads, n, n)
            attn = attn + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.heads, n, n)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(b, n, c)
        return self.proj(x)


class SwinBlock(nn.Module):
    """Attention within (shifted) windows and a perceptron."""

    def __init__(self, dim, side, size, shift, heads):
        super().__init__()
        self.side, self.size, self.shift = side, size, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, size, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim * 2 + 4)
        self.register_buffer("attn_mask", shift_mask(side, size, shift) if shift else None)

    def forward(self, x):
        h = w = self.side
        b, _, c = x.shape
        shortcut = x
        x = self.norm1(x).view(b, h, w, c)
        if self.shift > 0:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(x, self.size).view(-1, self.size * self.size, c)
        windows = self.attn(windows, self.attn_mask)
        windows = windows.view(-1, self.size, self.size, c)
        x = window_reverse(windows, self.size, h, w)
        if self.shift > 0:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x.view(b, h * w, c)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, side, dim):
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        b, _, c = x.shape
        x = x.view(b, self.side, self.side, c)
        x0 = x[:, 0::2, 0::2, :]
        x1 = x[:, 1::2, 0::2, :]
        x2 = x[:, 0::2, 1::2, :]
        x3 = x[:, 1::2, 1::2, :]
        x = torch.cat([x0, x1, x2, x3], -1)
        x = x.view(b, -1, 4 * c)
        return self.reduction(self.norm(x))


class Swin(nn.Module):
    """Swin transformer of two stages (arXiv:2103.14030)."""

    def __init__(self, dim=12, classes=10):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 2, stride=2)
        self.embed_norm = nn.LayerNorm(dim)
        self.stage1 = nn.Sequential(SwinBlock(dim, 8, 4, 0, 3), SwinBlock(dim, 8, 4, 2, 3))
        self.merge = PatchMerging(8, dim)
        self.stage2 = SwinBlock(2 * dim, 4, 4, 0, 6)
        self.norm = nn.LayerNorm(2 * dim)
        self.avgpool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(2 * dim, classes)

    def forward(self, x):
        x = self.embed_norm(self.embed(x).flatten(2).transpose(1, 2))
        x = self.norm(self.stage2(self.merge(self.stage1(x))))
        x = torch.flatten(self.avgpool(x.transpose(1, 2)), 1)
        return self.head(x)


WINDOWS = {"swin": example(Swin, image(16))}
