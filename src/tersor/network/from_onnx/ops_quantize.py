"""QuantizeLinear and DequantizeLinear.

A stored tensor of integers that is dequantized becomes an Affine code. An activation that is
quantized and dequantized again becomes a call of an ActivationQuantizer. All else becomes
the operations that the two stand for.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto
from torch import fx

from tersor.codes.affine import Affine
from tersor.network.from_onnx.operation import Operation, along
from tersor.network.from_onnx.values import DTYPES, Codes, Constant, Tensor, Value
from tersor.network.quantizer import ActivationQuantizer

aten = torch.ops.aten
_CODES = {torch.int8: 8, torch.uint8: 8, torch.int16: 16, torch.int32: 32}
_ROUNDED = {torch.int8, torch.uint8, torch.int16, torch.uint16}


def quantize_linear(op: Operation) -> Value:
    """QuantizeLinear: kept as Codes, until its readers are known."""
    x, scale = op.tensor(0), _scale(op)
    if isinstance(x, Constant):
        x = op.builder.attribute(x)
    kind = op.integer("output_dtype") or TensorProto.UINT8
    zero = _zero_point(op, scale, DTYPES.get(kind, torch.float32))
    dtype = op.dtype(zero)
    if dtype not in _ROUNDED or (isinstance(zero, Constant) and zero.bits):
        raise op.refuse("to integers of other than 8 or 16 bits cannot be read")
    return Codes(x, scale, zero, dtype, _axis(op, op.rank(x), scale))


def dequantize_linear(op: Operation) -> Value:
    """DequantizeLinear."""
    value, scale = op.value(0), _scale(op)
    if isinstance(value, Codes):
        return _real(op, value, scale)
    x = op.tensor(0)
    zero = _zero_point(op, scale, op.dtype(x))
    known = [value for value in (scale, zero) if isinstance(value, Constant)]
    if isinstance(x, Constant) and len(known) == 2 and op.dtype(x) in _CODES:
        return _code(op, x, *known)
    return _dequantized(op, x, scale, zero)


def _scale(op: Operation) -> Tensor:
    """The scale; where it is known it must be positive, and one element is a scalar."""
    if op.integer("block_size"):
        raise op.refuse("with a scale per block cannot be read")
    scale = op.tensor(1)
    if op.rank(scale) > 1 or not op.dtype(scale).is_floating_point:
        raise op.refuse(f"has a scale of shape {op.shape(scale)} that cannot be read")
    if not isinstance(scale, Constant):
        return scale
    tensor = scale.tensor
    if not bool((tensor > 0).all()) or not bool(tensor.isfinite().all()):
        raise op.refuse("has a scale that is not positive")
    single = tensor.reshape(()) if tensor.numel() == 1 else tensor
    return Constant(single.float(), f"{op.name}.scale")


def _zero_point(op: Operation, scale: Tensor, dtype: torch.dtype | None) -> Tensor:
    if op.has(2):
        zero = op.tensor(2)
        if op.rank(zero) > 1 or math.prod(op.fixed_shape(zero)) != math.prod(
            op.fixed_shape(scale)
        ):
            raise op.refuse("has not as many zero points as scales")
        if isinstance(zero, Constant):
            tensor = zero.tensor.reshape(op.fixed_shape(scale))
            return Constant(tensor, f"{op.name}.zero_point", bits=zero.bits)
        return zero
    tensor = torch.zeros(op.fixed_shape(scale), dtype=dtype or torch.uint8)
    return Constant(tensor, f"{op.name}.zero_point")


def _axis(op: Operation, rank: int, scale: Tensor) -> int | None:
    return op.axis(1, rank) if op.rank(scale) else None


def _real(op: Operation, codes: Codes, scale: Tensor) -> Value:
    """What a rounded activation stands for; one quantizer if both halves agree."""
    zero = _zero_point(op, scale, codes.dtype)
    pairs = ((scale, codes.scale), (zero, codes.zero_point))
    is_plain = codes.dtype in {torch.int8, torch.uint8} and codes.axis is None
    if not is_plain or not all(_same(a, b) for a, b in pairs):
        return _dequantized(op, op.tensor(0), scale, zero)
    if op.dtype(codes.source) != torch.float32:
        return _dequantized(op, op.tensor(0), scale, zero)
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


def _dequantized(op: Operation, codes: Tensor, scale: Tensor, zero: Tensor) -> Value:
    """(codes - zero_point) * scale."""
    rank = op.rank(codes)
    axis = _axis(op, rank, scale)
    x = op.call(aten.to.dtype, codes, torch.float32)
    if not isinstance(zero, Constant) or bool(zero.tensor.any()):
        real = op.call(aten.to.dtype, zero, torch.float32)
        x = op.call(aten.sub.Tensor, x, along(op, real, axis, rank))
    return op.call(aten.mul.Tensor, x, along(op, scale, axis, rank))


def _code(op: Operation, x: Constant, scale: Constant, zero_point: Constant) -> fx.Node:
    """A weight held by integers; unsigned ones are shifted, which is exact."""
    axis = _axis(op, x.tensor.ndim, scale)
    bits = x.bits or _CODES[x.tensor.dtype]
    codes, zero = x.tensor.to(torch.int64), zero_point.tensor.to(torch.int64)
    if x.tensor.dtype == torch.uint8:
        codes, zero = codes - (1 << (bits - 1)), zero - (1 << (bits - 1))
    if axis is not None and codes.shape[axis] != scale.tensor.numel():
        raise op.refuse(f"has {scale.tensor.numel()} scales for {codes.shape[axis]} indices")
    code = Affine.from_codes(codes, scale.tensor, zero, bits=bits, axis=axis)
    name = x.name.removesuffix("_quantized").removesuffix(".codes")
    return op.builder.call_module(op.builder.paths.take(name or op.name), code)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "DequantizeLinear": dequantize_linear,
    "QuantizeLinear": quantize_linear,
}
