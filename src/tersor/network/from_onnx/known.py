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
_SHAPED_BY = {"ConstantOfShape": 0, "Expand": 1}  # which input holds the result's sizes


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
            chooses its course by an input.
    """
    for node, name in nodes:
        prefix = _PREFIXES.get(node.domain)
        problem = ""
        if prefix is None or prefix + node.op_type not in known_operators():
            whose = "" if prefix == "" else f"of the domain {node.domain!r} "
            problem = f"{whose}cannot be read"
        elif node.op_type == "If" and not inputs.isdisjoint(node.input):
            problem = "has a condition that depends on data"
        elif node.op_type in _SHAPED_BY:
            sizes = _integers(initializers.get("".join(_shape_of(node))))
            if math.prod(max(size, 1) for size in sizes) > most and 0 not in sizes:
                problem = f"makes a tensor of {sizes} elements"
        if problem:
            raise UnsupportedError(
                node=name, op=node.op_type, opset=f"opset {opset}", problem=problem
            )


def _shape_of(node: "NodeProto") -> list[str]:
    place = _SHAPED_BY[node.op_type]
    return list(node.input[place : place + 1])


def _integers(tensor: "TensorProto | None") -> list[int]:
    """The elements of a vector of int64 in the file itself; none of anything else."""
    if tensor is None or tensor.data_type != _INT64:
        return []
    if not tensor.raw_data:
        return list(tensor.int64_data)
    found = array("q")
    found.frombytes(tensor.raw_data[: len(tensor.raw_data) // 8 * 8])
    return found.tolist()
