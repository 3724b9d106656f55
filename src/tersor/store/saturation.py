"""Whether a model in integers may saturate on processors without integer dot products.

Kernels there add two products of uint8 activations and int8 weights in 16 bits (see
`arrays.saturation`). Codes of at most 64 in magnitude are safe, for 255 * (64 + 64) < 2^15:
weights of seven bits. A model with larger ones that was made elsewhere may give other outputs
there, and nobody would be told.
"""

from collections.abc import Collection

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import NodeProto, TensorProto, numpy_helper

from tersor.machine import pairs_saturate

_SAFE = 64
_PRODUCTS = {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
_HELD = {"DequantizeLinear", *_PRODUCTS}
_REMEDY = "Compress it on such a machine, or with weight_bits = 7."


def warning_here(onnx_model: bytes, flags: Collection[str]) -> str | None:
    """What to tell of a model on a processor of these instruction sets; None if it is safe.

    Bytes that are no model are left to the engine.
    """
    if not pairs_saturate(flags) or not may_saturate(onnx_model):
        return None
    return (
        "Its weights have eight bits, and this processor adds pairs of products in 16 bits, "
        f"with saturation: outputs may differ from those measured elsewhere. {_REMEDY}"
    )


def warning_elsewhere(onnx_model: bytes, flags: Collection[str]) -> str | None:
    """What to tell of a model where it is safe, for processors where it is not."""
    if pairs_saturate(flags) or not may_saturate(onnx_model):
        return None
    return (
        "Its weights have eight bits: x86 processors without VNNI or AMX may saturate, "
        f"and give other outputs than those measured here. {_REMEDY}"
    )


def may_saturate(onnx_model: bytes) -> bool:
    """Whether activations are rounded to uint8, and weights to int8 beyond 64 in magnitude."""
    try:
        graph = onnx.load_model_from_string(onnx_model).graph
    except DecodeError:
        return False
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    if not any(_gives_uint8(node, tensors) for node in graph.node):
        return False
    held = {name for node in graph.node if node.op_type in _HELD for name in node.input}
    return any(_is_large(tensors[name]) for name in held if name in tensors)


def _gives_uint8(node: NodeProto, tensors: dict[str, TensorProto]) -> bool:
    if node.op_type == "DynamicQuantizeLinear":
        return True
    if node.op_type != "QuantizeLinear":
        return False
    zero = tensors.get(node.input[2]) if len(node.input) > 2 else None
    return zero is None or zero.data_type == TensorProto.UINT8


def _is_large(tensor: TensorProto) -> bool:
    if tensor.data_type != TensorProto.INT8 or len(tensor.dims) < 2:
        return False
    codes = numpy_helper.to_array(tensor).astype(np.int16)
    return bool(np.abs(codes).max(initial=0) > _SAFE)
