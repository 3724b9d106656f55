"""Scaled dot product attention: softmax(q k^T * scale + mask) v."""

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
    for mask in masks(w, call, q, k):
        scores = w.node("Add", scores, mask)
    return w.node("MatMul", w.node("Softmax", scores, axis=-1), v.name)


def masks(w: Writer, call: Call, q: Value, k: Value) -> list[str]:
    """What is added to the scores: 0 where a key may be seen, else minus infinity."""
    zero = w.constant(0, q.dtype, "zero")
    never = w.constant(-math.inf, q.dtype, "never")
    result = []
    given = call.maybe("attn_mask")
    if given is not None:
        seen = given.dtype == torch.bool
        result.append(w.node("Where", given.name, zero, never) if seen else given.name)
    if call.flag("is_causal"):
        result.append(causal(w, q, k))
    return result


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
