"""QuantizeLinear and DequantizeLinear.

A stored tensor of integers that is dequantized becomes an Affine code. An activation that is
quantized and dequantized again becomes a call of an ActivationQuantizer. All else becomes
the operations that the two stand for.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto
from torch import fx

from tersor.codes.affine import Affine
from tersor.network.from_onnx.operation import Operation, along
from tersor.network.from_onnx.values import DTYPES, Codes, Constant, Value
from tersor.network.quantizer import ActivationQuantizer

aten = torch.ops.aten
_CODES = {torch.int8: 8, torch.uint8: 8, torch.int16: 16, torch.int32: 32}


def quantize_linear(op: Operation) -> Value:
    """QuantizeLinear: kept as Codes, until its readers are known."""
    x = op.tensor(0)
    scale = _scale(op)
    if isinstance(x, Constant):
        x = op.builder.attribute(x)
    zero = _zero_point(op, scale, DTYPES.get(op.int("output_dtype", TensorProto.UINT8)))
    if zero.dtype not in _CODES or zero.dtype == torch.int32:
        raise op.refuse(f"to {str(zero.dtype).removeprefix('torch.')} cannot be read")
    return Codes(x, scale, zero, _axis(op, op.rank(x), scale))


def dequantize_linear(op: Operation) -> Value:
    """DequantizeLinear."""
    value = op.value(0)
    if isinstance(value, Codes):
        return _real(op, value)
    scale = _scale(op)
    x = op.tensor(0)
    axis = _axis(op, op.rank(x), scale)
    if isinstance(x, Constant):
        zero = _zero_point(op, scale, x.tensor.dtype)
        if x.tensor.dtype in _CODES:
            return _code(op, x, scale, zero, axis)
    return _dequantized(op, op.tensor(0), axis)


def _scale(op: Operation) -> Constant:
    """The scale, which must be constant and positive; one element is a scalar."""
    if op.int("block_size", 0):
        raise op.refuse("with a scale per block cannot be read")
    scale = op.known(1)
    if scale.ndim > 1 or not scale.is_floating_point():
        raise op.refuse(f"has a scale of shape {tuple(scale.shape)} that cannot be read")
    if not bool((scale > 0).all()) or not bool(scale.isfinite().all()):
        raise op.refuse("has a scale that is not positive")
    single = scale.reshape(()) if scale.numel() == 1 else scale
    return Constant(single.float(), f"{op.name}.scale")


def _zero_point(op: Operation, scale: Constant, dtype: torch.dtype | None) -> torch.Tensor:
    if op.has(2):
        zero = op.known(2)
        if zero.numel() != scale.tensor.numel():
            raise op.refuse(
                f"has {zero.numel()} zero points and {scale.tensor.numel()} scales"
            )
        return zero.reshape(scale.tensor.shape)
    return torch.zeros_like(scale.tensor, dtype=dtype or torch.uint8)


def _axis(op: Operation, rank: int, scale: Constant) -> int | None:
    return op.axis(1, rank) if scale.tensor.ndim else None


def _real(op: Operation, codes: Codes) -> Value:
    """What a rounded activation stands for; one quantizer if both halves agree."""
    scale = _scale(op)
    zero = _zero_point(op, scale, codes.zero_point.dtype)
    same = torch.equal(scale.tensor, codes.scale.tensor) and torch.equal(
        zero, codes.zero_point
    )
    narrow = zero.dtype in {torch.int8, torch.uint8}
    if (
        not same
        or not narrow
        or codes.axis is not None
        or op.dtype(codes.source) != torch.float32
    ):
        return _dequantized(op, op.tensor(0), _axis(op, op.rank(codes.source), scale))
    if "real" not in codes.readers:
        signed = zero.dtype == torch.int8
        module = ActivationQuantizer(float(scale.tensor), int(zero), signed=signed)
        path = op.builder.paths.take(f"quantizers.{codes.source.name}")
        codes.readers["real"] = op.builder.call_module(path, module, codes.source)
    return codes.readers["real"]


def _dequantized(op: Operation, codes: Any, axis: int | None) -> Value:
    """(codes - zero_point) * scale."""
    scale, rank = _scale(op), op.rank(codes)
    x = op.call(aten.to.dtype, codes, torch.float32)
    if op.has(2):
        zero = _zero_point(op, scale, None).float()
        if bool(zero.any()):
            name = f"{op.name}.zero_point"
            x = op.call(aten.sub.Tensor, x, along(op, Constant(zero, name), axis, rank))
    result: Value = op.call(aten.mul.Tensor, x, along(op, scale, axis, rank))
    return result


def _code(
    op: Operation, x: Constant, scale: Constant, zero: torch.Tensor, axis: int | None
) -> fx.Node:
    """A weight held by integers; unsigned ones are shifted, which is exact."""
    bits = x.bits or _CODES[x.tensor.dtype]
    codes, zero = x.tensor.to(torch.int64), zero.to(torch.int64)
    if x.tensor.dtype == torch.uint8:
        codes, zero = codes - (1 << (bits - 1)), zero - (1 << (bits - 1))
    if axis is not None and codes.shape[axis] != scale.tensor.numel():
        raise op.refuse(f"has {scale.tensor.numel()} scales for {codes.shape[axis]} indices")
    code = Affine.from_codes(codes, scale.tensor, zero, bits=bits, axis=axis)
    if bits < 32 and codes.numel() and int(codes.min()) == -(1 << (bits - 1)):
        code.symmetric = False  # the most negative integer is used, so the range must have it
    name = x.name.removesuffix("_quantized").removesuffix(".codes")
    path = op.builder.paths.take(name or op.name)
    return op.builder.call_module(path, code)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "DequantizeLinear": dequantize_linear,
    "QuantizeLinear": quantize_linear,
}
