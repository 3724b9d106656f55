"""An ONNX file, parsed and checked as far as that needs neither torch nor the onnx package.

So a bad file is refused before anything large is imported: bytes that are no model, bombs,
tensors and inputs of impossible sizes, data outside the model's folder, graphs with cycles
or loose ends, operators and operator sets that are not known.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.errors import FileError, FormatError, ModelError
from tersor.network.from_onnx.external import bytes_of, is_elsewhere, place_of, tensors_of
from tersor.network.from_onnx.known import check_operators, needed, reads
from tersor.network.from_onnx.messages import messages
from tersor.network.from_onnx.wire import BITS, look_over

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

LARGEST_BYTES = 1 << 34  # of one tensor that a network computes
DEFAULT_DOMAIN = ("", "ai.onnx")
OPSETS = range(7, 29)  # of the default domain: up to the newest that the onnx package knows
_FILE_MOST = (1 << 31) - 1  # bytes: what protobuf itself allows


@dataclass(frozen=True)
class OnnxFile:
    """A file that passed the first checks.

    Attributes:
        model: All of it, parsed.
        folder: Where its other files may lie; None if it came as bytes.
        inputs: What a caller gives.
        initializers: What the file gives, by name.
        names: Of the nodes, in order; of one without a name, that of its first output.
        alive: Of the nodes, in order: whether the outputs need it.
        readers: How many nodes and outputs read each value.
        opset: Of the default domain, one of `OPSETS`.
    """

    model: "ModelProto"
    folder: Path | None
    inputs: list["ValueInfoProto"]
    initializers: dict[str, "TensorProto"]
    names: list[str]
    alive: list[bool]
    readers: dict[str, int]
    opset: int

    @property
    def graph(self) -> "GraphProto":
        """The main graph."""
        return self.model.graph


def parse(model: bytes | Path) -> OnnxFile:
    """The parts of an ONNX file.

    Args:
        model: The bytes of a file, or its path. Only with a path may weights lie in other
            files, within the same folder.

    Raises:
        FileError: The file, or one beside it, cannot be read.
        FormatError: The bytes are no ONNX model, or its tensors are damaged.
        ModelError: The graph is not a valid one, or larger than any memory.
        UnsupportedError: A node that the outputs need is of no known operator.
    """
    folder = model.parent if isinstance(model, Path) else None
    proto = _parsed(_bytes(model) if isinstance(model, Path) else model)
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise FormatError("The model holds a name that is no text", offset=0)
    graph = proto.graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(name, "is a sparse initializer", "Make it dense.")
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in initializers]
    for info in inputs:
        _check_input(info)
    for tensor in tensors_of(graph):
        if is_elsewhere(tensor):
            place_of(tensor, folder, bytes_of(tensor))
    names = [node.name or next(iter(node.output), "") for node in graph.node]
    readers = _readers(graph, inputs, names)
    opset, alive = _opset(proto), needed(graph)
    found = zip(graph.node, names, alive, strict=True)
    nodes = ((node, name) for node, name, is_needed in found if is_needed)
    given = {info.name for info in inputs}
    check_operators(nodes, given, initializers, opset, LARGEST_BYTES)
    return OnnxFile(proto, folder, inputs, initializers, names, alive, readers, opset)


def too_large(name: str) -> ModelError:
    """What is said of an input that no memory holds."""
    remedy = "The model is not valid, or not meant for one machine."
    return ModelError(f"Input {name!r}", "is larger than any memory", remedy)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _FILE_MOST:
            raise FileError(path, "exceeds 2 GiB", "Keep large weights in a file beside it.")
        return path.read_bytes()
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise FileError(path, reason, "Check the path.") from None


def _parsed(data: bytes) -> "ModelProto":
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if len(data) > _FILE_MOST:
        raise FormatError("The model exceeds 2 GiB", offset=_FILE_MOST)
    look_over(data)
    proto: ModelProto = messages().ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise FormatError("This is no ONNX model, or it is cut short", offset=0) from None
    if not proto.HasField("graph") or not proto.graph.output:
        raise FormatError("The model has no graph with outputs", offset=0)
    return proto


def _texts(proto: "ModelProto") -> Iterator[object]:
    """All names; protobuf gives those that are no UTF-8 as bytes."""
    graph = proto.graph
    for entry in proto.opset_import:
        yield entry.domain
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (text for e in tensor.external_data for text in (e.key, e.value))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _opset(proto: "ModelProto") -> int:
    versions = {entry.domain: int(entry.version) for entry in proto.opset_import}
    found = next((versions[name] for name in DEFAULT_DOMAIN if name in versions), None)
    if found is None:
        raise ModelError("The model", "does not say which opset it uses", "Export it again.")
    if found not in OPSETS:
        remedy = f"Tersor reads {OPSETS.start} to {OPSETS.stop - 1}; convert it."
        raise ModelError("The model", f"uses opset {found}", remedy)
    return found


def _check_input(info: "ValueInfoProto") -> None:
    """Refuse an input whose fixed sizes alone are more than any memory holds."""
    kind = info.type.tensor_type
    sizes = [dim.dim_value for dim in kind.shape.dim if dim.dim_value > 0]
    if math.prod(sizes) * BITS.get(kind.elem_type, 8) > 8 * LARGEST_BYTES:
        raise too_large(info.name)


def _readers(
    graph: "GraphProto", inputs: list["ValueInfoProto"], names: list[str]
) -> dict[str, int]:
    """How many read each value; every value is made once, before it is read."""
    made = {info.name for info in inputs} | {tensor.name for tensor in graph.initializer}
    if len(made) != len(inputs) + len(graph.initializer):
        remedy = "Export the model again."
        raise ModelError("The model", "gives two values the same name", remedy)
    readers: dict[str, int] = {}
    for node, name in zip(graph.node, names, strict=True):
        for value in reads(node):
            if value not in made:
                problem = f"is read by node {name!r} before any node makes it"
                raise ModelError(repr(value), problem, "Export the model again.")
            readers[value] = readers.get(value, 0) + 1
        for value in filter(None, node.output):
            if value in made:
                raise ModelError(repr(value), "is made twice", "Export the model again.")
            made.add(value)
    for output in graph.output:
        if output.name not in made:
            problem = "is an output, but no node makes it"
            raise ModelError(repr(output.name), problem, "Export the model again.")
        readers[output.name] = readers.get(output.name, 0) + 1
    return readers
