"""Operators that take elements by their position, and padding."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.codes.codebook import MOST_CENTROIDS, Codebook
from tersor.network.from_onnx.builder import MisfitError
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Size, Tensor, Value

aten = torch.ops.aten
_LAST = (1 << 63) - 1
_REACH = 1 << 31  # ends beyond this mean "to the end"


def slice_(op: Operation) -> Value:
    """Slice."""
    x = op.tensor(0)
    starts, ends, axes, steps = _slices(op, op.rank(x))
    result = x
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise op.refuse("has a step of 0")
        if step > 0:
            stop = _LAST if isinstance(end, int) and end >= _REACH else end
            result = op.call(aten.slice.Tensor, result, axis, start, stop, step)
        else:
            result = _backwards(op, result, axis, slice(start, end, step))
    return result


def _slices(op: Operation, rank: int) -> tuple[list[Size], list[Size], list[int], list[int]]:
    if op.opset < 10:
        starts: list[Size] = list(op.integers("starts") or [])
        ends: list[Size] = list(op.integers("ends") or [])
        axes, steps = op.integers("axes"), None
    else:
        starts, ends = op.sizes(1), op.sizes(2)
        axes = op.numbers(3) if op.has(3) else None
        steps = op.numbers(4) if op.has(4) else None
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    return starts, ends, [op.from_front(a, rank) for a in axes], steps


def _backwards(op: Operation, x: Tensor, axis: int, part: slice) -> Tensor:
    """A slice with a negative step: the positions are listed, unless all are reversed."""
    size = op.shape(x)[axis]
    is_whole = part.step == -1 and part.start in {-1, _LAST} and part.stop < -_REACH + 1
    if size is None and not is_whole:
        raise op.refuse("goes backwards through a dimension that varies")
    if size is None or range(*part.indices(size)) == range(size - 1, -1, -1):
        return op.call(aten.flip.default, x, [axis])
    return select(op, x, axis, list(range(*part.indices(size))))


def select(op: Operation, x: Tensor, axis: int, positions: list[int]) -> Tensor:
    """The elements at these positions of `axis`."""
    indices = Constant(torch.tensor(positions, dtype=torch.int64), f"{op.name}.positions")
    return op.call(aten.index_select.default, x, axis, indices)


def gather(op: Operation) -> Value:
    """Gather: a negative index counts from the end. Few numbers for a weight: a Codebook."""
    x, indices = op.tensor(0), op.tensor(1)
    rank = op.rank(x)
    axis = op.axis(0, rank)
    if isinstance(x, Constant) and isinstance(indices, Constant) and _are_shared(x, indices):
        return _shared(op, x.tensor, indices.tensor)
    if isinstance(indices, Constant) and indices.tensor.ndim == 0:
        return op.call(aten.select.int, x, axis, int(indices.tensor.item()))
    if isinstance(indices, Constant) and indices.tensor.ndim == 1:
        wanted = [int(i) for i in indices.tensor]
        size = op.shape(x)[axis]
        if size is not None:
            return select(op, x, axis, [i + size if i < 0 else i for i in wanted])
    if op.dtype(indices) != torch.int64:
        indices = op.call(aten.to.dtype, indices, torch.int64)
    is_table = rank == 2 and axis == 0 and isinstance(indices, fx.Node)
    if is_table and op.dtype(x).is_floating_point and _is_weight(x):
        return op.call(aten.embedding.default, x, indices)
    return op.call(aten.index.Tensor, x, [None] * axis + [indices])


def _are_shared(table: Constant, indices: Constant) -> bool:
    """Whether each number stands for several elements of a weight."""
    numbers = table.tensor
    return (
        table.weight
        and numbers.dtype == torch.float32
        and numbers.ndim == 1
        and 0 < numbers.numel() <= min(MOST_CENTROIDS, indices.tensor.numel())
        and bool(torch.isfinite(numbers).all())
    )


def _shared(op: Operation, table: torch.Tensor, indices: torch.Tensor) -> fx.Node:
    """A weight of shared values; a number that is 0 stays so."""
    count = table.numel()
    low, high = int(indices.min()), int(indices.max())
    if low < -count or high >= count:
        raise op.refuse(f"has indices from {low} to {high} into {count} numbers")
    zeros = torch.nonzero(table == 0).flatten().tolist()
    positions = torch.where(indices < 0, indices + count, indices)
    code = Codebook(table, positions, zero=zeros[0] if zeros else None)
    return op.builder.call_module(op.builder.paths.take(op.name), code)


def _is_weight(x: Tensor) -> bool:
    return isinstance(x, Constant) or x.op in {"get_attr", "call_module"}


def top_k(op: Operation) -> tuple[Value, ...]:
    """TopK: sorted, so that of equal elements the one with the lower index comes first."""
    x = op.tensor(0)
    k = op.sizes(1)[0] if op.opset >= 10 else op.integer("k")
    axis, largest = op.axis(-1, op.rank(x)), bool(op.integer("largest", 1))
    both = op.call(aten.sort.stable, x, stable=True, dim=axis, descending=largest)
    parts = (op.call(aten.slice.Tensor, op.item(both, i), axis, 0, k, 1) for i in range(2))
    return tuple(parts)


def one_hot(op: Operation) -> Value:
    """OneHot: indices from -depth to depth - 1; others give the value "off" everywhere."""
    indices, values = op.tensor(0), op.tensor(2)
    depth = int(op.number(1, 0))
    rank = op.rank(indices) + 1
    axis = op.axis(-1, rank)
    if not 0 < depth < 1 << 24:
        raise op.refuse(f"has a depth of {depth}")
    if op.dtype(indices) != torch.int64:
        indices = op.call(aten.to.dtype, indices, torch.int64)
    is_negative = op.call(aten.lt.Scalar, indices, 0)
    shifted = op.call(aten.add.Tensor, indices, depth)
    wrapped = op.call(aten.where.self, is_negative, shifted, indices)
    classes = torch.arange(depth).reshape([-1 if i == axis else 1 for i in range(rank)])
    spread = op.call(aten.unsqueeze.default, wrapped, axis)
    is_one = op.call(aten.eq.Tensor, spread, Constant(classes, f"{op.name}.classes"))
    off, on = (op.call(aten.select.int, values, 0, i) for i in range(2))
    return op.call(aten.where.self, is_one, on, off)


_MODES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def pad(op: Operation) -> Value:
    """Pad by a constant, or by what is there (reflect, edge, wrap); negative pads cut."""
    x = op.tensor(0)
    rank, mode = op.rank(x), op.text("mode", "constant")
    flat: list[Size] = list(op.integers("pads") or []) if op.opset < 11 else op.sizes(1)
    if len(flat) % 2:
        raise op.refuse(f"has {len(flat)} pads, where two belong to each axis")
    axes = op.numbers(3) if op.has(3) else list(range(rank))
    half = len(flat) // 2
    pairs: list[tuple[Size, Size]] = [(0, 0)] * rank
    for axis, before, after in zip(axes, flat[:half], flat[half:], strict=True):
        pairs[op.from_front(axis, rank)] = (before, after)
    if mode == "constant":
        value = op.real("value", 0.0) if op.opset < 11 else op.number(2, 0)
        sides = [side for pair in reversed(pairs) for side in pair]
        while sides[-2:] == [0, 0]:
            sides = sides[:-2]
        return op.call(aten.constant_pad_nd.default, x, sides, value) if sides else x
    if mode not in _MODES:
        raise op.refuse(f"has a mode {mode!r}, which ONNX does not know")
    return _pad_by_content(op, x, pairs, mode)


def _pad_by_content(
    op: Operation, x: Tensor, pairs: list[tuple[Size, Size]], mode: str
) -> Value:
    rank = op.rank(x)
    spatial = pairs[2:]
    listed = mode == "wrap" and None not in op.shape(x)  # torch.onnx cannot write it else
    plain = 3 <= rank <= 5 and not listed and not _cuts(spatial)
    if plain and all(pair == (0, 0) for pair in pairs[:2]):
        sides = [side for pair in reversed(spatial) for side in pair]
        with contextlib.suppress(MisfitError):  # wider than torch allows
            return op.call(aten.pad.default, x, sides, _MODES[mode])
    result = x
    for axis, (before, after) in enumerate(pairs):
        if (before, after) == (0, 0):
            continue
        size = op.shape(x)[axis]
        if size is None or isinstance(before, fx.Node) or isinstance(after, fx.Node):
            raise op.refuse(f"pads by {mode} a dimension that varies")
        if max(before, after) > _REACH or size == 0:
            raise op.refuse(f"pads by {before} and {after}")
        grow = (max(before, 0), max(after, 0))
        grown = np.pad(np.arange(size), grow, mode=mode)  # type: ignore[call-overload]
        kept = grown[max(-before, 0) : len(grown) - max(-after, 0)]
        result = select(op, result, axis, kept.tolist())
    return result


def _cuts(pairs: list[tuple[Size, Size]]) -> bool:
    return any(isinstance(side, int) and side < 0 for pair in pairs for side in pair)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "Gather": gather,
    "OneHot": one_hot,
    "Pad": pad,
    "Slice": slice_,
    "TopK": top_k,
}
