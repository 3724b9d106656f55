"""Scaled dot product attention: softmax(q k^T * scale + mask) v.

A query that may see no key gets zeros, as in PyTorch, where a softmax over nothing but minus
infinity gives NaN. The zeros come behind the product with the values, so that engines find
softmax and both products next to each other, as attention.
"""

import math
from collections.abc import Callable

import torch

from tersor.export.call import Call, Value
from tersor.export.operators.sizes import size_of
from tersor.export.writer import Writer


def attention(w: Writer, call: Call) -> str:
    """Q (..., L, E), k (..., S, E), v (..., S, F) -> (..., L, F)."""
    q, k, v = call.value("query"), call.value("key"), call.value("value")
    if call.get_or("enable_gqa"):
        call.fail("has grouped queries")
    width = q.shape[-1]
    scale = call.get_or("scale")
    if scale is None:
        scale = 1 / math.sqrt(width or call.fail("has a varying width"))
    order = [*range(k.rank - 2), k.rank - 1, k.rank - 2]
    scores = w.node("MatMul", q.name, w.node("Transpose", k.name, perm=order))
    scores = w.node("Mul", scores, w.constant(scale, q.dtype, "scale"))
    if call.flag("is_causal"):
        scores = w.node("Add", scores, causal(w, q, k))
    mask = call.maybe("attn_mask")
    if mask is not None:
        scores = w.node("Add", scores, bias_of(w, mask, q))
    result = w.node("MatMul", w.node("Softmax", scores, axis=-1), v.name)
    return result if mask is None else without_blind(w, q, result)


def bias_of(w: Writer, mask: Value, q: Value) -> str:
    """What is added to the scores: 0 where a key may be seen, else minus infinity."""
    if mask.dtype != torch.bool:
        return mask.name
    zero, never = (w.constant(x, q.dtype, n) for x, n in ((0, "zero"), (-math.inf, "never")))
    return w.node("Where", mask.name, zero, never)


def without_blind(w: Writer, q: Value, result: str) -> str:
    """Zeros for queries that see no key, whose rows are NaN; finite inputs give no others.

    To ask the mask which rows these are takes nodes that OpenVINO cannot compile here, or a
    largest number of a row, which is never minus infinity there.
    """
    zero = w.constant(0, q.dtype, "zero")
    return w.node("Where", w.node("IsNaN", result), zero, result)


def causal(w: Writer, q: Value, k: Value) -> str:
    """Query i may see key j <= i: (L, S)."""
    rows, columns = q.shape[-2], k.shape[-2]
    if rows is not None and columns is not None:
        mask = torch.full((rows, columns), -math.inf).triu(1)
        return w.constant(mask.tolist(), q.dtype, "causal")
    sizes = w.ints([size_of(w, q, -2), size_of(w, k, -2)])
    never = w.node("Expand", w.constant(-math.inf, q.dtype, "never"), sizes)
    return w.node("Trilu", never, w.constant(1, torch.int64, "diagonal"), upper=1)


def flash(w: Writer, call: Call) -> list[str]:
    """The form that decomposed graphs have; its second result is not written."""
    return [attention(w, call), ""]


OPERATORS: dict[str, Callable[[Writer, Call], object]] = {
    "aten.scaled_dot_product_attention.default": attention,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": flash,
}
