"""Operators that move, join, cut and make tensors."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import fx

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import (
    DTYPES,
    Constant,
    Size,
    Sizes,
    Tensor,
    Value,
    sizes_of,
)

aten = torch.ops.aten
_ELEMENTS_MOST = 1 << 31


def identity(op: Operation) -> Value:
    """Identity."""
    return op.value(0)


def constant(op: Operation) -> Value:
    """Constant, in any of its forms."""
    tensor = None
    for attribute in op.node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value" and isinstance(value, onnx.TensorProto):
            tensor = op.tensor_of(value)
        elif attribute.name in {"value_float", "value_floats"}:
            tensor = torch.tensor(value, dtype=torch.float32)
        elif attribute.name in {"value_int", "value_ints"}:
            tensor = torch.tensor(value, dtype=torch.int64)
    if tensor is None:
        raise op.refuse("holds no tensor of numbers")
    weight = tensor.is_floating_point() and tensor.ndim > 0
    return Constant(tensor, op.node.output[0], weight=weight)


def shape(op: Operation) -> Value:
    """Shape, as sizes."""
    value = op.value(0)
    if isinstance(value, Sizes):
        items: list[Size] = list(value.array.shape)
    else:
        x = op.tensor(0)
        items = [op.size(x, i) for i in range(op.rank(x))]
    end = op.attribute("end", int, None) if op.opset >= 15 else None
    return sizes_of(items[slice(op.integer("start", 0) if op.opset >= 15 else 0, end)])


def size(op: Operation) -> Value:
    """Size: the number of elements."""
    x = op.tensor(0)
    sizes = [op.size(x, i) for i in range(op.rank(x))]
    total: Size = 1
    for item in sizes:
        total = op.arithmetic(operator.mul, total, item) if total != 1 else item
    array = np.empty((), dtype=object)
    array[()] = total
    return Sizes(array)


def reshape(op: Operation) -> Value:
    """Reshape: 0 keeps a size, unless allowzero is set."""
    x = op.tensor(0)
    wanted = op.sizes(1)
    if not op.integer("allowzero", 0):
        wanted = [
            op.size(x, i) if isinstance(s, int) and s == 0 else s for i, s in enumerate(wanted)
        ]
    return _reshaped(op, x, wanted)


def _reshaped(op: Operation, x: Tensor, wanted: list[Size]) -> Value:
    """Reshape by aten.reshape; one symbolic size is left for torch to find out."""
    varying = [i for i, s in enumerate(wanted) if isinstance(s, fx.Node)]
    if (
        len(varying) == 1
        and all(s != -1 for s in wanted)
        and all(isinstance(s, fx.Node) or s > 0 for s in wanted)
    ):
        wanted = [-1 if i == varying[0] else s for i, s in enumerate(wanted)]
    return op.call(aten.reshape.default, x, wanted)


def flatten(op: Operation) -> Value:
    """Flatten to a matrix."""
    x = op.tensor(0)
    rank = op.rank(x)
    axis = op.integer("axis", 1)
    if not -rank <= axis <= rank:
        raise op.refuse(f"names axis {axis} of {rank}")
    axis = axis if axis >= 0 else axis + rank
    if axis == 0 or axis == rank:
        return op.call(aten.reshape.default, x, [1, -1] if axis == 0 else [-1, 1])
    if axis > 1:
        x = op.call(aten.flatten.using_ints, x, 0, axis - 1)
    return x if axis == rank - 1 else op.call(aten.flatten.using_ints, x, 1, -1)


def transpose(op: Operation) -> Value:
    """Transpose; reverses the dimensions by default."""
    x = op.tensor(0)
    order = op.integers("perm") or list(range(op.rank(x)))[::-1]
    return op.call(aten.permute.default, x, order)


def squeeze(op: Operation) -> Value:
    """Squeeze; all dimensions of size 1 by default."""
    x, axes = op.tensor(0), op.axes(13)
    if axes is None:
        axes = [i for i, d in enumerate(op.shape(x)) if d == 1]
    dims = [op.from_front(a, op.rank(x)) for a in axes]
    if any(op.shape(x)[d] not in {1, None} for d in dims):
        raise op.refuse("takes away a dimension whose size is not 1")
    return op.call(aten.squeeze.dims, x, dims)


def unsqueeze(op: Operation) -> Value:
    """Unsqueeze: axes count in the result."""
    x, axes = op.tensor(0), op.axes(13) or []
    rank = op.rank(x) + len(axes)
    result: Value = x
    for axis in sorted(op.from_front(a, rank) for a in axes):
        result = op.call(aten.unsqueeze.default, result, axis)
    return result


def concat(op: Operation) -> Value:
    """Concat."""
    tensors = op.tensors()
    return op.call(aten.cat.default, tensors, op.integer("axis"))


def split(op: Operation) -> tuple[Value, ...]:
    """Split into given sizes, or into equal parts of which the last may be smaller."""
    x = op.tensor(0)
    axis = op.axis(0, op.rank(x))
    count = len(op.node.output)
    given = op.sizes(1) if op.opset >= 13 and op.has(1) else op.integers("split")
    if given is None:
        total = op.shape(x)[axis]
        if total is None:
            parts = op.call(aten.chunk.default, x, count, axis)
        else:
            parts = op.call(aten.split.Tensor, x, max(-(-total // count), 1), axis)
    else:
        parts = op.call(aten.split_with_sizes.default, x, given, axis)
    return tuple(op.item(parts, i) for i in range(count))


def expand(op: Operation) -> Value:
    """Expand: a wanted size of 1 keeps the size that is there."""
    x, wanted = op.tensor(0), op.sizes(1)
    rank = op.rank(x)
    extra = len(wanted) - rank
    found = [-1] * max(-extra, 0) + [
        -1 if i >= extra and isinstance(s, int) and s == 1 else s for i, s in enumerate(wanted)
    ]
    return op.call(aten.expand.default, x, found)


def tile(op: Operation) -> Value:
    """Tile."""
    return op.call(aten.repeat.default, op.tensor(0), op.sizes(1))


def constant_of_shape(op: Operation) -> Value:
    """ConstantOfShape; sizes where it is a short vector of integers, else a tensor."""
    wanted = op.sizes(0)
    filler = op.attribute("value", onnx.TensorProto, None)
    value = torch.zeros(1) if filler is None else op.tensor_of(filler)
    if value.numel() != 1:
        raise op.refuse(f"holds {value.numel()} values where 1 belongs")
    if math.prod(s for s in wanted if isinstance(s, int)) > _ELEMENTS_MOST:
        raise op.refuse(f"makes a tensor of {wanted} elements")
    return op.call(aten.full.default, wanted, value.item(), dtype=value.dtype)


def range_(op: Operation) -> Value:
    """Range."""
    ends = [op.sizes(i) if _is_sizes(op, i) else [op.known(i).item()] for i in range(3)]
    start, limit, step = (end[0] for end in ends)
    if step == 0:
        raise op.refuse("has a step of 0")
    first = op.value(0)
    dtype = first.dtype if isinstance(first, Sizes) else op.dtype(op.tensor(0))
    if not any(isinstance(e, fx.Node) for e in (start, limit, step)):
        if abs(float(limit) - float(start)) / abs(float(step)) > _ELEMENTS_MOST:  # type: ignore[arg-type]
            raise op.refuse("makes too many elements")
        if (float(limit) - float(start)) * float(step) < 0:  # type: ignore[arg-type]
            limit = start
    return op.call(aten.arange.start_step, start, limit, step, dtype=dtype)


def _is_sizes(op: Operation, i: int) -> bool:
    return isinstance(op.value(i), Sizes)


def trilu(op: Operation) -> Value:
    """Trilu: the upper or lower triangle."""
    target = aten.triu.default if op.integer("upper", 1) else aten.tril.default
    return op.call(target, op.tensor(0), int(op.number(1, 0)))


def eye_like(op: Operation) -> Value:
    """EyeLike: ones on a diagonal of a matrix of the input's sizes."""
    x = op.tensor(0)
    if op.rank(x) != 2:
        raise op.refuse(f"of {op.rank(x)} dimensions cannot be read")
    kind = op.integer("dtype", 0)
    if kind and kind not in DTYPES:
        raise op.refuse(f"makes elements of type {kind}, which cannot be read")
    ends = [op.size(x, i) for i in range(2)]
    make, at = aten.arange.start_step, op.integer("k", 0)
    rows, columns = (op.call(make, 0, end, 1, dtype=torch.int64) for end in ends)
    shifted = op.call(aten.add.Scalar, op.call(aten.unsqueeze.default, rows, 1), at)
    found = op.call(aten.eq.Tensor, shifted, columns)
    return op.call(aten.to.dtype, found, DTYPES[kind] if kind else op.dtype(x))


def depth_to_space(op: Operation) -> Value:
    """DepthToSpace: channels become blocks of b by b positions."""
    x, b, mode = op.tensor(0), op.integer("blocksize"), op.text("mode", "DCR")
    if b < 1 or op.rank(x) != 4 or mode not in {"DCR", "CRD"}:
        raise op.refuse(f"with blocks of {b} and mode {mode} cannot be read")
    if mode == "CRD":
        return op.call(aten.pixel_shuffle.default, x, b)
    n, c, h, w = (op.size(x, i) for i in range(4))
    c = op.arithmetic(operator.floordiv, c, b * b)
    parts = op.call(aten.reshape.default, x, [n, b, b, c, h, w])
    parts = op.call(aten.permute.default, parts, [0, 3, 4, 1, 5, 2])
    tall, wide = (op.arithmetic(operator.mul, s, b) for s in (h, w))
    return op.call(aten.reshape.default, parts, [n, c, tall, wide])


def space_to_depth(op: Operation) -> Value:
    """SpaceToDepth: blocks of b by b positions become channels."""
    x, b, mode = op.tensor(0), op.integer("blocksize"), op.text("mode", "DCR")
    if b < 1 or op.rank(x) != 4 or mode not in {"DCR", "CRD"}:
        raise op.refuse(f"with blocks of {b} and mode {mode} cannot be read")
    if mode == "CRD":
        return op.call(aten.pixel_unshuffle.default, x, b)
    n, c, h, w = (op.size(x, i) for i in range(4))
    h, w = (op.arithmetic(operator.floordiv, s, b) for s in (h, w))
    parts = op.call(aten.reshape.default, x, [n, c, h, b, w, b])
    parts = op.call(aten.permute.default, parts, [0, 3, 5, 1, 2, 4])
    deep = op.arithmetic(operator.mul, c, b * b)
    return op.call(aten.reshape.default, parts, [n, deep, h, w])


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "EyeLike": eye_like,
    "Flatten": flatten,
    "Identity": identity,
    "Range": range_,
    "Reshape": reshape,
    "Shape": shape,
    "Size": size,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
}
