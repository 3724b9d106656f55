"""Fused operators of the domain com.microsoft, as optimized transformers hold them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.ops_arithmetic import OPERATORS as ARITHMETIC
from tersor.network.from_onnx.ops_attention import heads_apart, heads_together
from tersor.network.from_onnx.ops_nn import conv
from tersor.network.from_onnx.ops_nn import gemm as plain_gemm
from tersor.network.from_onnx.ops_normalize import rms_normalization
from tersor.network.from_onnx.values import Tensor, Value

aten = torch.ops.aten
Function = Callable[[Operation], Any]


def _biased(op: Operation, x: Tensor, i: int) -> Tensor:
    """`x` plus input `i`, if it is there."""
    return op.call(aten.add.Tensor, x, op.tensor(i)) if op.has(i) else x


def _gelu(how: str) -> Function:
    def gelu(op: Operation) -> Value:
        return op.call(aten.gelu.default, _biased(op, op.tensor(0), 1), approximate=how)

    return gelu


def quick_gelu(op: Operation) -> Value:
    """QuickGelu: x * sigmoid(alpha * x)."""
    x = op.tensor(0)
    inner = op.call(aten.mul.Tensor, x, op.real("alpha", 1.702))
    return op.call(aten.mul.Tensor, x, op.call(aten.sigmoid.default, inner))


def _activated(op: Operation, x: Tensor) -> Tensor:
    """The activation that a fused operator names."""
    name = op.text("activation")
    if not name:
        return x
    if name not in {"Relu", "Sigmoid", "Tanh"}:
        raise op.refuse(f"with the activation {name!r} cannot be read")
    result: Tensor = ARITHMETIC[name](replace(op, inputs=[x]))
    return result


def fused_conv(op: Operation) -> Value:
    """FusedConv: a convolution, a sum and an activation."""
    result: Tensor = conv(replace(op, inputs=op.inputs[:3]))  # type: ignore[assignment]
    return _activated(op, _biased(op, result, 3))


def fused_gemm(op: Operation) -> Value:
    """FusedGemm: a Gemm and an activation."""
    return _activated(op, plain_gemm(op))  # type: ignore[arg-type]


def fused_matmul(op: Operation) -> Value:
    """FusedMatMul: alpha times the product of two matrices, which may be transposed."""
    if op.integer("transBatchA", 0) or op.integer("transBatchB", 0):
        raise op.refuse("with transposed batches cannot be read")
    sides = [op.tensor(0), op.tensor(1)]
    for i, name in enumerate(("transA", "transB")):
        if op.integer(name, 0) and op.rank(sides[i]) > 1:
            sides[i] = op.call(aten.transpose.int, sides[i], -2, -1)
    product = op.call(aten.matmul.default, *sides)
    alpha = op.real("alpha", 1.0)
    return product if alpha == 1.0 else op.call(aten.mul.Tensor, product, alpha)


def _normalized(op: Operation, x: Tensor, scale: int, shift: int, epsilon: float) -> Tensor:
    gamma = op.tensor(scale)
    shape = list(op.fixed_shape(gamma))
    rest = (shape, gamma, op.maybe(shift), epsilon, False)
    return op.call(aten.layer_norm.default, x, *rest)


def skip_layer_normalization(op: Operation) -> tuple[Value | None, ...]:
    """SkipLayerNormalization: the normalized sum, and the sum."""
    total = _biased(op, op.call(aten.add.Tensor, op.tensor(0), op.tensor(1)), 4)
    result = _normalized(op, total, 2, 3, op.real("epsilon", 1e-12))
    return result, None, None, total


def skip_simplified(op: Operation) -> tuple[Value | None, ...]:
    """SkipSimplifiedLayerNormalization: as above, with the root of mean squares."""
    total = _biased(op, op.call(aten.add.Tensor, op.tensor(0), op.tensor(1)), 3)
    inner = replace(op, inputs=[total, op.tensor(2)])
    return rms_normalization(inner), None, None, total


def embed_layer_normalization(op: Operation) -> tuple[Value | None, ...]:
    """EmbedLayerNormalization: the normalized sum of words', positions' and segments' rows."""
    words = op.tensor(0)
    total = op.call(aten.embedding.default, op.tensor(2), _wide(op, words))
    if op.has(8):
        places = _wide(op, op.tensor(8))
    else:
        places = op.call(aten.arange.start_step, 0, op.size(words, 1), 1, dtype=torch.int64)
    rows = op.call(aten.embedding.default, op.tensor(3), places)
    total = op.call(aten.add.Tensor, total, rows)
    if op.has(1):
        rows = op.call(aten.embedding.default, op.tensor(4), _wide(op, op.tensor(1)))
        total = op.call(aten.add.Tensor, total, rows)
    result = _normalized(op, total, 5, 6, op.real("epsilon", 1e-12))
    mask = None
    if op.has(7) and op.wanted[1:2] == [True]:
        kept = op.call(aten.sum.dim_IntList, op.tensor(7), [1])
        mask = op.call(aten.to.dtype, kept, torch.int32)
    return result, mask, total


def _wide(op: Operation, indices: Tensor) -> Tensor:
    if op.dtype(indices) == torch.int64:
        return indices
    return op.call(aten.to.dtype, indices, torch.int64)


def attention(op: Operation) -> Value:
    """Attention of one input by one weight for queries, keys and values."""
    heads, width = op.integer("num_heads"), op.shape(op.tensor(1))[1]
    sizes = op.integers("qkv_hidden_sizes") or [(width or 0) // 3] * 3
    if op.has(4) or any(op.wanted[1:]) or sum(sizes) != width or len(sizes) != 3:
        raise op.refuse("with a past, or with parts that do not fit, cannot be read")
    product = op.call(aten.matmul.default, op.tensor(0), op.tensor(1))
    product = _biased(op, product, 2)
    parts = op.node_of(aten.split_with_sizes.default, product, sizes, 2)
    q, k, v = (heads_apart(op, op.item(parts, i), heads) for i in range(3))
    return _attended(op, (q, k, v), op.maybe(3), op.maybe(5))


def multi_head_attention(op: Operation) -> Value:
    """MultiHeadAttention of given queries, keys and values (B, S, heads * D)."""
    heads = op.integer("num_heads")
    if any(op.has(i) for i in (6, 7, 8, 9)) or any(op.wanted[1:]):
        raise op.refuse("with a past cannot be read")
    parts = [op.tensor(i) for i in range(3)]
    if any(op.rank(p) != 3 for p in parts):
        raise op.refuse("of packed or turned inputs cannot be read")
    if op.has(3):
        ends = [0]
        for part in parts:
            ends.append(ends[-1] + (op.shape(part)[2] or 0))
        for i in range(3):
            piece = op.call(aten.slice.Tensor, op.tensor(3), 0, ends[i], ends[i + 1])
            parts[i] = op.call(aten.add.Tensor, parts[i], piece)
    q, k, v = (heads_apart(op, p, heads) for p in parts)
    return _attended(op, (q, k, v), op.maybe(4), op.maybe(5))


def _attended(
    op: Operation, parts: tuple[Tensor, ...], mask: Tensor | None, bias: Tensor | None
) -> Value:
    """Torch's attention; a mask (B, S) of 0 and 1 becomes a bias of the scores."""
    if mask is not None:
        if op.rank(mask) != 2:
            raise op.refuse("with a mask of other than two dimensions cannot be read")
        seen = op.call(aten.to.dtype, mask, torch.bool)
        lowest = op.real("mask_filter_value", -10000.0)
        zeros = op.call(aten.zeros_like.default, mask, dtype=torch.float32)
        added = op.call(aten.where.ScalarOther, seen, zeros, lowest)
        for _ in range(2):
            added = op.call(aten.unsqueeze.default, added, 1)
        bias = added if bias is None else op.call(aten.add.Tensor, bias, added)
    causal, scale = bool(op.integer("unidirectional", 0)), op.attribute("scale", float, None)
    if causal and bias is not None:
        raise op.refuse("in one direction and with a mask cannot be read")
    target = aten.scaled_dot_product_attention.default
    scale = None if scale == 0.0 else scale
    return heads_together(op, op.call(target, *parts, bias, 0.0, causal, scale=scale))


OPERATORS: dict[str, Function] = {
    "Attention": attention,
    "BiasGelu": _gelu("none"),
    "EmbedLayerNormalization": embed_layer_normalization,
    "FastGelu": _gelu("tanh"),
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": _gelu("none"),
    "MultiHeadAttention": multi_head_attention,
    "QuickGelu": quick_gelu,
    "SimplifiedLayerNormalization": rms_normalization,
    "SkipLayerNormalization": skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": skip_simplified,
}
