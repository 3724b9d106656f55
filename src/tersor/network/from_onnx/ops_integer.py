"""Operators that compute with integers, as quantizers of ONNX Runtime write them.

Each is read as what it stands for: its inputs made real, the operator on real numbers, the
result rounded. So weights become Affine codes, activations quantizers, and the network can
be trained, and exported with QuantizeLinear and DequantizeLinear. Results differ from those
of integer kernels by at most one step where these round in another place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from tersor.codes.affine import Affine
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.ops_arithmetic import OPERATORS as ARITHMETIC
from tersor.network.from_onnx.ops_nn import average_pool, conv, gemm, global_average_pool
from tersor.network.from_onnx.ops_normalize import OPERATORS as NORMALIZE
from tersor.network.from_onnx.ops_quantize import Grid, codes_of, grid_of, real_of
from tersor.network.from_onnx.ops_shape import concat
from tersor.network.from_onnx.values import Codes, Constant, Tensor, Value

aten = torch.ops.aten
Function = Callable[[Operation], Any]
_EXACT = 1 << 24  # float32 holds every integer up to here


def _real(op: Operation, i: int, axis: int | None = None) -> Tensor:
    """Input `i`, whose scale and zero point follow, as real numbers."""
    value = op.value(i)
    dtype = value.dtype if isinstance(value, Codes) else op.dtype(op.tensor(i))
    grid = grid_of(op, i + 1, i + 2, dtype)
    if op.rank(grid.scale):
        tensor = value.source if isinstance(value, Codes) else op.tensor(i)
        grid.axis = op.from_front(axis or 0, op.rank(tensor))
    return real_of(op, value, grid)


def _rounded(op: Operation, x: Tensor, i: int) -> Value:
    """`x` by the scale and zero point at input `i`."""
    return codes_of(op, x, grid_of(op, i, i + 1, torch.uint8))


def _on(op: Operation, function: Function, inputs: Sequence[Value | None]) -> Any:
    """`function` on other inputs."""
    return function(replace(op, inputs=list(inputs)))


def _bias(op: Operation, i: int, scales: tuple[int, int]) -> Tensor | None:
    """A bias of integers, whose scale is that of the product of two inputs."""
    if not op.has(i):
        return None
    known = [op.tensor(s) for s in scales]
    parts = [k.tensor.reshape(-1).float() for k in known if isinstance(k, Constant)]
    if len(parts) != 2:
        raise op.refuse("has a bias, but computes its scales")
    scale = parts[0] * parts[1]
    single = scale.numel() == 1
    steps = Constant(scale.reshape(()) if single else scale, f"{op.name}.bias.scale")
    zero = Constant(torch.zeros(steps.tensor.shape, dtype=torch.int32), f"{op.name}.bias.zero")
    return real_of(op, op.value(i), Grid(steps, zero, None if single else 0))


def qlinear_conv(op: Operation) -> Value:
    """QLinearConv: a weight may have a scale per output channel."""
    result = _on(op, conv, [_real(op, 0), _real(op, 3), _bias(op, 8, (1, 4))])
    return _rounded(op, result, 6)


def qlinear_matmul(op: Operation) -> Value:
    """QLinearMatMul: a scale per row of the first matrix, or per column of the second."""
    product = op.call(aten.matmul.default, _real(op, 0, -2), _real(op, 3, -1))
    return _rounded(op, product, 6)


def qgemm(op: Operation) -> Value:
    """QGemm; without a scale for it, the result stays real."""
    by_column = 0 if op.integer("transB", 0) else 1
    inputs = [_real(op, 0), _real(op, 3, by_column), _bias(op, 6, (1, 4))]
    result = _on(op, gemm, inputs)
    return _rounded(op, result, 7) if op.has(7) else result


def _qlinear(function: Function, count: int) -> Function:
    """`function` on the first inputs, each of which has a scale and a zero point."""

    def apply(op: Operation) -> Value:
        if op.integer("channels_last", 0):
            raise op.refuse("with channels last cannot be read")
        inputs = [_real(op, 3 * i) for i in range(count)]
        return _rounded(op, _on(op, function, inputs), 3 * count)

    return apply


def qlinear_concat(op: Operation) -> Value:
    """QLinearConcat: first the result's scale and zero point, then the tensors."""
    inputs = [_real(op, i) for i in range(2, len(op.inputs), 3)]
    return _rounded(op, _on(op, concat, inputs), 0)


def qlinear_softmax(op: Operation) -> Value:
    """QLinearSoftmax, which says itself which opset's Softmax it is."""
    inner = replace(op, inputs=[_real(op, 0)], opset=op.integer("opset", 13))
    return _rounded(op, NORMALIZE["Softmax"](inner), 3)


def _integers(op: Operation, i: int, zero: int, axis: int, dtype: torch.dtype) -> Tensor:
    """Input `i` less its zero point, as whole real numbers; a weight as a code of them."""
    x = op.value(i)
    kind = x.dtype if isinstance(x, Codes) else op.dtype(op.tensor(i))
    point = op.tensor(zero) if op.has(zero) else Constant(torch.zeros((), dtype=kind), "zero")
    single = op.rank(point) == 0 or op.shape(point) == (1,)
    if isinstance(point, Constant) and isinstance(x, Constant):
        points = point.tensor.reshape(()) if single else point.tensor
        grid = Grid(Constant(torch.ones(points.shape), "one"), Constant(points, "zero"))
        grid.axis = None if single else op.from_front(axis, x.tensor.ndim)
        real = real_of(op, x, grid)
        return real if dtype == torch.float32 else op.call(aten.to.dtype, real, dtype)
    tensor = op.call(aten.to.dtype, op.tensor(i), dtype)
    point = op.call(aten.to.dtype, point, dtype)
    if single:
        point = op.call(aten.reshape.default, point, [])
    elif axis == -2:
        point = op.call(aten.unsqueeze.default, point, -1)
    elif axis == 0:
        point = op.call(aten.reshape.default, point, [-1, *[1] * (op.rank(tensor) - 1)])
    return op.call(aten.sub.Tensor, tensor, point)


def _width(terms: int | None) -> torch.dtype:
    """The type that holds sums of so many products of bytes exactly."""
    return torch.float32 if terms and terms * 255 * 255 < _EXACT else torch.float64


def matmul_integer(op: Operation) -> Value:
    """MatMulInteger: a product of whole numbers, computed in floats that hold it exactly."""
    dtype = _width(op.shape(op.tensor(1))[0 if op.rank(op.tensor(1)) == 1 else -2])
    a, b = _integers(op, 0, 2, -2, dtype), _integers(op, 1, 3, -1, dtype)
    return op.call(aten.to.dtype, op.call(aten.matmul.default, a, b), torch.int32)


def conv_integer(op: Operation) -> Value:
    """ConvInteger: as MatMulInteger."""
    shape = op.fixed_shape(op.tensor(1))
    dtype = _width(int(torch.tensor(shape[1:]).prod()))
    x, w = _integers(op, 0, 2, 1, dtype), _integers(op, 1, 3, 0, dtype)
    return op.call(aten.to.dtype, _on(op, conv, [x, w, None]), torch.int32)


def matmul_integer_to_float(op: Operation) -> Value:
    """MatMulIntegerToFloat: a real product of two dequantized matrices."""
    order = [0, 2, 4, 1, 3, 5]
    inputs = [op.inputs[i] if i < len(op.inputs) else None for i in order]
    inner = replace(op, inputs=inputs)
    result = op.call(aten.matmul.default, _real(inner, 0), _real(inner, 3, -1))
    return op.call(aten.add.Tensor, result, op.tensor(6)) if op.has(6) else result


def dynamic_quantize_matmul(op: Operation) -> Value:
    """DynamicQuantizeMatMul; its rounding of the activation is left out, and only that."""
    grid = grid_of(op, 2, 3, op.dtype(op.tensor(1)))
    grid.axis = op.rank(op.tensor(1)) - 1 if op.rank(grid.scale) else None
    product = op.call(aten.matmul.default, op.tensor(0), real_of(op, op.value(1), grid))
    return op.call(aten.add.Tensor, product, op.tensor(4)) if op.has(4) else product


def matmul_nbits(op: Operation) -> Value:
    """MatMulNBits: a weight of 2, 4 or 8 bits with a scale per block of a row."""
    width, rows = op.integer("K"), op.integer("N")
    bits, block = op.integer("bits", 4), op.integer("block_size")
    if bits not in {2, 4, 8} or block < 1 or not 0 < width < 1 << 24 or op.has(4):
        raise op.refuse(f"of {bits} bits in blocks of {block} cannot be read")
    packed, scales = op.known(1), op.known(2)
    blocks = -(-width // block)
    if packed.dtype != torch.uint8 or packed.numel() * 8 != rows * blocks * block * bits:
        raise op.refuse(f"has {packed.numel()} bytes of weights, which do not fit")
    if scales.numel() != rows * blocks:
        raise op.refuse(f"has {scales.numel()} scales where {rows * blocks} belong")
    codes = _unpacked(packed.reshape(rows * blocks, -1), bits)
    zeros = torch.full((rows * blocks,), 1 << (bits - 1))
    if op.has(3):
        given = op.known(3)
        if given.dtype != torch.uint8 or given.numel() % rows:
            raise op.refuse("has zero points that are no integers")
        zeros = _unpacked(given.reshape(rows, -1), bits)[:, :blocks].reshape(-1)
    middle = 1 << (bits - 1)
    code = Affine.from_codes(
        codes - middle, scales.reshape(-1).float(), zeros - middle, bits=bits, axis=0
    )
    name = op.inputs[1].name if isinstance(op.inputs[1], Constant) else op.name
    weight: Tensor = op.builder.call_module(op.builder.paths.take(name), code)
    weight = op.call(aten.reshape.default, weight, [rows, blocks * block])
    if blocks * block != width:
        weight = op.call(aten.slice.Tensor, weight, 1, 0, width)
    return op.call(aten.linear.default, op.tensor(0), weight, op.maybe(5))


def _unpacked(rows: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers of so many bits, of each byte the low ones first: (N, bytes * 8 / bits)."""
    shifts = torch.arange(0, 8, bits)
    parts = (rows.to(torch.int64)[..., None] >> shifts) & ((1 << bits) - 1)
    return parts.reshape(len(rows), -1)


OPERATORS: dict[str, Function] = {
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
MICROSOFT: dict[str, Function] = {
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "MatMulNBits": matmul_nbits,
    "QGemm": qgemm,
    "QLinearAdd": _qlinear(ARITHMETIC["Add"], 2),
    "QLinearAveragePool": _qlinear(average_pool, 1),
    "QLinearConcat": qlinear_concat,
    "QLinearConv": qlinear_conv,
    "QLinearGlobalAveragePool": _qlinear(global_average_pool, 1),
    "QLinearLeakyRelu": _qlinear(ARITHMETIC["LeakyRelu"], 1),
    "QLinearMul": _qlinear(ARITHMETIC["Mul"], 2),
    "QLinearSigmoid": _qlinear(ARITHMETIC["Sigmoid"], 1),
    "QLinearSoftmax": qlinear_softmax,
}
