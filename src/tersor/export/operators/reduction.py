"""Sums, means, extremes over dimensions."""

import math
from collections.abc import Callable

import torch

from tersor.export.call import Call, Value
from tersor.export.operators.pooling import write_global
from tersor.export.writer import Writer

Write = Callable[[Writer, Call], str]


def operand(w: Writer, call: Call) -> str:
    """The input in the type of the result."""
    dtype = call.result.dtype
    return call.x.name if call.x.dtype == dtype else w.cast(call.x.name, dtype)


def axes_of(call: Call) -> list[int]:
    """The dimensions to reduce: all where the overload names none."""
    return call.axes("dim") if call.get_or("dim") is not None else list(range(call.x.rank))


def kept(call: Call) -> int:
    """Whether reduced dimensions stay, with size 1."""
    return int(bool(call.get_or("keepdim")))


def reduce(op: str) -> Write:
    """A reduction whose dimensions are an attribute."""

    def write(w: Writer, call: Call) -> str:
        x, axes = operand(w, call), axes_of(call)
        if not axes:
            return x
        if call.result.dtype != torch.bool:
            return w.node(op, x, axes=axes, keepdims=kept(call))
        number = w.cast(x, torch.int32)
        return w.cast(w.node(op, number, axes=axes, keepdims=kept(call)), torch.bool)

    return write


def total(w: Writer, call: Call) -> str:
    """The sum."""
    return write_sum(w, operand(w, call), axes_of(call), kept(call))


def write_sum(w: Writer, x: str, axes: list[int], keepdims: int) -> str:
    """A ReduceSum: its dimensions are an input."""
    return w.node("ReduceSum", x, w.ints(axes, "axes"), keepdims=keepdims) if axes else x


def mean(w: Writer, call: Call) -> str:
    """The mean; of the spatial dimensions of images, a global pooling."""
    x, axes = call.x, axes_of(call)
    if x.rank == 4 and sorted(axes) == [2, 3] and x.dtype == call.result.dtype:
        pooled = write_global(w, x.name, "AveragePool", x.shape[2:])
        return pooled if kept(call) else w.node("Flatten", pooled, axis=1)
    return reduce("ReduceMean")(w, call)


def extreme(op: str) -> Callable[[Writer, Call], list[str]]:
    """The largest or smallest element along a dimension, and where it was."""

    def write(w: Writer, call: Call) -> list[str]:
        axis, keepdims = call.axis("dim"), kept(call)
        value = w.node(f"Reduce{op}", call.x.name, axes=[axis], keepdims=keepdims)
        return [value, w.node(f"Arg{op}", call.x.name, axis=axis, keepdims=keepdims)]

    return write


def position(op: str) -> Write:
    """Where the largest or smallest element is, along a dimension or among all."""

    def write(w: Writer, call: Call) -> str:
        if call.get("dim") is not None:
            return w.node(op, call.x.name, axis=call.axis("dim"), keepdims=kept(call))
        flat = w.node("Reshape", call.x.name, w.ints([-1], "shape"))
        return w.node(op, flat, axis=0, keepdims=0)

    return write


def cumsum(w: Writer, call: Call) -> str:
    """Sums of all elements up to each, along a dimension."""
    axis = w.constant(call.axis("dim"), torch.int64, "axis")
    return w.node("CumSum", operand(w, call), axis)


def spread(*, root: bool) -> Write:
    """The variance, or its root: the squared distance from the mean, over n - correction."""

    def write(w: Writer, call: Call) -> str:
        x, axes = call.x, axes_of(call)
        away = w.node("Sub", x.name, w.node("ReduceMean", x.name, axes=axes, keepdims=1))
        var = w.node("ReduceMean", w.node("Mul", away, away), axes=axes, keepdims=kept(call))
        factor = bessel(call, axes)
        if factor != 1:
            var = w.node("Mul", var, w.constant(factor, x.dtype, "factor"))
        return w.node("Sqrt", var) if root else var

    return write


def bessel(call: Call, axes: list[int]) -> float:
    """N / (n - correction), where n elements are reduced; the correction is 1 by default."""
    named = call.get_or("correction", call.get_or("unbiased"))
    correction = float(named) if isinstance(named, (bool, int, float)) else 1.0
    if correction == 0:
        return 1.0
    sizes = [call.x.shape[a] or call.fail("corrects for a varying size") for a in axes]
    count = math.prod(sizes)
    return count / (count - correction) if count != correction else math.nan


def norm(w: Writer, call: Call) -> str:
    """The root of the sum of squares, or the sum of absolute values."""
    order = call.get_or("ord", call.get_or("p"))
    x, axes = operand(w, call), axes_of(call)
    if order == 1:
        return write_sum(w, w.node("Abs", x), axes, kept(call))
    if order not in {None, 2}:
        call.fail(f"has order {order}")
    return w.node("ReduceL2", x, axes=axes, keepdims=kept(call))


def logsumexp(w: Writer, call: Call) -> str:
    """log(sum(exp(x - m))) + m, where m is the maximum.

    ReduceLogSumExp would do, but OpenVINO 2026 ignores its axes at this opset.
    """
    x, axes = operand(w, call), axes_of(call)
    largest = w.node("ReduceMax", x, axes=axes, keepdims=1)
    total = write_sum(w, w.node("Exp", w.node("Sub", x, largest)), axes, 1)
    result = w.node("Add", w.node("Log", total), largest)
    return result if kept(call) else w.node("Squeeze", result, w.ints(axes, "axes"))


def every(op: str) -> Write:
    """Whether all ("Min") or any ("Max") are not 0."""

    def write(w: Writer, call: Call) -> str:
        x: Value = call.x
        truth = x.name if x.dtype == torch.bool else w.cast(x.name, torch.bool)
        axes = axes_of(call)
        number = w.cast(truth, torch.int32)
        found = (
            w.node(f"Reduce{op}", number, axes=axes, keepdims=kept(call)) if axes else number
        )
        return w.cast(found, torch.bool)

    return write


OPERATORS: dict[str, Callable[[Writer, Call], object]] = {
    "aten.sum.default": total,
    "aten.sum.dim_IntList": total,
    "aten.mean.default": mean,
    "aten.mean.dim": mean,
    "aten.amax.default": reduce("ReduceMax"),
    "aten.amin.default": reduce("ReduceMin"),
    "aten.max.default": reduce("ReduceMax"),
    "aten.min.default": reduce("ReduceMin"),
    "aten.max.dim": extreme("Max"),
    "aten.min.dim": extreme("Min"),
    "aten.argmax.default": position("ArgMax"),
    "aten.argmin.default": position("ArgMin"),
    "aten.prod.default": reduce("ReduceProd"),
    "aten.prod.dim_int": reduce("ReduceProd"),
    "aten.logsumexp.default": logsumexp,
    "aten.cumsum.default": cumsum,
    "aten.var.correction": spread(root=False),
    "aten.var.default": spread(root=False),
    "aten.var.dim": spread(root=False),
    "aten.std.default": spread(root=True),
    "aten.std.dim": spread(root=True),
    "aten.std.correction": spread(root=True),
    "aten.linalg_vector_norm.default": norm,
    "aten.norm.ScalarOpt_dim": norm,
    "aten.all.default": every("Min"),
    "aten.all.dim": every("Min"),
    "aten.any.default": every("Max"),
    "aten.any.dim": every("Max"),
}
