"""Operators whose results have as many elements as were found: they are kept whole."""

from collections.abc import Callable
from typing import Any

import torch

from tersor.network import operations  # noqa: F401 - registers them
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Tensor, Value

aten = torch.ops.aten
_ALL = (1 << 63) - 1


def non_zero(op: Operation) -> Value:
    """NonZero: one column per element that is not 0."""
    return op.call(aten.t.default, _rows(op, op.tensor(0)))


def _rows(op: Operation, x: Tensor) -> Tensor:
    """One row of positions per element that is not 0; now, if the elements are known."""
    if isinstance(x, Constant):
        return Constant(torch.nonzero(x.tensor), f"{op.name}.places")
    return op.call(aten.nonzero.default, x)


def compress(op: Operation) -> Value:
    """Compress: the slices at the positions where the condition holds."""
    x, condition = op.tensor(0), op.tensor(1)
    axis = op.attribute("axis", int, None)
    if axis is None:
        x, axis = op.call(aten.reshape.default, x, [-1]), 0
    found = _rows(op, condition)
    places = op.call(aten.squeeze.dims, found, [1])
    return op.call(aten.index_select.default, x, op.from_front(axis, op.rank(x)), places)


def unique(op: Operation) -> tuple[Value, ...]:
    """Unique elements, or slices along an axis."""
    x, axis = op.tensor(0), op.attribute("axis", int, None)
    axis = None if axis is None else op.from_front(axis, op.rank(x))
    found = op.node_of(torch.ops.tersor.unique.default, x, axis, bool(op.integer("sorted", 1)))
    return tuple(op.item(found, i) for i in range(4))


def non_max_suppression(op: Operation) -> Value:
    """NonMaxSuppression: limits must be known."""
    most = int(op.number(2, 0))
    overlap = float(op.number(3, 0.0))
    least = float(op.number(4, 0.0)) if op.has(4) else None
    centres = bool(op.integer("center_point_box", 0))
    call = (op.tensor(0), op.tensor(1), min(most, _ALL), overlap, least, centres)
    return op.call(torch.ops.tersor.non_max_suppression.default, *call)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "Compress": compress,
    "NonMaxSuppression": non_max_suppression,
    "NonZero": non_zero,
    "Unique": unique,
}
