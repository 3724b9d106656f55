"""Reductions."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Tensor, Value

aten = torch.ops.aten


class Reduction(Protocol):
    """Reduces dimensions of a tensor."""

    def __call__(self, x: Tensor, dims: list[int], *, keep: bool) -> Tensor:
        """`x` reduced over `dims`, which may be none."""


def _reduced(op: Operation, x: Tensor, function: Reduction, since: int) -> Tensor:
    """`function` over the axes that the node names; over all if it names none."""
    rank, axes = op.rank(x), op.axes(since)
    if not axes and op.integer("noop_with_empty_axes", 0):
        return function(x, [], keep=True)
    dims = [op.from_front(axis, rank) for axis in axes or range(rank)]
    return function(x, dims, keep=bool(op.integer("keepdims", 1)))


def reduce_mean(op: Operation) -> Value:
    """ReduceMean."""
    return _reduced(op, op.tensor(0), partial(_mean, op), 18)


def _mean(op: Operation, x: Tensor, dims: list[int], *, keep: bool) -> Tensor:
    return op.call(aten.mean.dim, x, dims, keep) if dims else x


def _sum(op: Operation, x: Tensor, dims: list[int], *, keep: bool) -> Tensor:
    if not dims:
        return x
    return op.call(aten.sum.dim_IntList, x, dims, keep, dtype=op.dtype(x))


def reduce_sum(op: Operation) -> Value:
    """ReduceSum, whose axes are an input since opset 13."""
    return _reduced(op, op.tensor(0), partial(_sum, op), 13)


def reduce_sum_square(op: Operation) -> Value:
    """ReduceSumSquare."""
    x = op.tensor(0)
    squares = op.call(aten.mul.Tensor, x, x)
    return _reduced(op, squares, partial(_sum, op), 18)


def reduce_l1(op: Operation) -> Value:
    """ReduceL1."""
    absolute = op.call(aten.abs.default, op.tensor(0))
    return _reduced(op, absolute, partial(_sum, op), 18)


def reduce_l2(op: Operation) -> Value:
    """ReduceL2."""
    return op.call(aten.sqrt.default, reduce_sum_square(op))


def reduce_log_sum(op: Operation) -> Value:
    """ReduceLogSum."""
    total = _reduced(op, op.tensor(0), partial(_sum, op), 18)
    return op.call(aten.log.default, total)


def reduce_log_sum_exp(op: Operation) -> Value:
    """ReduceLogSumExp."""

    def function(x: Tensor, dims: list[int], *, keep: bool) -> Tensor:
        return op.call(aten.logsumexp.default, x, dims, keep) if dims else x

    return _reduced(op, op.tensor(0), function, 18)


def _extremum(target: Any) -> Callable[[Operation], Value]:
    def extremum(op: Operation) -> Value:
        def function(x: Tensor, dims: list[int], *, keep: bool) -> Tensor:
            return op.call(target, x, dims, keep) if dims else x

        return _reduced(op, op.tensor(0), function, 18)

    return extremum


def reduce_prod(op: Operation) -> Value:
    """ReduceProd: one dimension after the other, the last first."""

    def function(x: Tensor, dims: list[int], *, keep: bool) -> Tensor:
        for dim in sorted(dims, reverse=True):
            x = op.call(aten.prod.dim_int, x, dim, keep, dtype=op.dtype(x))
        return x

    return _reduced(op, op.tensor(0), function, 18)


def _arg(target: Any) -> Callable[[Operation], Value]:
    def arg(op: Operation) -> Value:
        x = op.tensor(0)
        axis, keep = op.axis(0, op.rank(x)), bool(op.integer("keepdims", 1))
        if not op.integer("select_last_index", 0):
            return op.call(target, x, axis, keep)
        size = op.shape(x)[axis]
        if size is None:
            raise op.refuse("wants the last index of a dimension that varies")
        back = op.call(target, op.call(aten.flip.default, x, [axis]), axis, keep)
        return op.call(aten.add.Tensor, op.call(aten.neg.default, back), size - 1)

    return arg


def _cumulated(target: Any, neutral: int) -> Callable[[Operation], Value]:
    """CumSum or CumProd; exclusive and reversed if asked."""

    def cumulated(op: Operation) -> Value:
        x = op.tensor(0)
        rank = op.rank(x)
        axis = op.from_front(int(op.number(1, 0)), rank)
        reverse = bool(op.integer("reverse", 0))
        if reverse:
            x = op.call(aten.flip.default, x, [axis])
        if op.integer("exclusive", 0):  # one neutral in front, the last element left out
            pads = [0, 0] * (rank - 1 - axis) + [1, -1]
            x = op.call(aten.constant_pad_nd.default, x, pads, neutral)
        result = op.call(target, x, axis, dtype=op.dtype(x))
        return op.call(aten.flip.default, result, [axis]) if reverse else result

    return cumulated


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "ArgMax": _arg(aten.argmax.default),
    "ArgMin": _arg(aten.argmin.default),
    "CumProd": _cumulated(aten.cumprod.default, 1),
    "CumSum": _cumulated(aten.cumsum.default, 0),
    "ReduceL1": reduce_l1,
    "ReduceL2": reduce_l2,
    "ReduceLogSum": reduce_log_sum,
    "ReduceLogSumExp": reduce_log_sum_exp,
    "ReduceMax": _extremum(aten.amax.default),
    "ReduceMean": reduce_mean,
    "ReduceMin": _extremum(aten.amin.default),
    "ReduceProd": reduce_prod,
    "ReduceSum": reduce_sum,
    "ReduceSumSquare": reduce_sum_square,
}
