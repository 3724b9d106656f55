"""Operators that take or put elements at positions given by tensors of indices."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Size, Tensor, Value

aten = torch.ops.aten
_REDUCTIONS = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def _wide(op: Operation, indices: Tensor) -> Tensor:
    if op.dtype(indices) == torch.int64:
        return indices
    return op.call(aten.to.dtype, indices, torch.int64)


def from_front(op: Operation, indices: Tensor, size: Size) -> Tensor:
    """Indices of which the negative ones count from the end of `size`, from the front."""
    indices = _wide(op, indices)
    if isinstance(indices, Constant) and not bool((indices.tensor < 0).any()):
        return indices
    is_negative = op.call(aten.lt.Scalar, indices, 0)
    shifted = op.call(aten.add.Scalar, indices, size)
    return op.call(aten.where.self, is_negative, shifted, indices)


def gather_elements(op: Operation) -> Value:
    """GatherElements: a negative index counts from the end."""
    x, axis = op.tensor(0), op.axis(0, op.rank(op.tensor(0)))
    indices = from_front(op, op.tensor(1), op.size(x, axis))
    return op.call(aten.gather.default, x, axis, indices)


def gather_nd(op: Operation) -> Value:
    """GatherND: one index per dimension after the batch dimensions."""
    x, indices = op.tensor(0), op.tensor(1)
    batch = op.integer("batch_dims", 0)
    if not 0 <= batch < max(op.rank(indices), 1):
        raise op.refuse(f"has {batch} batch dimensions")
    lead = [_places(op, op.size(x, i), i, op.rank(indices) - 1) for i in range(batch)]
    return op.call(aten.index.Tensor, x, [*lead, *_columns(op, indices)])


def _columns(op: Operation, indices: Tensor) -> list[Tensor]:
    depth = op.shape(indices)[-1] if op.rank(indices) else None
    if depth is None:
        raise op.refuse("has indices of a varying depth")
    indices = _wide(op, indices)
    return [op.call(aten.select.int, indices, -1, i) for i in range(depth)]


def _places(op: Operation, size: Size, axis: int, rank: int) -> Tensor:
    """0, 1, ... along `axis` of `rank` dimensions."""
    numbers = op.call(aten.arange.start_step, 0, size, 1, dtype=torch.int64)
    return op.call(
        aten.reshape.default, numbers, [-1 if i == axis else 1 for i in range(rank)]
    )


def _reduction(op: Operation) -> str:
    how = op.text("reduction", "none")
    if how not in {*_REDUCTIONS, "none"}:
        raise op.refuse(f"has a reduction of {how!r}, which ONNX does not know")
    return how


def scatter_elements(op: Operation) -> Value:
    """ScatterElements, and Scatter, which is its older form."""
    x, updates, how = op.tensor(0), op.tensor(2), _reduction(op)
    axis = op.axis(0, op.rank(x))
    indices = from_front(op, op.tensor(1), op.size(x, axis))
    return _scattered(op, x, axis, indices, updates, how)


def _scattered(
    op: Operation, x: Tensor, axis: int, indices: Tensor, updates: Tensor, how: str
) -> Tensor:
    if how == "none":
        return op.call(aten.scatter.src, x, axis, indices, updates)
    call = (x, axis, indices, updates, _REDUCTIONS[how])
    return op.call(aten.scatter_reduce.two, *call)


def scatter_nd(op: Operation) -> Value:
    """ScatterND; products and extremes go through one flat index."""
    x, indices, updates, how = op.tensor(0), op.tensor(1), op.tensor(2), _reduction(op)
    columns = _columns(op, indices)
    if how in {"none", "add"}:
        return op.call(aten.index_put.default, x, columns, updates, how == "add")
    sizes = [op.size(x, i) for i in range(op.rank(x))]
    front, rest = sizes[: len(columns)], sizes[len(columns) :]
    flat: Tensor | None = None
    for column, size in zip(columns, front, strict=True):
        column = from_front(op, column, size)
        above = None if flat is None else op.call(aten.mul.Scalar, flat, size)
        flat = column if above is None else op.call(aten.add.Tensor, above, column)
    width = _product(op, rest)
    if flat is None:
        raise op.refuse("has indices of depth 0")
    table = op.call(aten.reshape.default, x, [_product(op, front), width])
    rows = op.call(aten.reshape.default, updates, [-1, width])
    index = op.call(aten.reshape.default, flat, [-1, 1])
    index = op.call(aten.expand.default, index, [-1, width])
    result = _scattered(op, table, 0, index, rows, how)
    return op.call(aten.reshape.default, result, sizes)


def _product(op: Operation, sizes: list[Size]) -> Size:
    total: Size = math.prod(s for s in sizes if isinstance(s, int))
    for size in sizes:
        if not isinstance(size, int):
            total = op.arithmetic(operator.mul, total, size) if total != 1 else size
    return total


def reverse_sequence(op: Operation) -> Value:
    """ReverseSequence: the first steps of each sequence, reversed; the rest stays."""
    x, batch = op.tensor(0), op.integer("batch_axis", 1)
    if {batch, op.integer("time_axis", 0)} != {0, 1}:
        raise op.refuse("has other axes than 0 and 1")
    return reversed_steps(op, x, op.tensor(1), time=1 - batch)


def reversed_steps(op: Operation, x: Tensor, lengths: Tensor, *, time: int) -> Tensor:
    """`x` with the first `lengths` (B) steps of each sequence reversed.

    The first two dimensions of `x` are time and batch; `time` says which is time.
    """
    batch = 1 - time
    steps = _places(op, op.size(x, time), time, 2)
    ends = op.call(aten.unsqueeze.default, _wide(op, lengths), time)
    last = op.call(aten.sub.Tensor, op.call(aten.sub.Tensor, ends, steps), 1)
    within = op.call(aten.ge.Scalar, last, 0)
    place = op.call(aten.where.self, within, last, steps)
    which = _places(op, op.size(x, batch), batch, 2)
    return op.call(aten.index.Tensor, x, [place, which] if time == 0 else [which, place])


def tensor_scatter(op: Operation) -> Value:
    """TensorScatter: the update of a cache from a position on, which may wrap around."""
    cache, update = op.tensor(0), op.tensor(1)
    axis, mode = op.axis(-2, op.rank(cache)), op.text("mode", "linear")
    if axis == 0 or mode not in {"linear", "circular"}:
        raise op.refuse(f"along axis {axis} in mode {mode!r} cannot be read")
    rank = op.rank(cache)
    places = _places(op, op.size(update, axis), axis, rank)
    if op.has(2):
        shape = [-1, *[1] * (rank - 1)]
        starts = op.call(aten.reshape.default, _wide(op, op.tensor(2)), shape)
        places = op.call(aten.add.Tensor, places, starts)
    if mode == "circular":
        places = op.call(aten.remainder.Scalar, places, op.size(cache, axis))
    index = op.call(aten.expand.default, places, [op.size(update, i) for i in range(rank)])
    return op.call(aten.scatter.src, cache, axis, index, update)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "TensorScatter": tensor_scatter,
}
