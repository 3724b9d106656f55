"""A builder of ONNX graphs: finds names, collects nodes and constants, drops what is unused.

Values are strings, the names that they have in the file. While an operator is written, the
writer works in the scope of one node of the workshop graph: the operator's result gets the
name of that node, what lies on the way to it `node.hint`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tersor.codes.code import OnnxForm
from tersor.errors import ModelError
from tersor.network.network import Port

OPSET = 17
IR_VERSION = 8
LARGEST_INT = 2**63 - 1

Array = NDArray[np.generic]
Attribute = Any  # int, float, str, a list of them, or a TensorProto

ELEMENT_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.float16: TensorProto.FLOAT16,
    torch.int8: TensorProto.INT8,
    torch.int16: TensorProto.INT16,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
    torch.uint8: TensorProto.UINT8,
    torch.uint16: TensorProto.UINT16,
    torch.uint32: TensorProto.UINT32,
    torch.uint64: TensorProto.UINT64,
    torch.bool: TensorProto.BOOL,
}


def element_type(dtype: torch.dtype) -> int:
    """The number that ONNX has for `dtype`.

    Raises:
        ModelError: ONNX at this opset, or NumPy, does not know it.
    """
    if dtype not in ELEMENT_TYPES:
        raise ModelError(f"A tensor of {dtype}", "cannot be written to ONNX", "Cast it first.")
    return int(ELEMENT_TYPES[dtype])


def numpy_type(dtype: torch.dtype) -> np.dtype[np.generic]:
    """The NumPy type of `dtype`; errors as `element_type`."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(element_type(dtype)))


def port_info(port: Port) -> onnx.ValueInfoProto:
    """An input or output as ONNX describes it."""
    kind = element_type(getattr(torch, port.dtype))
    return helper.make_tensor_value_info(port.name, kind, port.shape)


@dataclass(slots=True)
class Node:
    """A node to be written."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)

    def rename(self, old: str, new: str) -> None:
        """Call the value `old` `new` here."""
        self.inputs = [new if name == old else name for name in self.inputs]
        self.outputs = [new if name == old else name for name in self.outputs]


class Writer:
    """A graph under construction.

    Attributes:
        nodes: What was written so far, in order of execution.
        transposed: Weights to be stored with rows and columns exchanged.
        floats: Weights to be stored as the floats that they stand for.
        gates: Weights of recurrent layers to be stored as ONNX has them, and the order of
            the gates there.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self.nodes: list[Node] = []
        self.transposed: set[str] = set()
        self.floats: set[str] = set()
        self.gates: dict[str, tuple[int, ...]] = {}
        self._taken = set(taken)
        self._scope, self._start = "graph", 0
        self._initializers: dict[str, Array] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def enter(self, scope: str) -> None:
        """From now on everything belongs to the workshop node called `scope`."""
        self._scope, self._start = scope, len(self.nodes)

    def settle(self, value: str) -> str:
        """Give `value`, if it was computed in this scope, the scope's own name."""
        mine = self.nodes[self._start :]
        if not any(value in node.outputs for node in mine):
            return value
        name = self.unique(self._scope)
        for node in mine:
            node.rename(value, name)
        return name

    def unique(self, wanted: str) -> str:
        """A name that nobody has: `wanted`, or `wanted` and a number."""
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def node(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """Write a node of one output, and return the output. An empty input is left out."""
        return self.node_of(op, inputs, 1, **attributes)[0]

    def transpose_of(self, value: str) -> str | None:
        """The matrix of which `value` is the transpose, if a node made it so."""
        for node in reversed(self.nodes):
            if node.op == "Transpose" and node.outputs == [value]:
                return node.inputs[0] if node.attributes["perm"] == [1, 0] else None
        return None

    def node_of(
        self, op: str, inputs: Sequence[str], outputs: int, **attributes: Attribute
    ) -> list[str]:
        """Write a node of several outputs, and return them."""
        names = [self.unique(f"{self._scope}.{op.lower()}") for _ in range(outputs)]
        self.nodes.append(Node(op, list(inputs), names, attributes))
        return names

    def constant(self, array: object, dtype: torch.dtype, hint: str = "constant") -> str:
        """Store a constant, once for all that have the same type, shape and bits."""
        value = np.array(array, dtype=numpy_type(dtype))
        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._constants:
            name = self.unique(f"{self._scope}.{hint}")
            self._initializers[name] = value
            self._constants[key] = name
        return self._constants[key]

    def constant_at(self, name: str) -> Array | None:
        """The stored constant of that name; None if it is computed, or not there yet."""
        return self._initializers.get(name)

    def initializer(self, name: str, array: Array) -> str:
        """Store an array under exactly this name; the same name again changes nothing."""
        self._taken.add(name)
        self._initializers.setdefault(name, array)
        return name

    def ints(self, values: Sequence[int | str], hint: str = "sizes") -> str:
        """An int64 vector of whole numbers, some of them computed (vectors of one element)."""
        pieces: list[str] = []
        run: list[int] = []
        for value in values:
            if isinstance(value, int):
                run.append(value)
                continue
            if run:
                pieces.append(self.constant(run, torch.int64, hint))
                run = []
            pieces.append(value)
        if run or not pieces:
            pieces.append(self.constant(run, torch.int64, hint))
        return pieces[0] if len(pieces) == 1 else self.node("Concat", *pieces, axis=0)

    def cast(self, value: str, dtype: torch.dtype) -> str:
        """The value with elements of type `dtype`."""
        return self.node("Cast", value, to=element_type(dtype))

    def publish(self, value: str, port: str, ends: set[str]) -> None:
        """Make `value` the output `port`; `ends` are the values that must keep their names."""
        if value in ends or not any(value in node.outputs for node in self.nodes):
            self.nodes.append(Node("Identity", [value], [port]))
        else:
            for node in self.nodes:
                node.rename(value, port)

    def expand(self, form_of: Callable[[str], OnnxForm | None]) -> None:
        """Put the form of each weight in front of its first user."""
        result: list[Node] = []
        done: set[str] = set()
        for node in self.nodes:
            for name in node.inputs:
                form = None if name in done else form_of(name)
                done.add(name)
                if form is not None:
                    result += self._materialize(form)
            result.append(node)
        self.nodes = result

    def _materialize(self, form: OnnxForm) -> list[Node]:
        for name, array in form.initializers.items():
            self.initializer(name, array)
        return [
            Node(n.op, list(n.inputs), list(n.outputs), dict(n.attributes)) for n in form.nodes
        ]

    def prune(self, outputs: Iterable[str]) -> None:
        """Drop every node that no output needs."""
        needed = set(outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]

    def serialize(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
    ) -> bytes:
        """The bytes of the file; only what is used is stored."""
        used = {name for node in self.nodes for name in node.inputs}
        graph = helper.make_graph(
            [
                helper.make_node(n.op, n.inputs, n.outputs, name=n.outputs[0], **n.attributes)
                for n in self.nodes
            ],
            "network",
            [port_info(port) for port in inputs],
            [port_info(port) for port in outputs],
            [
                numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
                for name, array in self._initializers.items()
                if name in used
            ],
        )
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            producer_name="tersor",
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        return bytes(model.SerializeToString(deterministic=True))
