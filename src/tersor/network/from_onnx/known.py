"""Which operators can be read, told without the functions that read them: these need torch.

`operators.txt` holds the names, one per line; `python -m tersor.network.from_onnx.listing
--names > src/tersor/network/from_onnx/operators.txt` writes it again.
"""

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from tersor.errors import UnsupportedError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

_PREFIXES = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft."}
_INT64 = 7  # what ONNX calls the type
_SIZED_BY = {  # which input holds sizes of the result, or factors for them, and how it is said
    "ConstantOfShape": (0, "of {} elements"),
    "Expand": (1, "of {} elements"),
    "Resize": (3, "of {} elements"),
    "Tile": (1, "{} times as large"),
}
_CARRIES_ON = {  # what depends on data makes results of these depend on data
    *("Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Div", "Equal", "Gather", "Greater"),
    *("GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual", "Mul", "Neg"),
    *("Not", "Or", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "Xor"),
    *("ReduceSum", "Reshape", "Sigmoid", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where"),
}


@cache
def known_operators() -> frozenset[str]:
    """Names of the operators; those of other domains than ONNX's own begin with the domain."""
    text = files("tersor.network.from_onnx").joinpath("operators.txt").read_text("ascii")
    return frozenset(text.split())


def needed(graph: "GraphProto") -> list[bool]:
    """Which nodes the outputs need."""
    wanted = {output.name for output in graph.output}
    alive = []
    for node in reversed(graph.node):
        alive.append(not wanted.isdisjoint(filter(None, node.output)))
        if alive[-1]:
            wanted.update(reads(node))
    return alive[::-1]


def reads(node: "NodeProto") -> Iterator[str]:
    """Names that a node reads: its inputs, and what graphs within it read from outside."""
    yield from filter(None, node.input)
    for graph in _within(node):
        made = {port.name for port in graph.input} | {w.name for w in graph.initializer}
        for inner in graph.node:
            yield from (name for name in reads(inner) if name not in made)
            made.update(inner.output)
        yield from (output.name for output in graph.output if output.name not in made)


def all_nodes(graph: "GraphProto") -> "Iterator[NodeProto]":
    """The nodes of a graph, and those of graphs within them."""
    for node in graph.node:
        yield node
        for inner in _within(node):
            yield from all_nodes(inner)


def _within(node: "NodeProto") -> "list[GraphProto]":
    return [a.g for a in node.attribute if a.HasField("g")]


def check_operators(
    nodes: "Iterable[tuple[NodeProto, str]]",
    inputs: Set[str],
    initializers: "Mapping[str, TensorProto]",
    opset: int,
    most: int,
) -> None:
    """Look at what can be told of nodes by themselves.

    Args:
        nodes: Those that the outputs need, and their names.
        inputs: Names of what a caller gives.
        initializers: What the file gives, by name.
        opset: Of the default domain.
        most: Elements of a tensor that a node may make.

    Raises:
        UnsupportedError: One is of no known operator, makes a tensor larger than that, or
            chooses its course by an input or by what is computed from inputs.
    """
    data = set(inputs)  # names of what depends on values that a caller gives
    for node, name in nodes:
        problem = _problem(node, data, initializers, most)
        if problem:
            raise UnsupportedError(
                node=name, op=node.op_type, opset=f"opset {opset}", problem=problem
            )
        if node.op_type in _CARRIES_ON and not data.isdisjoint(node.input):
            data.update(filter(None, node.output))


def _problem(
    node: "NodeProto", data: Set[str], initializers: "Mapping[str, TensorProto]", most: int
) -> str:
    """Why a node cannot be read; "" if nothing speaks against it yet."""
    prefix = _PREFIXES.get(node.domain)
    if prefix is None or prefix + node.op_type not in known_operators():
        whose = "" if prefix == "" else f"of the domain {node.domain!r} "
        return f"{whose}cannot be read"
    if node.op_type == "If" and not data.isdisjoint(node.input):
        return "has a condition that depends on data"
    if node.op_type in _SIZED_BY:
        place, words = _SIZED_BY[node.op_type]
        sizes = _integers(initializers.get("".join(node.input[place : place + 1])))
        if math.prod(max(size, 1) for size in sizes) > most and 0 not in sizes:
            return "makes a tensor " + words.format(sizes)
    return ""


def _integers(tensor: "TensorProto | None") -> list[int]:
    """The elements of a vector of int64 in the file itself; none of anything else."""
    if tensor is None or tensor.data_type != _INT64:
        return []
    if not tensor.raw_data:
        return list(tensor.int64_data)
    found = array("q")
    found.frombytes(tensor.raw_data[: len(tensor.raw_data) // 8 * 8])
    return found.tolist()
