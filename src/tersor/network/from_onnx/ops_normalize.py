"""Normalizations and softmax."""

from collections.abc import Callable
from typing import Any

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Tensor, Value

aten = torch.ops.aten


def batch_normalization(op: Operation) -> Value:
    """BatchNormalization, in evaluation mode; mean and variance become buffers."""
    if op.int("training_mode", 0) or any(op.wanted[1:]):
        raise op.refuse("is in training mode")
    if op.opset < 9 and not op.int("spatial", 1):
        raise op.refuse("with statistics per position cannot be read")
    x, scale, shift = op.tensor(0), op.tensor(1), op.tensor(2)
    momentum, epsilon = 1.0 - op.float("momentum", 0.9), op.float("epsilon", 1e-5)
    mean, variance = _buffer(op, 3), _buffer(op, 4)
    rest = (mean, variance, False, momentum, epsilon, False)
    result: Value = op.call(aten.batch_norm.default, x, scale, shift, *rest)
    return result


def _buffer(op: Operation, i: int) -> Tensor:
    value = op.tensor(i)
    return op.builder.attribute(value, trained=False) if isinstance(value, Constant) else value


def layer_normalization(op: Operation) -> Value:
    """LayerNormalization."""
    x, scale, shift = op.tensor(0), op.tensor(1), op.maybe(2)
    rank, epsilon = op.rank(x), op.float("epsilon", 1e-5)
    axis = op.axis(-1, rank)
    shape = list(op.fixed_shape(scale))
    if len(shape) == rank - axis and (shift is None or op.shape(shift) == tuple(shape)):
        result: Value = op.call(
            aten.layer_norm.default, x, shape, scale, shift, epsilon, False
        )
        return result
    axes = list(range(axis, rank))
    centred = op.call(aten.sub.Tensor, x, op.call(aten.mean.dim, x, axes, True))
    result = op.call(aten.mul.Tensor, _over_deviation(op, centred, axes, epsilon), scale)
    return result if shift is None else op.call(aten.add.Tensor, result, shift)  # type: ignore[no-any-return]


def rms_normalization(op: Operation) -> Value:
    """RMSNormalization."""
    x, scale = op.tensor(0), op.tensor(1)
    axes = list(range(op.axis(-1, op.rank(x)), op.rank(x)))
    normal = _over_deviation(op, x, axes, op.float("epsilon", 1e-5))
    result: Value = op.call(aten.mul.Tensor, normal, scale)
    return result


def _over_deviation(op: Operation, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    squares = op.call(aten.mean.dim, op.call(aten.mul.Tensor, x, x), axes, True)
    shifted = op.call(aten.add.Tensor, squares, epsilon)
    result: Tensor = op.call(aten.mul.Tensor, x, op.call(aten.rsqrt.default, shifted))
    return result


def instance_normalization(op: Operation) -> Value:
    """InstanceNormalization."""
    rest = (None, None, True, 0.0, op.float("epsilon", 1e-5), False)
    call = (op.tensor(0), op.tensor(1), op.tensor(2), *rest)
    result: Value = op.call(aten.instance_norm.default, *call)
    return result


def group_normalization(op: Operation) -> Value:
    """GroupNormalization; before opset 21 scale and bias are per group."""
    x, scale, shift = op.tensor(0), op.tensor(1), op.tensor(2)
    groups, channels = op.int("num_groups"), op.shape(x)[1]
    if channels is None or groups < 1 or channels % groups:
        raise op.refuse(f"has {groups} groups of {channels} channels")
    if op.opset < 21:
        times = channels // groups
        scale = op.call(aten.repeat_interleave.self_int, scale, times)
        shift = op.call(aten.repeat_interleave.self_int, shift, times)
    rest = (op.float("epsilon", 1e-5), False)
    result: Value = op.call(aten.group_norm.default, x, groups, scale, shift, *rest)
    return result


def lp_normalization(op: Operation) -> Value:
    """LpNormalization; where the norm is 0, the result is 0."""
    x = op.tensor(0)
    axis, p = op.axis(-1, op.rank(x)), op.int("p", 2)
    norm = op.call(aten.linalg_vector_norm.default, x, p, [axis], True)
    is_zero = op.call(aten.eq.Scalar, norm, 0)
    safe = op.call(aten.masked_fill.Scalar, norm, is_zero, 1)
    result: Value = op.call(aten.div.Tensor, x, safe)
    return result


def lrn(op: Operation) -> Value:
    """LRN: x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta."""
    x, size = op.tensor(0), op.int("size")
    if not 0 < size < 1 << 16 or op.rank(x) < 3:
        raise op.refuse(f"has a size of {size}")
    squares = op.call(aten.unsqueeze.default, op.call(aten.mul.Tensor, x, x), 1)
    flat = op.call(aten.flatten.using_ints, squares, 3, -1)
    pads = [0, 0, (size - 1) // 2, size // 2]
    padded = op.call(aten.constant_pad_nd.default, flat, pads)
    mean = op.call(aten.avg_pool2d.default, padded, [size, 1], [1, 1])
    sizes = [op.size(x, i) for i in range(op.rank(x))]
    mean = op.call(aten.reshape.default, mean, sizes)
    scaled = op.call(aten.mul.Tensor, mean, op.float("alpha", 1e-4))
    base = op.call(aten.add.Tensor, scaled, op.float("bias", 1.0))
    power = op.call(aten.pow.Tensor_Scalar, base, op.float("beta", 0.75))
    result: Value = op.call(aten.div.Tensor, x, power)
    return result


def _softmax(target: Callable[..., Any]) -> Callable[[Operation], Value]:
    def function(op: Operation) -> Value:
        x = op.tensor(0)
        rank = op.rank(x)
        axis = op.axis(-1 if op.opset >= 13 else 1, rank)
        if op.opset >= 13 or axis == rank - 1:
            result: Value = op.call(target, x, axis)
            return result
        sizes = [op.size(x, i) for i in range(rank)]
        flat = op.call(aten.flatten.using_ints, x, axis, -1)
        result = op.call(aten.reshape.default, op.call(target, flat, -1), sizes)
        return result

    return function


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LogSoftmax": _softmax(aten.log_softmax.int),
    "LpNormalization": lp_normalization,
    "RMSNormalization": rms_normalization,
    "Softmax": _softmax(aten.softmax.int),
}
