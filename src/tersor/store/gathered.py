"""Weights that an ONNX model gathers from a table of numbers, computed while loading.

    w = table[indices],   table and indices stored, or computed from what is stored

So look weights of shared values: of the code `Codebook` the indices are stored, of `Hashed`
they are computed.

Source: https://onnx.ai/onnx/operators/onnx__Gather.html
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tersor.errors import ModelError
from tersor.store.elements import Array

_MOST = 2**27  # elements of a result: larger ones are left to the engine
_DEEPEST = 12  # operations in a row
_FAILURES = (ValueError, TypeError, IndexError, ArithmeticError)
_REMEDY = "The model is damaged."


class Tables:
    """The tables of a graph, and what is gathered from them.

    Args:
        nodes: All nodes of the graph.
        constants: Its initializers, by name.

    Attributes:
        computed: Names of what was computed on the way, so that it need not be again.
    """

    def __init__(
        self, nodes: Sequence[NodeProto], constants: Mapping[str, TensorProto]
    ) -> None:
        self._makers = {
            name: n for n in nodes if n.op_type in _OPERATIONS for name in n.output[:1]
        }
        self._constants = constants
        self.computed: set[str] = set()

    def dense(self, node: NodeProto) -> Array | None:
        """The weight that a Gather makes; None if it makes none.

        Raises:
            ModelError: An index is not in the table, or the parts do not fit each other.
        """
        if _integer(node, "axis") != 0 or (len(node.input), len(node.output)) != (2, 1):
            return None
        known: dict[str, Array | None] = {}
        table = self._value(node.input[0], known, _DEEPEST)
        if table is None or table.ndim != 1 or table.dtype != np.float32:
            return None
        indices = self._value(node.input[1], known, _DEEPEST)
        if indices is None or indices.dtype.kind != "i":
            return None
        low, high = int(indices.min(initial=0)), int(indices.max(initial=0))
        if low < -table.size or high >= table.size:
            problem = f"has indices from {low} to {high} into {table.size} numbers"
            raise ModelError(node.output[0], problem, _REMEDY)
        weight: Array = table[indices]
        return weight

    def _value(self, name: str, known: dict[str, Array | None], depth: int) -> Array | None:
        """What is stored under a name, or computed from what is stored; None if neither."""
        if name in self._constants:
            return _stored(self._constants[name])
        if name not in known:
            node = self._makers.get(name)
            known[name] = None if node is None else self._computed(node, known, depth - 1)
        return known[name]

    def _computed(
        self, node: NodeProto, known: dict[str, Array | None], depth: int
    ) -> Array | None:
        if depth < 0:
            return None
        inputs = []
        for name in node.input:
            value = self._value(name, known, depth)
            if value is None:
                return None
            inputs.append(value)
        try:
            result = _OPERATIONS[node.op_type](node, inputs)
        except _FAILURES as error:
            problem = f"cannot be computed ({error})"
            raise ModelError(node.output[0], problem, _REMEDY) from None
        if result is not None:
            self.computed.update(node.output)
        return result


def _stored(tensor: TensorProto) -> Array:
    try:
        array: Array = numpy_helper.to_array(tensor)
    except _FAILURES as error:
        raise ModelError(tensor.name, f"cannot be read ({error})", _REMEDY) from None
    return array


Operation = Callable[[NodeProto, Sequence[Array]], Array | None]


def _integer(node: NodeProto, name: str) -> int:
    """An attribute; 0 by default."""
    return next((int(a.i) for a in node.attribute if a.name == name), 0)


def _cast(node: NodeProto, inputs: Sequence[Array]) -> Array | None:
    kind = _integer(node, "to")
    if kind not in (TensorProto.INT32, TensorProto.INT64) or inputs[0].dtype.kind not in "iu":
        return None
    return inputs[0].astype(helper.tensor_dtype_to_np_dtype(kind))


def _concat(node: NodeProto, inputs: Sequence[Array]) -> Array | None:
    if sum(array.size for array in inputs) > _MOST:
        return None
    return np.concatenate(inputs, axis=_integer(node, "axis"))


def _mod(node: NodeProto, inputs: Sequence[Array]) -> Array | None:
    """The remainder has the sign of the divisor."""
    if _integer(node, "fmod") or not _are_whole(inputs) or not inputs[1].all():
        return None
    return np.remainder(*inputs)


def _mul(_: NodeProto, inputs: Sequence[Array]) -> Array | None:
    return np.multiply(*inputs) if _are_whole(inputs) else None


def _are_whole(inputs: Sequence[Array]) -> bool:
    """Whether they are integers of one type, of which an operation makes few more."""
    kinds = {array.dtype for array in inputs}
    size = prod(np.broadcast_shapes(*(array.shape for array in inputs)))
    return kinds <= {np.dtype(np.int64)} and len(inputs) == 2 and size <= _MOST


def _neg(_: NodeProto, inputs: Sequence[Array]) -> Array | None:
    return np.negative(inputs[0]) if inputs[0].dtype.kind in "if" else None


def _range(_: NodeProto, inputs: Sequence[Array]) -> Array | None:
    start, stop, step = (int(array.reshape(())) for array in inputs)
    numbers = range(start, stop, step)
    if any(array.dtype != np.int64 for array in inputs) or len(numbers) > _MOST:
        return None
    return np.arange(start, stop, step, dtype=np.int64)


def _reshape(_: NodeProto, inputs: Sequence[Array]) -> Array | None:
    shape = [int(size) for size in inputs[1].reshape(-1)]
    return inputs[0].reshape(shape) if 0 not in shape else None


_OPERATIONS: dict[str, Operation] = {
    "Cast": _cast,
    "Concat": _concat,
    "Mod": _mod,
    "Mul": _mul,
    "Neg": _neg,
    "Range": _range,
    "Reshape": _reshape,
}
