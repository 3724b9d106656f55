"""What an engine does not take as it is, in terms that it takes: rewriting ONNX models.

    weights:      y = (q - zero_point) * scale      computed once, in float32
    activations:  DequantizeLinear(QuantizeLinear(x)) becomes x

So a model of int8 weights and activations also runs as a float model whose weights are
rounded, where that is faster. The order of nodes, and all names that stay, are kept.

Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tersor.errors import FormatError, ModelError
from tersor.store.elements import Array
from tersor.store.gathered import Tables

_CARRIERS = {  # they move the elements of their first input, or of all
    *("Concat", "Flatten", "MaxPool", "Pad", "Reshape", "Slice"),
    *("Squeeze", "Transpose", "Unsqueeze"),
}
_DOMAINS = ("", "ai.onnx", "com.microsoft")


def expand_weights(onnx_model: bytes) -> bytes:
    """Replace every DequantizeLinear of initializers by the float initializer that it makes.

    So also every Gather of shared values, see `store.gathered`. Initializers, value infos and
    computations of constants that nothing uses any more are removed.

    Args:
        onnx_model: A whole ONNX file.

    Raises:
        FormatError: `onnx_model` is no ONNX file.
        ModelError: Codes, scales and zero points of a weight, or indices and a table of
            shared values, do not fit each other.
    """
    model = _parse(onnx_model)
    graph = model.graph
    constants = _constants(graph)
    tables = Tables(graph.node, constants)
    published = {output.name for output in graph.output}
    kept = []
    for node in graph.node:
        dense = None
        if not published.intersection(node.output):
            dense = _dense(node, constants, tables)
        if dense is None:
            kept.append(node)
        else:
            constants[node.output[0]] = numpy_helper.from_array(dense, node.output[0])
            graph.initializer.append(constants[node.output[0]])
    return _finish(model, _without(tables.computed, kept, published))


def check_tables(onnx_model: bytes) -> None:
    """Refuse a file in which a weight is gathered from beyond its table.

    Some engines would take 0 there, and nobody would be told.

    Raises:
        FormatError: It is one, or no ONNX file.
    """
    graph = _parse(onnx_model).graph
    tables = Tables(graph.node, _constants(graph))
    try:
        for node in graph.node:
            if _is(node, "Gather"):
                tables.dense(node)
    except ModelError as error:
        raise FormatError(f"{error.tensor} {error.problem}", offset=0) from None


def _dense(node: NodeProto, constants: dict[str, TensorProto], tables: Tables) -> Array | None:
    """The weight that a node makes of what is stored; None if it makes none."""
    if _is(node, "Gather"):
        return tables.dense(node)
    inputs = [name for name in node.input if name]
    if not _is(node, "DequantizeLinear") or any(name not in constants for name in inputs):
        return None
    return _dequantize(node, [numpy_helper.to_array(constants[name]) for name in inputs])


def _without(
    computed: set[str], nodes: Sequence[NodeProto], published: set[str]
) -> list[NodeProto]:
    """The nodes, less those that compute what nobody reads."""
    kept: list[NodeProto] = []
    used = set(published)
    for node in reversed(nodes):
        if not computed.issuperset(node.output) or used.intersection(node.output):
            kept.append(node)
            used |= _used([node])
    return kept[::-1]


def strip_activation_rounding(onnx_model: bytes) -> bytes:
    """Replace every pair of QuantizeLinear and DequantizeLinear on activations by an edge.

    A pair counts if both use the same scale and zero point; what only moves codes between
    them moves floats then. What the pair also does, clamping to the range of the codes, is
    gone with it. An output of the model keeps its name.

    Args:
        onnx_model: A whole ONNX file.

    Raises:
        FormatError: `onnx_model` is no ONNX file.
    """
    model = _parse(onnx_model)
    graph = model.graph
    constants = _constants(graph)
    inner = [output.name for part in _inner(graph.node) for output in part.output]
    published = {*inner, *(output.name for output in graph.output)}
    _move_floats(graph, constants, published)
    rounded = {
        node.output[0]: node
        for node in graph.node
        if _is(node, "QuantizeLinear") and node.input[0] not in constants
    }
    instead: dict[str, str] = {}
    kept = []
    for node in graph.node:
        first = rounded.get(node.input[0]) if _is(node, "DequantizeLinear") else None
        if first is None or not _same_parameters(first, node, constants):
            kept.append(node)
            continue
        origin = instead.get(first.input[0], first.input[0])
        if node.output[0] in published:
            kept.append(helper.make_node("Identity", [origin], [node.output[0]], node.name))
        else:
            instead[node.output[0]] = origin
    for node in [*kept, *(inner for part in _inner(kept) for inner in part.node)]:
        for index, name in enumerate(node.input):
            node.input[index] = instead.get(name, name)
    used = _used(kept) | published
    unused = [id(node) for node in rounded.values() if node.output[0] not in used]
    return _finish(model, [node for node in kept if id(node) not in unused])


def _move_floats(
    graph: GraphProto, constants: dict[str, TensorProto], published: set[str]
) -> None:
    """Let carriers of codes that one node dequantizes carry what these stand for instead."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    place = {name: i for i, node in enumerate(graph.node) for name in node.output}
    nodes: list[NodeProto] = []
    gone: set[int] = set()
    for node in reversed(graph.node):
        nodes.append(node)
        moved = node.output[0] if len(node.output) == 1 else ""
        ends = readers.get(moved, [])
        if len(ends) != 1 or moved in published or not _carries(node, ends[0], constants):
            continue
        for index, source in enumerate(_moved_by(node)):
            others = [reader for reader in readers[source] if reader is not node]
            first = next((r for r in others if _is_real(r, source, ends[0], constants)), None)
            if first is None or place[first.output[0]] > place[moved]:
                grid, real = ends[0].input[1:], f"{moved}.real{index or ''}"
                first = helper.make_node("DequantizeLinear", [source, *grid], [real])
                others.append(first)
                nodes.append(first)
                place[real] = place[moved]
            readers[source] = others
            node.input[index] = first.output[0]
        node.output[0] = ends[0].output[0]
        if node.op_type == "Pad":
            del node.input[2:]
        gone.add(id(ends[0]))
    kept = [node for node in reversed(nodes) if id(node) not in gone]
    del graph.node[:]
    graph.node.extend(kept)


def _is_real(
    node: NodeProto, codes: str, end: NodeProto, constants: dict[str, TensorProto]
) -> bool:
    """Whether the node gives what the codes stand for on the grid of `end`."""
    if not _is(node, "DequantizeLinear") or node.input[0] != codes:
        return False
    return _same_parameters(node, end, constants)


def _moved_by(node: NodeProto) -> list[str]:
    """The values that a carrier moves; its other inputs are settings."""
    return list(node.input if node.op_type == "Concat" else node.input[:1])


def _carries(node: NodeProto, end: NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Whether `node` moves codes of one scale, without adding others, and `end` reads them."""
    if node.op_type not in _CARRIERS or any(name in constants for name in _moved_by(node)):
        return False
    if not _is(node, node.op_type) or not _is(end, "DequantizeLinear"):
        return False
    scale = constants.get(end.input[1])
    if scale is None or np.prod(scale.dims) != 1 or end.input[0] != node.output[0]:
        return False
    return node.op_type != "Pad" or _pads_zeros(node, end)


def _pads_zeros(node: NodeProto, end: NodeProto) -> bool:
    """Whether it pads with the zero point."""
    modes = {a.s for a in node.attribute if a.name == "mode"} or {b"constant"}
    return modes == {b"constant"} and list(node.input[2:]) == list(end.input[2:])


def _parse(onnx_model: bytes) -> ModelProto:
    try:
        return onnx.load_model_from_string(onnx_model)
    except DecodeError as error:
        raise FormatError(f"this is no ONNX file ({error})", offset=0) from None


def _finish(model: ModelProto, nodes: list[NodeProto]) -> bytes:
    """The model with these nodes, without initializers and value infos of no use."""
    graph = model.graph
    used = _used(nodes) | {output.name for output in graph.output}
    tensors = [t for t in graph.initializer if t.name in used]
    made = {name for node in nodes for name in node.output}
    infos = [info for info in graph.value_info if info.name in made]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
    graph.value_info.extend(infos)
    return bytes(model.SerializeToString(deterministic=True))


def _is(node: NodeProto, op: str) -> bool:
    return bool(node.op_type == op and node.domain in _DOMAINS)


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Initializers that no caller can replace."""
    inputs = {port.name for port in graph.input}
    return {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}


def _inner(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    """All subgraphs of these nodes, and theirs."""
    for node in nodes:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield graph
                yield from _inner(graph.node)


def _used(nodes: Sequence[NodeProto]) -> set[str]:
    """Names that these nodes read, or a subgraph of theirs reads or returns."""
    used = {name for node in nodes for name in node.input}
    for graph in _inner(nodes):
        used.update(name for node in graph.node for name in node.input)
        used.update(output.name for output in graph.output)
    return used


def _same_parameters(
    first: NodeProto, second: NodeProto, constants: dict[str, TensorProto]
) -> bool:
    """Whether two nodes have the same scale and zero point, by name or by value."""

    def key(name: str) -> object:
        if name not in constants:
            return name
        array = numpy_helper.to_array(constants[name])
        return array.dtype.name, array.shape, array.tobytes()

    return [key(name) for name in first.input[1:]] == [key(name) for name in second.input[1:]]


def _dequantize(node: NodeProto, arrays: Sequence[Array]) -> Array:
    """(q - zero_point) * scale, of the shape of q and the type of scale."""
    codes, scale = arrays[0], arrays[1]
    zero_point = arrays[2] if len(arrays) > 2 else np.zeros_like(scale, codes.dtype)
    settings = {a.name: a.i for a in node.attribute}
    axis, block = settings.get("axis", 1), settings.get("block_size", 0)
    try:
        scale_at = _spread(scale, codes.shape, axis, block)
        zero_at = _spread(zero_point, codes.shape, axis, block)
    except ValueError:
        problem = f"has shape {codes.shape}, its scales {scale.shape} on axis {axis}"
        raise ModelError(node.output[0], problem, "The model is damaged.") from None
    exact = np.int64 if codes.dtype.kind in "iu" or "int" in codes.dtype.name else np.float32
    difference = (codes.astype(exact) - zero_at.astype(exact)).astype(np.float32)
    product: Array = difference * scale_at.astype(np.float32)
    return product.astype(scale.dtype)


def _spread(values: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Values per tensor, per index of `axis`, or per block along it, made to fit `shape`.

    Raises:
        ValueError: They cannot.
    """
    if values.size == 1:
        return values.reshape((1,) * len(shape))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(axis)
    if block:
        spread = np.repeat(values, block, axis=axis)[tuple(map(slice, shape))]
        return spread.reshape(shape)
    wanted = [1] * len(shape)
    wanted[axis] = shape[axis]
    return values.reshape(wanted)
