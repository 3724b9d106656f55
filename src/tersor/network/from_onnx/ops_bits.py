"""Operators on bits, and unsigned integers, with which torch hardly computes."""

from collections.abc import Callable
from typing import Any

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import DTYPES, Codes, Sizes, Tensor, Value

aten = torch.ops.aten
_UNSIGNED = {torch.uint16: 16, torch.uint32: 32, torch.uint64: 64}
# Their results keep the low bits right, whatever the high bits mean.
_MODULAR = {
    "Add",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Equal",
    "Mul",
    "Sub",
}
_WIDENED = _MODULAR | {
    *("Abs", "BitShift", "Clip", "CumSum", "Div", "Greater", "GreaterOrEqual", "Less"),
    *("LessOrEqual", "Max", "Mean", "Min", "Mod", "Pow", "Relu", "Sign", "Sum", "Where"),
    *("ArgMax", "ArgMin", "Neg", "ReduceMax", "ReduceMin", "ReduceSum", "TopK", "Trilu"),
}


def widely(op: Operation, function: Callable[[Operation], Any]) -> Any:
    """What `function` gives; unsigned integers are computed with as int64, and cast back.

    Raises:
        UnsupportedError: The result could differ for integers of 64 bits.
    """
    if op.node.op_type not in _WIDENED:
        return function(op)
    kinds = (_dtype(op, value) for value in op.inputs)
    found = {kind for kind in kinds if kind in _UNSIGNED}
    if not found:
        return function(op)
    is_left = op.text("direction") == "LEFT"
    if torch.uint64 in found and op.node.op_type not in _MODULAR and not is_left:
        raise op.refuse("on unsigned integers of 64 bits cannot be computed")
    narrow = max(found, key=lambda dtype: _UNSIGNED[dtype])
    op.inputs = [_wide(op, value) for value in op.inputs]
    result = function(op)
    if isinstance(result, tuple):
        return (_back(op, result[0], narrow), *result[1:])
    return _back(op, result, narrow)


def _dtype(op: Operation, value: Value | None) -> torch.dtype:
    if value is None or isinstance(value, Sizes | Codes):
        return torch.int64
    return op.dtype(value)


def _wide(op: Operation, value: Value | None) -> Value | None:
    if value is None or _dtype(op, value) not in _UNSIGNED:
        return value
    return op.call(aten.to.dtype, op.as_tensor(value), torch.int64)


def _back(op: Operation, result: Tensor, narrow: torch.dtype) -> Tensor:
    is_wide = op.dtype(result) == torch.int64 and not op.node.op_type.startswith("Arg")
    return op.call(aten.to.dtype, result, narrow) if is_wide else result


def bit_shift(op: Operation) -> Value:
    """BitShift of unsigned integers."""
    how = op.text("direction")
    if how not in {"LEFT", "RIGHT"}:
        raise op.refuse(f"has a direction of {how!r}")
    left, right = aten.bitwise_left_shift.Tensor, aten.bitwise_right_shift.Tensor
    return op.call(left if how == "LEFT" else right, op.tensor(0), op.tensor(1))


def bit_cast(op: Operation) -> Value:
    """BitCast: the same bits as another type of the same width."""
    x, to = op.tensor(0), op.integer("to")
    dtype = DTYPES.get(to)
    if dtype is None or dtype.itemsize != op.dtype(x).itemsize:
        raise op.refuse(f"makes elements of type {to}, which cannot be read")
    return op.call(aten.view.dtype, x, dtype)


def _tensors(target: Any) -> Callable[[Operation], Value]:
    return lambda op: op.call(target, op.tensor(0), op.tensor(1))


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "BitCast": bit_cast,
    "BitShift": bit_shift,
    "BitwiseAnd": _tensors(aten.bitwise_and.Tensor),
    "BitwiseNot": lambda op: op.call(aten.bitwise_not.default, op.tensor(0)),
    "BitwiseOr": _tensors(aten.bitwise_or.Tensor),
    "BitwiseXor": _tensors(aten.bitwise_xor.Tensor),
}
