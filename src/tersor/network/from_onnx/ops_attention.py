"""Attention and rotary positions."""

from collections.abc import Callable
from typing import Any

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Tensor, Value

aten = torch.ops.aten


def attention(op: Operation) -> Value | None:
    """Attention where torch has it as one operation; else None: by its definition."""
    q, k, v = (op.tensor(i) for i in range(3))
    plain = not any(op.has(i) for i in (4, 5, 6)) and not any(op.wanted[1:])
    plain = plain and op.real("softcap", 0.0) == 0.0
    windows = [op.integer(name, -1) for name in ("left_window_size", "right_window_size")]
    if not plain or windows != [-1, -1] or (op.integer("is_causal", 0) and op.has(3)):
        return None
    if op.dtype(q) != torch.float32 or op.integer("softmax_precision", 1) != 1:
        return None
    heads = [op.integer(name, 0) for name in ("q_num_heads", "kv_num_heads")]
    rank = op.rank(q)
    parts = [
        heads_apart(op, t, n) if rank == 3 else t
        for t, n in zip((q, k, v), (heads[0], heads[1], heads[1]), strict=True)
    ]
    if op.shape(parts[0])[1] != op.shape(parts[1])[1] or op.shape(parts[0])[1] is None:
        return None
    mask = op.maybe(3)
    if mask is not None and not _fits(op, mask, parts[1]):
        return None
    causal, scale = bool(op.integer("is_causal", 0)), op.attribute("scale", float, None)
    target = aten.scaled_dot_product_attention.default
    result = op.call(target, *parts, mask, 0.0, causal, scale=scale)
    return heads_together(op, result) if rank == 3 else result


def _fits(op: Operation, mask: Tensor, key: Tensor) -> bool:
    """Whether the mask has a column per key; a row that masks all gives 0 here and there."""
    is_bias = op.dtype(mask).is_floating_point
    return is_bias and op.rank(mask) in {2, 4} and op.shape(mask)[-1] == op.shape(key)[-2]


def heads_apart(op: Operation, x: Tensor, heads: int) -> Tensor:
    """(B, S, heads * D) as (B, heads, S, D)."""
    width = op.shape(x)[2]
    if heads < 1 or width is None or width % heads:
        raise op.refuse(f"has {heads} heads for a width of {width}")
    sizes = [op.size(x, 0), op.size(x, 1), heads, width // heads]
    return op.call(aten.transpose.int, op.call(aten.reshape.default, x, sizes), 1, 2)


def heads_together(op: Operation, x: Tensor) -> Tensor:
    """(B, heads, S, D) as (B, S, heads * D)."""
    heads, _, width = op.shape(x)[1:]
    turned = op.call(aten.transpose.int, x, 1, 2)
    sizes = [op.size(turned, 0), op.size(turned, 1), (heads or 0) * (width or 0)]
    return op.call(aten.reshape.default, turned, sizes)


def rotary_embedding(op: Operation) -> Value:
    """RotaryEmbedding: pairs of elements turned by angles that grow with the position."""
    x, cos, sin = op.tensor(0), op.tensor(1), op.tensor(2)
    flat = op.rank(x) == 3
    x = heads_apart(op, x, op.integer("num_heads", 0)) if flat else x
    if op.has(3):
        cos, sin = (op.call(aten.index.Tensor, t, [op.tensor(3)]) for t in (cos, sin))
    cos, sin = (op.call(aten.unsqueeze.default, t, 1) for t in (cos, sin))
    width = op.fixed_shape(cos)[-1] * 2 if None not in op.shape(cos)[-1:] else 0
    head = op.shape(x)[-1]
    if not width or head is None or width > head:
        raise op.refuse("has angles of a varying or too large width")
    turned = op.call(aten.slice.Tensor, x, -1, 0, width)
    result = _turned(op, turned, cos, sin, interleaved=bool(op.integer("interleaved", 0)))
    if width < head:
        rest = op.call(aten.slice.Tensor, x, -1, width, head)
        result = op.call(aten.cat.default, [result, rest], -1)
    return heads_together(op, result) if flat else result


def _turned(
    op: Operation, x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool
) -> Tensor:
    width = op.shape(x)[-1] or 0
    half = width // 2
    ends = ((0, width, 2), (1, width, 2)) if interleaved else ((0, half, 1), (half, width, 1))
    a, b = (op.call(aten.slice.Tensor, x, -1, *end) for end in ends)
    pairs = ((a, cos), (b, sin), (a, sin), (b, cos))
    ac, bs, as_, bc = (op.call(aten.mul.Tensor, *pair) for pair in pairs)
    both = [op.call(aten.sub.Tensor, ac, bs), op.call(aten.add.Tensor, as_, bc)]
    if not interleaved:
        return op.call(aten.cat.default, both, -1)
    return op.call(aten.flatten.using_ints, op.call(aten.stack.default, both, -1), -2, -1)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "Attention": attention,
    "RotaryEmbedding": rotary_embedding,
}
