"""Operators that ONNX itself defines by others: read through that definition.

ONNX gives such operators a body, a small graph of older ones. Those that have no function of
their own here are read node by node from it.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import onnx
from onnx import FunctionProto, NodeProto, TypeProto, defs

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import DTYPES, Codes, Sizes, Value

_KINDS = {dtype: kind for kind, dtype in DTYPES.items()}


@cache
def defined_by_others() -> frozenset[str]:
    """The operators of ONNX that have a body."""
    schemas: list[Any] = [s for s in defs.get_all_schemas() if s.domain == ""]
    return frozenset(
        s.name for s in schemas if s.has_function or s.has_context_dependent_function
    )


def body_of(op: Operation) -> FunctionProto | None:
    """The definition of a node by others; None if it has none at this opset."""
    if not defs.has(op.node.op_type, op.opset, ""):
        return None
    schema: Any = defs.get_schema(op.node.op_type, op.opset, "")
    data = b""
    if schema.has_context_dependent_function:
        versions = schema.context_dependent_function_opset_versions
        version = max(v for v in versions if v <= op.opset)
        types = [_type(op, value).SerializeToString() for value in op.inputs]
        node = op.node.SerializeToString()
        data = schema.get_context_dependent_function_with_opset_version(version, node, types)
    elif schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= op.opset)
        data = schema.get_function_with_opset_version(version)
    body = FunctionProto()
    body.ParseFromString(data)
    return body if body.node else None


def _type(op: Operation, value: Value | None) -> TypeProto:
    """What ONNX calls the type of a value, with the sizes that are fixed."""
    if value is None:
        return TypeProto()
    if isinstance(value, Sizes):
        return onnx.helper.make_tensor_type_proto(_KINDS[value.dtype], value.array.shape)
    kind = value.dtype if isinstance(value, Codes) else op.dtype(value)
    tensor = value.source if isinstance(value, Codes) else value
    return onnx.helper.make_tensor_type_proto(_KINDS[kind], op.shape(tensor))


def nodes_of(body: FunctionProto, node: NodeProto) -> Iterator[NodeProto]:
    """The nodes of a body, with the attributes that `node` gives or that are the default."""
    given = {a.name: a for a in (*body.attribute_proto, *node.attribute)}
    for inner in body.node:
        filled = NodeProto()
        filled.CopyFrom(inner)
        del filled.attribute[:]
        for attribute in inner.attribute:
            source = (
                given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            )
            if source is not None:
                copy = filled.attribute.add()
                copy.CopyFrom(source)
                copy.name = attribute.name
        yield filled
