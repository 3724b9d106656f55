"""Normalizations and softmax."""

from collections.abc import Callable
from typing import Any

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Tensor, Value

aten = torch.ops.aten


def batch_normalization(op: Operation) -> Value:
    """BatchNormalization, in evaluation mode; mean and variance become buffers."""
    if op.integer("training_mode", 0) or any(op.wanted[1:]):
        raise op.refuse("is in training mode")
    if op.opset < 9 and not op.integer("spatial", 1):
        raise op.refuse("with statistics per position cannot be read")
    x, scale, shift = op.tensor(0), _held(op, 1, trained=True), _held(op, 2, trained=True)
    momentum, epsilon = 1.0 - op.real("momentum", 0.9), op.real("epsilon", 1e-5)
    mean, variance = _held(op, 3, trained=False), _held(op, 4, trained=False)
    rest = (mean, variance, False, momentum, epsilon, False)
    return op.call(aten.batch_norm.default, x, scale, shift, *rest)


def _held(op: Operation, i: int, *, trained: bool) -> Tensor:
    value = op.tensor(i)
    return (
        op.builder.attribute(value, trained=trained) if isinstance(value, Constant) else value
    )


def layer_normalization(op: Operation) -> tuple[Value, ...]:
    """LayerNormalization; mean and 1 / deviation are computed where they are read."""
    x, scale, shift = op.tensor(0), op.tensor(1), op.maybe(2)
    rank, epsilon = op.rank(x), op.real("epsilon", 1e-5)
    axes = list(range(op.axis(-1, rank), rank))
    shape = list(op.fixed_shape(scale))
    plain = len(shape) == len(axes) and (shift is None or op.shape(shift) == tuple(shape))
    if plain and not any(op.wanted[1:]):
        rest = (shape, scale, shift, epsilon, False)
        return (op.call(aten.layer_norm.default, x, *rest),)
    mean = op.call(aten.mean.dim, x, axes, keepdim=True)
    centred = op.call(aten.sub.Tensor, x, mean)
    inverse = _inverse_deviation(op, centred, axes, epsilon)
    result = op.call(aten.mul.Tensor, op.call(aten.mul.Tensor, centred, inverse), scale)
    if shift is not None:
        result = op.call(aten.add.Tensor, result, shift)
    return result, mean, inverse


def rms_normalization(op: Operation) -> Value:
    """RMSNormalization."""
    x, scale = op.tensor(0), op.tensor(1)
    axes = list(range(op.axis(-1, op.rank(x)), op.rank(x)))
    inverse = _inverse_deviation(op, x, axes, op.real("epsilon", 1e-5))
    return op.call(aten.mul.Tensor, op.call(aten.mul.Tensor, x, inverse), scale)


def _inverse_deviation(op: Operation, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    squares = op.call(aten.mean.dim, op.call(aten.mul.Tensor, x, x), axes, keepdim=True)
    return op.call(aten.rsqrt.default, op.call(aten.add.Tensor, squares, epsilon))


def instance_normalization(op: Operation) -> Value:
    """InstanceNormalization."""
    rest = (None, None, True, 0.0, op.real("epsilon", 1e-5), False)
    call = (op.tensor(0), op.tensor(1), op.tensor(2), *rest)
    return op.call(aten.instance_norm.default, *call)


def group_normalization(op: Operation) -> Value:
    """GroupNormalization; before opset 21 scale and bias are per group."""
    x, scale, shift = op.tensor(0), op.tensor(1), op.tensor(2)
    groups, channels = op.integer("num_groups"), op.shape(x)[1]
    if channels is None or groups < 1 or channels % groups:
        raise op.refuse(f"has {groups} groups of {channels} channels")
    if op.opset < 21:
        times = channels // groups
        scale = op.call(aten.repeat_interleave.self_int, scale, times)
        shift = op.call(aten.repeat_interleave.self_int, shift, times)
    rest = (op.real("epsilon", 1e-5), False)
    return op.call(aten.group_norm.default, x, groups, scale, shift, *rest)


def lp_normalization(op: Operation) -> Value:
    """LpNormalization; where the norm is 0, the result is 0."""
    x = op.tensor(0)
    axis, p = op.axis(-1, op.rank(x)), op.integer("p", 2)
    norm = op.call(aten.linalg_vector_norm.default, x, p, [axis], keepdim=True)
    is_zero = op.call(aten.eq.Scalar, norm, 0)
    safe = op.call(aten.masked_fill.Scalar, norm, is_zero, 1)
    return op.call(aten.div.Tensor, x, safe)


def lrn(op: Operation) -> Value:
    """LRN: x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta."""
    x, size = op.tensor(0), op.integer("size")
    if not 0 < size < 1 << 16 or op.rank(x) < 3:
        raise op.refuse(f"has a size of {size}")
    squares = op.call(aten.unsqueeze.default, op.call(aten.mul.Tensor, x, x), 1)
    flat = op.call(aten.flatten.using_ints, squares, 3, -1)
    pads = [0, 0, (size - 1) // 2, size // 2]
    padded = op.call(aten.constant_pad_nd.default, flat, pads)
    mean = op.call(aten.avg_pool2d.default, padded, [size, 1], [1, 1])
    sizes = [op.size(x, i) for i in range(op.rank(x))]
    mean = op.call(aten.reshape.default, mean, sizes)
    scaled = op.call(aten.mul.Tensor, mean, op.real("alpha", 1e-4))
    base = op.call(aten.add.Tensor, scaled, op.real("bias", 1.0))
    power = op.call(aten.pow.Tensor_Scalar, base, op.real("beta", 0.75))
    return op.call(aten.div.Tensor, x, power)


def _softmax(target: Callable[..., Any]) -> Callable[[Operation], Value]:
    def function(op: Operation) -> Value:
        x = op.tensor(0)
        rank = op.rank(x)
        axis = op.axis(-1 if op.opset >= 13 else 1, rank)
        if op.opset >= 13 or axis == rank - 1:
            return op.call(target, x, axis)
        sizes = [op.size(x, i) for i in range(rank)]
        flat = op.call(aten.flatten.using_ints, x, axis, -1)
        return op.call(aten.reshape.default, op.call(target, flat, -1), sizes)

    return function


def hardmax(op: Operation) -> Value:
    """Hardmax: 1 at the first of the largest elements, else 0."""
    x = op.tensor(0)
    rank = op.rank(x)
    axis = op.axis(-1 if op.opset >= 13 else 1, rank)
    if op.opset < 13 and axis != rank - 1:
        raise op.refuse("over several dimensions cannot be read")
    largest = op.call(aten.argmax.default, x, axis, keepdim=True)
    places = op.call(aten.arange.start_step, 0, op.size(x, axis), 1, dtype=torch.int64)
    places = op.call(
        aten.reshape.default, places, [-1 if i == axis else 1 for i in range(rank)]
    )
    return op.call(aten.to.dtype, op.call(aten.eq.Tensor, largest, places), op.dtype(x))


def mean_variance_normalization(op: Operation) -> Value:
    """MeanVarianceNormalization: (x - mean) / (deviation + 1e-9)."""
    x = op.tensor(0)
    axes = [op.from_front(a, op.rank(x)) for a in op.integers("axes") or [0, 2, 3]]
    centred = op.call(aten.sub.Tensor, x, op.call(aten.mean.dim, x, axes, keepdim=True))
    squares = op.call(aten.mul.Tensor, centred, centred)
    deviation = op.call(aten.sqrt.default, op.call(aten.mean.dim, squares, axes, keepdim=True))
    return op.call(aten.div.Tensor, centred, op.call(aten.add.Tensor, deviation, 1e-9))


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "Hardmax": hardmax,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LogSoftmax": _softmax(aten.log_softmax.int),
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
    "Softmax": _softmax(aten.softmax.int),
}
