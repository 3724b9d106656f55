"""Operators on symbolic sizes: what exporters write between Shape and Reshape.

These are asked first where an input is Sizes and all others are sizes, too, or constant
integers. A function that gives None leaves the work to the operator on tensors.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import DTYPES, Size, Sizes, Value

Array = NDArray[np.object_]
Function = Callable[[Operation, list[Sizes]], Any]
_MOST = 4096  # elements; real models have fewer than ten


def grows(inputs: list[Sizes]) -> bool:
    """Whether what is made of these may have more elements than sizes ever have."""
    first, *others = sorted((s.array.size for s in inputs), reverse=True)
    return first * max(others[:1], default=1) > _MOST


def _array(items: object) -> Array:
    return np.asarray(items, dtype=object)


def _elementwise(function: Callable[..., Any]) -> Function:
    """Python's operator on numbers, the same operator as a node on symbolic sizes."""

    def apply(op: Operation, inputs: list[Sizes]) -> Value:
        result = inputs[0].array
        for other in inputs[1:]:
            mixed = np.broadcast_arrays(result, other.array)
            items = [
                _one(op, function, a, b) for a, b in zip(*(m.flat for m in mixed), strict=True)
            ]
            array = np.empty(len(items), dtype=object)
            array[:] = items
            result = array.reshape(mixed[0].shape)
        return Sizes(result, inputs[0].dtype)

    return apply


def _one(op: Operation, function: Callable[..., Any], a: Size, b: Size) -> Size:
    neutral: dict[Callable[..., Any], int] = {operator.mul: 1, operator.floordiv: 1}
    if isinstance(b, int) and b == neutral.get(function, 0) and function is not operator.mod:
        return a
    is_neutral = isinstance(a, int) and a == neutral.get(function, 0)
    if function in {operator.mul, operator.add} and is_neutral:
        return b
    return op.arithmetic(function, a, b)


def divide(op: Operation, inputs: list[Sizes]) -> Value | None:
    """Div: towards zero, which for sizes and positive divisors is the floor."""
    if any(isinstance(d, fx.Node) or int(d) <= 0 for d in inputs[1].array.flat):
        return None
    if any(isinstance(d, int) and d < 0 for d in inputs[0].array.flat):
        return None
    result: Value = _elementwise(operator.floordiv)(op, inputs)
    return result


def equal(_: Operation, inputs: list[Sizes]) -> Value | None:
    """Equal, where it is sure: a symbolic size equals itself, and no negative number."""
    a, b = np.broadcast_arrays(inputs[0].array, inputs[1].array)
    results = [_equal(left, right) for left, right in zip(a.flat, b.flat, strict=True)]
    if None in results:
        return None
    return Sizes(_array(results).reshape(a.shape), torch.bool)


def _equal(a: Any, b: Any) -> bool | None:
    if a is b:
        return True
    if isinstance(a, fx.Node) and isinstance(b, fx.Node):
        return None
    if isinstance(a, fx.Node):
        return False if b < 0 else None
    if isinstance(b, fx.Node):
        return False if a < 0 else None
    return bool(a == b)


def where(_: Operation, inputs: list[Sizes]) -> Value | None:
    """Where, if the condition is known."""
    condition, a, b = inputs
    if not condition.is_known:
        return None
    array = np.where(condition.array.astype(bool), a.array, b.array)
    return Sizes(array, a.dtype)


def cast(op: Operation, inputs: list[Sizes]) -> Value | None:
    """Cast to integers."""
    dtype = DTYPES.get(op.integer("to"))
    return Sizes(inputs[0].array, dtype) if dtype in {torch.int64, torch.int32} else None


def gather(op: Operation, inputs: list[Sizes]) -> Value:
    """Gather."""
    data, indices = inputs
    wanted = indices.array.astype(np.int64)
    return Sizes(_array(np.take(data.array, wanted, axis=op.integer("axis", 0))), data.dtype)


def slice_(op: Operation, inputs: list[Sizes]) -> Value | None:
    """Slice of a vector of sizes, between known ends."""
    if inputs[0].array.ndim != 1 or not all(s.is_known for s in inputs[1:]):
        return None
    if op.opset < 10:
        starts, ends = op.integers("starts"), op.integers("ends")
        step = 1
    else:
        starts, ends = op.numbers(1), op.numbers(2)
        step = op.numbers(4)[0] if op.has(4) else 1
    if not starts or not ends:
        return None
    start, stop = starts[0], ends[0]
    length = len(inputs[0].array)
    if step < 0 and stop < -length:
        return Sizes(inputs[0].array[start::step], inputs[0].dtype)
    return Sizes(inputs[0].array[start:stop:step], inputs[0].dtype)


def concat(op: Operation, inputs: list[Sizes]) -> Value:
    """Concat."""
    arrays = [s.array for s in inputs]
    return Sizes(np.concatenate(arrays, axis=op.integer("axis")), inputs[0].dtype)


def reshape(op: Operation, inputs: list[Sizes]) -> Value:
    """Reshape."""
    return Sizes(inputs[0].array.reshape(op.numbers(1)), inputs[0].dtype)


def unsqueeze(op: Operation, inputs: list[Sizes]) -> Value:
    """Unsqueeze."""
    array = np.expand_dims(inputs[0].array, tuple(op.axes(13) or ()))
    return Sizes(_array(array), inputs[0].dtype)


def squeeze(op: Operation, inputs: list[Sizes]) -> Value:
    """Squeeze."""
    axes = op.axes(13)
    shape = list(inputs[0].array.shape)
    gone = (
        {i for i, d in enumerate(shape) if d == 1}
        if axes is None
        else {op.from_front(a, len(shape)) for a in axes}
    )
    kept = [d for i, d in enumerate(shape) if i not in gone]
    return Sizes(inputs[0].array.reshape(kept), inputs[0].dtype)


def split(op: Operation, inputs: list[Sizes]) -> tuple[Value, ...] | None:
    """Split of a vector."""
    data = inputs[0].array
    parts = op.numbers(1) if op.opset >= 13 and op.has(1) else op.integers("split")
    if data.ndim != 1:
        return None
    if parts is None:
        part = -(-len(data) // len(op.node.output))
        parts = [part] * len(op.node.output)
    ends = np.cumsum(parts)
    pairs = zip(ends - parts, ends, strict=True)
    return tuple(Sizes(data[a:b], inputs[0].dtype) for a, b in pairs)


def reduce_prod(op: Operation, inputs: list[Sizes]) -> Value | None:
    """ReduceProd of a whole vector."""
    if inputs[0].array.ndim != 1:
        return None
    product: Size = 1
    for item in inputs[0].array:
        product = _one(op, operator.mul, product, item)
    array = np.empty((1,) if op.integer("keepdims", 1) else (), dtype=object)
    array[...] = product
    return Sizes(array, inputs[0].dtype)


def expand(op: Operation, inputs: list[Sizes]) -> Value | None:
    """Expand to few elements."""
    wanted = op.numbers(1)
    if np.prod(wanted, dtype=np.float64) > _MOST:
        return None
    shape = np.broadcast_shapes(inputs[0].array.shape, tuple(wanted))
    return Sizes(np.broadcast_to(inputs[0].array, shape), inputs[0].dtype)


OPERATORS: dict[str, Function] = {
    "Add": _elementwise(operator.add),
    "Cast": cast,
    "Concat": concat,
    "Div": divide,
    "Equal": equal,
    "Expand": expand,
    "Gather": gather,
    "Mod": lambda op, inputs: (
        None if op.integer("fmod", 0) else _elementwise(operator.mod)(op, inputs)
    ),
    "Mul": _elementwise(operator.mul),
    "ReduceProd": reduce_prod,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Sub": _elementwise(operator.sub),
    "Unsqueeze": unsqueeze,
    "Where": where,
}
