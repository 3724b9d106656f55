"""QuantizeLinear and DequantizeLinear, and what all operators on integers share.

A stored tensor of integers that is dequantized becomes an Affine code. An activation that is
quantized and dequantized again becomes a call of an ActivationQuantizer. All else becomes
the operations that the two stand for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from onnx import TensorProto
from torch import fx

from tersor.codes.affine import Affine
from tersor.network.from_onnx.operation import Operation, along
from tersor.network.from_onnx.ops_bits import widely
from tersor.network.from_onnx.values import DTYPES, Codes, Constant, Tensor, Value
from tersor.network.quantizer import ActivationQuantizer

aten = torch.ops.aten
_CODES = {torch.int8: 8, torch.uint8: 8, torch.int16: 16, torch.int32: 32}
_CARRIERS = {
    *("Concat", "DepthToSpace", "Expand", "Flatten", "MaxPool", "Pad", "Reshape", "Slice"),
    *("SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}
_ROUNDED = {torch.int8, torch.uint8, torch.int16, torch.uint16}


@dataclass(slots=True)
class Grid:
    """real = scale * (code - zero_point).

    Attributes:
        scale: One, or one per index of `axis`.
        zero_point: Like `scale`.
        axis: None for one scale.
    """

    scale: Tensor
    zero_point: Tensor
    axis: int | None = None


def quantize_linear(op: Operation) -> Value:
    """QuantizeLinear: kept as Codes, until its readers are known."""
    x = op.tensor(0)
    kind = op.integer("output_dtype") or TensorProto.UINT8
    grid = grid_of(op, 1, 2, DTYPES.get(kind, torch.float32))
    if op.rank(grid.scale):
        grid.axis = op.axis(1, op.rank(x))
    return codes_of(op, x, grid)


def dequantize_linear(op: Operation) -> Value:
    """DequantizeLinear."""
    grid = grid_of(op, 1, 2, _dtype(op, op.value(0)))
    if op.rank(grid.scale):
        grid.axis = op.axis(1, _rank(op, op.value(0)))
    return real_of(op, op.value(0), grid)


def _dtype(op: Operation, value: Value) -> torch.dtype:
    return value.dtype if isinstance(value, Codes) else op.dtype(op.as_tensor(value))


def _rank(op: Operation, value: Value) -> int:
    return op.rank(value.source if isinstance(value, Codes) else op.as_tensor(value))


def codes_of(op: Operation, x: Tensor, grid: Grid) -> Codes:
    """`x` rounded to the integers of the zero point's type."""
    zero, dtype = grid.zero_point, op.dtype(grid.zero_point)
    if dtype not in _ROUNDED or (isinstance(zero, Constant) and zero.bits):
        raise op.refuse("to integers of other than 8 or 16 bits cannot be read")
    if isinstance(x, Constant):
        x = op.builder.attribute(x)
    return Codes(x, grid.scale, zero, dtype, grid.axis)


def real_of(op: Operation, value: Value, grid: Grid) -> Tensor:
    """What integers stand for: a weight, a rounded activation, or computed numbers."""
    if isinstance(value, Codes):
        return _real(op, value, grid)
    x = op.as_tensor(value)
    scale, zero = grid.scale, grid.zero_point
    known = isinstance(scale, Constant) and isinstance(zero, Constant)
    if isinstance(x, Constant) and known and op.dtype(x) in _CODES:
        return _code(op, x, grid)
    return _dequantized(op, x, grid)


def grid_of(op: Operation, scale: int, zero: int, dtype: torch.dtype) -> Grid:
    """The grid that two inputs give; `dtype` is that of a zero point that is left out."""
    steps = _scale(op, scale)
    return Grid(steps, _zero_point(op, zero, steps, dtype))


def _scale(op: Operation, i: int) -> Tensor:
    """The scale; where it is known it must be positive, and one element is a scalar."""
    if op.integer("block_size"):
        raise op.refuse("with a scale per block cannot be read")
    scale = op.tensor(i)
    if op.rank(scale) > 1 or not op.dtype(scale).is_floating_point:
        raise op.refuse(f"has a scale of shape {op.shape(scale)} that cannot be read")
    if not isinstance(scale, Constant):
        return scale
    tensor = scale.tensor
    if not bool((tensor > 0).all()) or not bool(tensor.isfinite().all()):
        raise op.refuse("has a scale that is not positive")
    single = tensor.reshape(()) if tensor.numel() == 1 else tensor
    return Constant(single.float(), f"{op.name}.scale")


def _zero_point(op: Operation, i: int, scale: Tensor, dtype: torch.dtype) -> Tensor:
    if op.has(i):
        zero = op.tensor(i)
        if op.rank(zero) > 1 or math.prod(op.fixed_shape(zero)) != math.prod(
            op.fixed_shape(scale)
        ):
            raise op.refuse("has not as many zero points as scales")
        if isinstance(zero, Constant):
            tensor = zero.tensor.reshape(op.fixed_shape(scale))
            return Constant(tensor, f"{op.name}.zero_point", bits=zero.bits)
        return zero
    tensor = torch.zeros(op.fixed_shape(scale), dtype=dtype)
    return Constant(tensor, f"{op.name}.zero_point")


def _real(op: Operation, codes: Codes, grid: Grid) -> Tensor:
    """What a rounded activation stands for; one quantizer if both halves agree."""
    pairs = ((grid.scale, codes.scale), (grid.zero_point, codes.zero_point))
    is_plain = codes.dtype in {torch.int8, torch.uint8} and codes.axis is None
    if not is_plain or not all(_same(a, b) for a, b in pairs):
        return _dequantized(op, op.as_tensor(codes), grid)
    if op.dtype(codes.source) != torch.float32:
        return _dequantized(op, op.as_tensor(codes), grid)
    if "real" not in codes.readers:
        signed = codes.dtype == torch.int8
        known = (float(_number(codes.scale)), int(_number(codes.zero_point)))
        path = op.builder.paths.take(f"quantizers.{codes.source.name}")
        module = ActivationQuantizer(*known, signed=signed)
        codes.readers["real"] = op.builder.call_module(path, module, codes.source)
    return codes.readers["real"]


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether both are known and equal."""
    if not isinstance(a, Constant) or not isinstance(b, Constant):
        return False
    return torch.equal(a.tensor, b.tensor)


def _number(value: Tensor) -> float:
    return float(value.tensor) if isinstance(value, Constant) else math.nan


def _dequantized(op: Operation, codes: Tensor, grid: Grid) -> Tensor:
    """(codes - zero_point) * scale."""
    rank, zero = op.rank(codes), grid.zero_point
    x = op.call(aten.to.dtype, codes, torch.float32)
    if not isinstance(zero, Constant) or bool(zero.tensor.any()):
        real = op.call(aten.to.dtype, zero, torch.float32)
        x = op.call(aten.sub.Tensor, x, along(op, real, grid.axis, rank))
    return op.call(aten.mul.Tensor, x, along(op, grid.scale, grid.axis, rank))


def _code(op: Operation, x: Constant, grid: Grid) -> fx.Node:
    """A weight held by integers; unsigned ones are shifted, which is exact."""
    scale, zero_point = grid.scale, grid.zero_point
    assert isinstance(scale, Constant)  # noqa: S101 - the caller has looked
    assert isinstance(zero_point, Constant)  # noqa: S101 - the caller has looked
    axis, bits = grid.axis, x.bits or _CODES[x.tensor.dtype]
    codes, zero = x.tensor.to(torch.int64), zero_point.tensor.to(torch.int64)
    if x.tensor.dtype == torch.uint8:
        codes, zero = codes - (1 << (bits - 1)), zero - (1 << (bits - 1))
    if axis is not None and codes.shape[axis] != scale.tensor.numel():
        raise op.refuse(f"has {scale.tensor.numel()} scales for {codes.shape[axis]} indices")
    code = Affine.from_codes(codes, scale.tensor, zero, bits=bits, axis=axis)
    name = x.name.removesuffix("_quantized").removesuffix(".codes")
    return op.builder.call_module(op.builder.paths.take(name or op.name), code)


def carried(op: Operation, function: Callable[[Operation], Any]) -> Any:
    """What `function` gives; an operator that moves or selects codes does so before rounding.

    Rounding keeps the order, so that it may as well come after; and it stays a quantizer.
    Codes that are concatenated stand for numbers on the grid of the first.
    """
    count = len(op.inputs) if op.node.op_type == "Concat" else 1
    moved = [v for v in op.inputs[:count] if isinstance(v, Codes) and v.axis is None]
    moves = op.node.op_type in _CARRIERS and not any(op.wanted[1:])
    if not moves or not moved or len(moved) < count:
        return widely(op, function)
    codes, others = moved[0], list(op.inputs[count:])
    if op.node.op_type == "Pad":
        if not _pads_zeros(op, codes):
            return widely(op, function)
        del others[1:]
    grid = Grid(codes.scale, codes.zero_point)
    result = function(replace(op, inputs=[*(_real(op, v, grid) for v in moved), *others]))
    return Codes(result, codes.scale, codes.zero_point, codes.dtype, None)


def _pads_zeros(op: Operation, codes: Codes) -> bool:
    """Whether what is added to the codes stands for 0."""
    value = op.inputs[2] if op.has(2) else None
    constant = op.text("mode", "constant") == "constant"
    if not isinstance(value, Constant) or op.has(3):
        return False
    return constant and _same(value, codes.zero_point)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "DequantizeLinear": dequantize_linear,
    "QuantizeLinear": quantize_linear,
}
