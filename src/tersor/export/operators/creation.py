"""Tensors made of nothing but sizes and numbers."""

import math
from collections.abc import Callable

import numpy as np
import torch
from onnx import numpy_helper

from tersor.export.call import Call, Size, Value
from tersor.export.operators.arithmetic import as_type
from tersor.export.operators.reshaping import names
from tersor.export.operators.sizes import size_of
from tersor.export.writer import Writer, numpy_type

Write = Callable[[Writer, Call], str]

_SMALL = 64  # constants of at most so many elements are written out


def filled(w: Writer, call: Call, sizes: list[int | str], value: object) -> str:
    """A tensor of these sizes, all elements the same number."""
    dtype, shape = call.result.dtype, call.result.shape
    fixed = [size for size in shape if size is not None]
    if not isinstance(value, (bool, int, float)):
        return w.node("Expand", as_type(w, value, dtype, call), w.ints(sizes))
    if len(fixed) == len(shape) and math.prod(fixed) <= _SMALL:
        return w.constant(torch.full(fixed, value).tolist(), dtype, "full")
    array = np.full(1, value, numpy_type(dtype))
    return w.node("ConstantOfShape", w.ints(sizes), value=numpy_helper.from_array(array))


def by_size(value: object) -> Write:
    """A tensor of the given sizes; `value`, or where None the argument fill_value."""

    def write(w: Writer, call: Call) -> str:
        number = call.get("fill_value") if value is None else value
        return filled(w, call, names(call.sizes("size")), number)

    return write


def like(value: object) -> Write:
    """A tensor of the sizes of another; `value`, or where None the argument fill_value."""

    def write(w: Writer, call: Call) -> str:
        number = call.get("fill_value") if value is None else value
        x = call.x
        return filled(w, call, [size_of(w, x, d) for d in range(x.rank)], number)

    return write


def number(w: Writer, call: Call, name: str, default: int) -> str:
    """An argument as a scalar in the type of the result."""
    found = call.get_or(name)
    return as_type(w, default if found is None else found, call.result.dtype, call)


def arange(w: Writer, call: Call) -> str:
    """The numbers from start, before end, in steps."""
    given = [call.get_or(name) for name in ("start", "end", "step")]
    if not any(isinstance(v, (Value, Size)) for v in given):
        start, end, step = (
            d if v is None else v for v, d in zip(given, (0, 0, 1), strict=True)
        )
        fixed = torch.arange(start, end, step, dtype=call.result.dtype)  # type: ignore[call-overload]
        return w.constant(fixed.tolist(), call.result.dtype, "range")
    start, end, step = (
        number(w, call, n, d) for n, d in (("start", 0), ("end", 0), ("step", 1))
    )
    return w.node("Range", start, end, step)


def scalar_tensor(w: Writer, call: Call) -> str:
    """A number as a tensor without dimensions."""
    return as_type(w, call.at(0), call.result.dtype, call)


OPERATORS: dict[str, Write] = {
    "aten.arange.default": arange,
    "aten.arange.start": arange,
    "aten.arange.start_step": arange,
    "aten.zeros.default": by_size(0),
    "aten.ones.default": by_size(1),
    "aten.full.default": by_size(None),
    "aten.new_zeros.default": by_size(0),
    "aten.new_ones.default": by_size(1),
    "aten.new_full.default": by_size(None),
    "aten.zeros_like.default": like(0),
    "aten.ones_like.default": like(1),
    "aten.full_like.default": like(None),
    "aten.scalar_tensor.default": scalar_tensor,
}
