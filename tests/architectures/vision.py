"""Networks on image patches: attention in several ways of writing it, and mixers."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from architectures.parts import ConvBN, example, image


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class Patches(nn.Module):
    """An image as a sequence of patch vectors."""

    def __init__(self, patch, dim):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Queries, keys and values by one linear layer."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class ViTBlock(nn.Module):
    """Attention and perceptron, each after a layer norm and added."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Vision transformer with a class token (arXiv:2010.11929)."""

    def __init__(self, dim=24, heads=4, hidden=40, classes=10):
        super().__init__()
        self.patches = Patches(4, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, dim) * 0.5)
        self.blocks = nn.Sequential(*(ViTBlock(dim, heads, hidden) for _ in range(2)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patches(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        return self.head(x[:, 0])


class ViTModules(nn.Module):
    """Vision transformer of torch's own encoder, mean of tokens (arXiv:2010.11929)."""

    def __init__(self, dim=16, heads=2, classes=10):
        super().__init__()
        self.patches = Patches(4, dim)
        self.pos_embed = nn.Parameter(torch.randn(1, 16, dim) * 0.5)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 40, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.encoder(self.patches(x) + self.pos_embed)
        return self.head(x.mean(dim=1))


class EinsumAttention(nn.Module):
    """Attention whose products are einsums, after a convolution (arXiv:1706.03762)."""

    def __init__(self, heads=3, head_dim=8, classes=10):
        super().__init__()
        self.heads, self.scale = heads, head_dim**-0.5
        inner = heads * head_dim
        self.stem = ConvBN(3, 20, stride=4)
        self.norm = nn.LayerNorm(20)
        self.to_qkv = nn.Linear(20, inner * 3, bias=False)
        self.to_out = nn.Linear(inner, 20)
        self.head = nn.Linear(20, classes)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        b, n, _ = x.shape
        qkv = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in qkv)
        dots = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale
        out = torch.einsum("bhij,bhjd->bhid", dots.softmax(dim=-1), v)
        x = x + self.to_out(out.transpose(1, 2).reshape(b, n, -1))
        return self.head(torch.einsum("bnc->bc", x) / n)


class MixerBlock(nn.Module):
    """A perceptron over tokens, then one over channels."""

    def __init__(self, tokens, dim, token_hidden, hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.token_mix = Mlp(tokens, token_hidden)
        self.norm2 = nn.LayerNorm(dim)
        self.channel_mix = Mlp(dim, hidden)

    def forward(self, x):
        x = x + self.token_mix(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mix(self.norm2(x))


class MLPMixer(nn.Module):
    """MLP-Mixer (arXiv:2105.01601)."""

    def __init__(self, dim=20, classes=10):
        super().__init__()
        self.patches = Patches(4, dim)
        self.blocks = nn.Sequential(*(MixerBlock(16, dim, 12, 40) for _ in range(2)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.patches(x))).mean(dim=1))


VISION = {
    "vit": example(ViT, image(16)),
    "vit_modules": example(ViTModules, image(16)),
    "einsum_attention": example(EinsumAttention, image(16)),
    "mlp_mixer": example(MLPMixer, image(16)),
}
