"""Encoder and decoder: attention from one sequence to another."""

import math

import torch
from torch import nn

from architectures.parts import example, tokens


class CrossTransformer(nn.Module):
    """The transformer of torch's own layers, encoder and decoder (arXiv:1706.03762)."""

    def __init__(self, source=30, target=36, dim=24):
        super().__init__()
        self.dim = dim
        self.source = nn.Embedding(source, dim)
        self.target = nn.Embedding(target, dim)
        self.position = nn.Parameter(torch.randn(1, 12, dim) * 0.5)
        encoder = nn.TransformerEncoderLayer(dim, 2, 40, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, 1, enable_nested_tensor=False)
        decoder = nn.TransformerDecoderLayer(dim, 3, 32, batch_first=True)
        self.decoder = nn.TransformerDecoder(decoder, 1)
        self.generator = nn.Linear(dim, target)
        self.register_buffer("mask", torch.full((12, 12), float("-inf")).triu(1))

    def forward(self, source, target):
        n, t = source.size(1), target.size(1)
        memory = self.source(source) * math.sqrt(self.dim) + self.position[:, :n]
        y = self.target(target) * math.sqrt(self.dim) + self.position[:, :t]
        memory = self.encoder(memory)
        y = self.decoder(y, memory, tgt_mask=self.mask[:t, :t], tgt_is_causal=True)
        return self.generator(y)


class Conformer(nn.Module):
    """A Conformer block: half perceptrons around attention and a convolution in time.

    The convolution has a gate by `glu` between a pointwise and a depthwise one
    (arXiv:2005.08100).
    """

    def __init__(self, dim=16):
        super().__init__()
        self.ff1 = self.perceptron(dim, 24)
        self.attn_norm = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.conv_norm = nn.LayerNorm(dim)
        self.pointwise1 = nn.Conv1d(dim, 2 * 20, 1)
        self.depthwise = nn.Conv1d(20, 20, 5, padding=2, groups=20)
        self.norm = nn.BatchNorm1d(20)
        self.pointwise2 = nn.Conv1d(20, dim, 1)
        self.ff2 = self.perceptron(dim, 28)
        self.last = nn.LayerNorm(dim)

    @staticmethod
    def perceptron(dim, hidden):
        return nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim)
        )

    def forward(self, x):
        x = x + 0.5 * self.ff1(x)
        y = self.attn_norm(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = nn.functional.glu(self.pointwise1(self.conv_norm(x).transpose(1, 2)), dim=1)
        y = self.pointwise2(nn.functional.silu(self.norm(self.depthwise(y))))
        x = x + y.transpose(1, 2)
        return self.last(x + 0.5 * self.ff2(x))


class ConformerNet(nn.Sequential):
    """Frames to symbols by Conformer blocks (arXiv:2005.08100)."""

    def __init__(self):
        super().__init__(nn.Linear(10, 16), Conformer(), Conformer(), nn.Linear(16, 12))


def frames():
    return torch.randn(2, 14, 10)


TRANSLATION = {
    "transformer": example(CrossTransformer, tokens(30, 9), tokens(36, 7)),
    "conformer": example(ConformerNet, frames),
}
