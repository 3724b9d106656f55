"""Language models: attention as the well-known implementations write it."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from architectures.parts import example, padding_mask, tokens


class BertAttention(nn.Module):
    """Queries, keys and values apart; softmax by hand with a mask that is added."""

    def __init__(self, hidden, heads):
        super().__init__()
        self.heads, self.head_size = heads, hidden // heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.dense = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)

    def split_heads(self, x):
        x = x.view((*x.size()[:-1], self.heads, self.head_size))
        return x.permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q = self.split_heads(self.query(x))
        k = self.split_heads(self.key(x))
        v = self.split_heads(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.head_size)
        probabilities = self.dropout(nn.functional.softmax(scores + mask, dim=-1))
        context = torch.matmul(probabilities, v).permute(0, 2, 1, 3).contiguous()
        context = context.view((*context.size()[:-2], self.heads * self.head_size))
        return self.norm(self.dropout(self.dense(context)) + x)


class BertLayer(nn.Module):
    """Attention and perceptron, each with a layer norm after the sum."""

    def __init__(self, hidden, heads, intermediate):
        super().__init__()
        self.attention = BertAttention(hidden, heads)
        self.intermediate = nn.Linear(hidden, intermediate)
        self.output = nn.Linear(intermediate, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x, mask):
        x = self.attention(x, mask)
        return self.norm(self.output(F.gelu(self.intermediate(x))) + x)


class BERT(nn.Module):
    """BERT with a classifier on the pooled first token (arXiv:1810.04805)."""

    def __init__(self, vocabulary=40, hidden=24, heads=3, classes=4):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(16, hidden)
        self.token_type_embeddings = nn.Embedding(2, hidden)
        self.register_buffer("position_ids", torch.arange(16).expand((1, -1)))
        self.norm = nn.LayerNorm(hidden, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(hidden, heads, 40) for _ in range(2))
        self.pooler = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, input_ids, attention_mask):
        positions = self.position_ids[:, : input_ids.size(1)]
        x = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        x = self.norm(x + self.token_type_embeddings(torch.zeros_like(input_ids)))
        mask = attention_mask[:, None, None, :].to(dtype=x.dtype)
        mask = (1.0 - mask) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class CausalAttention(nn.Module):
    """Queries, keys and values by one linear layer that is split; a mask of a buffer."""

    def __init__(self, width, heads, block):
        super().__init__()
        self.heads, self.width = heads, width
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        mask = torch.tril(torch.ones(block, block)).view(1, 1, block, block)
        self.register_buffer("bias", mask)

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(self.width, dim=2)
        q = q.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        k = k.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        v = v.view(b, t, self.heads, c // self.heads).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        y = (att @ v).transpose(1, 2).contiguous().view(b, t, c)
        return self.c_proj(y)


class GPTBlock(nn.Module):
    """Attention and perceptron, each after a layer norm and added."""

    def __init__(self, width, heads, block):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, heads, block)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 40)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(40, width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    """GPT-2: the head is the embedding (arXiv:2005.14165, section 2.1)."""

    def __init__(self, vocabulary=50, width=24, heads=4, block=12):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(block, width)
        self.drop = nn.Dropout(0.1)
        self.h = nn.ModuleList(GPTBlock(width, heads, block) for _ in range(2))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        nn.init.normal_(self.wte.weight, std=0.2)

    def forward(self, idx):
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(pos))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class RMSNorm(nn.Module):
    """x / rms(x) times a weight (arXiv:1910.07467)."""

    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))


def rotate_half(x):
    """(a, b) as (-b, a) on the halves of the last dimension."""
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


class Rotary(nn.Module):
    """Rotations of queries and keys by position (arXiv:2104.09864)."""

    def __init__(self, dim, base=10000.0):
        super().__init__()
        inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    def forward(self, q, k):
        t = torch.arange(q.shape[-2], device=q.device).float()
        freqs = torch.outer(t, self.inv_freq)
        emb = torch.cat((freqs, freqs), dim=-1)
        cos, sin = emb.cos(), emb.sin()
        return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin


def repeat_kv(x, repeats):
    """Each key and value head once for every query head that reads it."""
    b, heads, t, dim = x.shape
    x = x[:, :, None, :, :].expand(b, heads, repeats, t, dim)
    return x.reshape(b, heads * repeats, t, dim)


class GroupedAttention(nn.Module):
    """Fewer heads of keys and values than of queries (arXiv:2305.13245).

    `fused` leaves the repetition, the mask and the softmax to one function.
    """

    def __init__(self, dim, heads, kv_heads, head_dim, *, fused):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.fused = heads, kv_heads, head_dim, fused
        self.q_proj = nn.Linear(dim, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(dim, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(dim, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, dim, bias=False)
        self.rotary = Rotary(head_dim)

    def by_hand(self, q, k, v):
        repeats = self.heads // self.kv_heads
        k, v = repeat_kv(k, repeats), repeat_kv(v, repeats)
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.head_dim)
        t = q.shape[2]
        future = torch.full((t, t), float("-inf"), device=q.device).triu(diagonal=1)
        weights = F.softmax(scores + future, dim=-1, dtype=torch.float32).to(q.dtype)
        return torch.matmul(weights, v)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = self.rotary(q, k)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            y = self.by_hand(q, k, v)
        return self.o_proj(y.transpose(1, 2).contiguous().reshape(b, t, -1))


class SwiGLU(nn.Module):
    """A perceptron with a gate of SiLU (arXiv:2002.05202)."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(dim, hidden, bias=False)
        self.up_proj = nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    """Grouped attention and SwiGLU, each after an RMS norm and added."""

    def __init__(self, dim, norm, *, fused):
        super().__init__()
        self.input_norm = norm(dim, eps=1e-6)
        self.attention = GroupedAttention(dim, 4, 2, 6, fused=fused)
        self.post_norm = norm(dim, eps=1e-6)
        self.mlp = SwiGLU(dim, 44)

    def forward(self, x):
        x = x + self.attention(self.input_norm(x))
        return x + self.mlp(self.post_norm(x))


class Llama(nn.Module):
    """Llama 2 with grouped queries (arXiv:2307.09288)."""

    def __init__(self, *, fused, norm=RMSNorm, vocabulary=50, dim=28):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, dim)
        self.layers = nn.ModuleList(LlamaBlock(dim, norm, fused=fused) for _ in range(2))
        self.norm = norm(dim, eps=1e-6)
        self.lm_head = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


LANGUAGE = {
    "bert": example(BERT, tokens(40), padding_mask()),
    "gpt_tied": example(GPT, tokens(50)),
    "llama": example(lambda: Llama(fused=False), tokens(50)),
    "llama_sdpa": example(lambda: Llama(fused=True, norm=nn.RMSNorm), tokens(50)),
}
