"""Normalizations: (x - mean) / sqrt(variance + eps) * weight + bias."""

from collections.abc import Callable

import numpy as np
import torch

from tersor.errors import ModelError
from tersor.export.call import Call, Value
from tersor.export.operators.sizes import size_of
from tersor.export.writer import Writer


def affine(w: Writer, call: Call, count: int) -> tuple[str, str]:
    """Names of weight and bias, ones and zeros where there are none."""
    dtype = call.x.dtype
    weight, bias = call.maybe("weight"), call.maybe("bias")
    return (
        weight.name if weight else w.constant([1] * count, dtype, "ones"),
        bias.name if bias else w.constant([0] * count, dtype, "zeros"),
    )


def channels(call: Call) -> int:
    """The size of dimension 1."""
    size = call.x.shape[1]
    return call.fail("has a varying number of channels") if size is None else size


def write_batch_norm(w: Writer, call: Call) -> str:
    """With stored mean and variance: x (N, C, ...)."""
    mean, var = call.maybe("running_mean"), call.maybe("running_var")
    if mean is None or var is None:
        raise ModelError(
            call.node.name,
            "is a batch norm that keeps no statistics, as in training",
            "Give it running statistics.",
        )
    parts = (*affine(w, call, channels(call)), mean.name, var.name)
    eps = float(call.number("eps"))
    return w.node("BatchNormalization", call.x.name, *parts, epsilon=eps)


def batch_norm(w: Writer, call: Call) -> str:
    """Batch norm in evaluation."""
    if call.flag("training"):
        raise ModelError(
            call.node.name, "is a batch norm in training mode", "Switch to evaluation mode."
        )
    return write_batch_norm(w, call)


def native_batch_norm(w: Writer, call: Call) -> list[str]:
    """Batch norm in evaluation; of its three results only the first is written."""
    return [w.settle(write_batch_norm(w, call)), "", ""]


def instance_norm(w: Writer, call: Call) -> str:
    """With the statistics of each sample and channel, or with stored ones."""
    if not call.flag("use_input_stats"):
        return write_batch_norm(w, call)
    parts = affine(w, call, channels(call))
    eps = float(call.number("eps"))
    return w.node("InstanceNormalization", call.x.name, *parts, epsilon=eps)


def write_layer_norm(w: Writer, call: Call) -> str:
    """Over the last dimensions, as many as `normalized_shape` has."""
    shape = call.ints("normalized_shape")
    weight, bias = call.maybe("weight"), call.maybe("bias")
    ones = weight.name if weight else w.constant(np.ones(shape), call.x.dtype, "ones")
    parts = [ones] + ([bias.name] if bias else [])
    eps = float(call.number("eps"))
    return w.node("LayerNormalization", call.x.name, *parts, axis=-len(shape), epsilon=eps)


def native_layer_norm(w: Writer, call: Call) -> list[str]:
    """Layer norm; of its three results only the first is written."""
    return [w.settle(write_layer_norm(w, call)), "", ""]


def rms_norm(w: Writer, call: Call) -> str:
    """X / sqrt(mean(x^2) + eps) * weight, over the last dimensions."""
    x, weight = call.x, call.maybe("weight")
    eps = call.get("eps")
    tiny = torch.finfo(x.dtype).eps if eps is None else eps
    axes = [-1 - i for i in range(len(call.ints("normalized_shape")))]
    mean = w.node("ReduceMean", w.node("Mul", x.name, x.name), axes=axes[::-1])
    root = w.node("Sqrt", w.node("Add", mean, w.constant(tiny, x.dtype, "eps")))
    normal = w.node("Div", x.name, root)
    return w.node("Mul", normal, weight.name) if weight else normal


def write_group_norm(w: Writer, call: Call, groups: int) -> str:
    """Each group as one long channel of an instance norm, then weight and bias per channel."""
    x = call.x
    dtype = x.dtype
    long = w.node("Reshape", x.name, w.constant([0, groups, -1], torch.int64, "groups"))
    one = w.constant([1] * groups, dtype, "ones")
    zero = w.constant([0] * groups, dtype, "zeros")
    eps = float(call.number("eps"))
    normal = w.node("InstanceNormalization", long, one, zero, epsilon=eps)
    varying = sum(size is None for size in x.shape[1:])
    if varying == 0:
        shape = w.ints([0, *(size or 0 for size in x.shape[1:])])
    else:
        shape = w.ints([size_of(w, x, d) for d in range(x.rank)])
    result = w.node("Reshape", normal, shape)
    for op, part in (("Mul", call.maybe("weight")), ("Add", call.maybe("bias"))):
        if part:
            result = w.node(op, result, per_channel(w, part, x.rank))
    return result


def per_channel(w: Writer, vector: Value, rank: int) -> str:
    """A vector shaped so that it broadcasts along dimension 1 of `rank`."""
    if rank <= 2:
        return vector.name
    return w.node("Reshape", vector.name, w.ints([-1] + [1] * (rank - 2)))


def group_norm(w: Writer, call: Call) -> str:
    """Group norm."""
    return write_group_norm(w, call, call.whole("num_groups"))


def native_group_norm(w: Writer, call: Call) -> list[str]:
    """Group norm; of its three results only the first is written."""
    return [w.settle(write_group_norm(w, call, call.whole("group"))), "", ""]


OPERATORS: dict[str, Callable[[Writer, Call], object]] = {
    "aten.batch_norm.default": batch_norm,
    "aten._native_batch_norm_legit_no_training.default": native_batch_norm,
    "aten.instance_norm.default": instance_norm,
    "aten.layer_norm.default": lambda w, call: write_layer_norm(w, call),
    "aten.native_layer_norm.default": native_layer_norm,
    "aten.rms_norm.default": rms_norm,
    "aten.group_norm.default": group_norm,
    "aten.native_group_norm.default": native_group_norm,
}
