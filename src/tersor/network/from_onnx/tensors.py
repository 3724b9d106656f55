"""Tensors of an ONNX file, whose sizes are checked against their data before use."""

import math
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, numpy_helper

from tersor.errors import FormatError, ModelError
from tersor.network.from_onnx.external import bytes_of, elements_of, is_elsewhere
from tersor.network.from_onnx.values import DTYPES
from tersor.network.from_onnx.wire import BITS

_BYTES_MOST = 1 << 40
# Where the elements are if they are not raw; all other types are in int32_data.
_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.UINT32: "uint64_data",
}
FOUR_BITS: frozenset[int] = frozenset({TensorProto.INT4, TensorProto.UINT4})


def tensor_of(proto: TensorProto, folder: Path | None) -> torch.Tensor:
    """The tensor that `proto` holds; it owns its memory.

    Four-bit integers come as int8 or uint8.

    Args:
        proto: A tensor of the file.
        folder: Where external data files may lie; None if there is no folder.

    Raises:
        ModelError: The element type is none that Tersor reads.
        FormatError: The data are not what type and shape say.
    """
    name, kind = proto.name or "a constant", proto.data_type
    if kind not in DTYPES and kind not in FOUR_BITS:
        raise ModelError(name, f"holds {_type_name(kind)}", "Convert it to a type of numpy.")
    shape = tuple(proto.dims)
    if any(d < 0 for d in shape) or math.prod(shape) > _BYTES_MOST:
        raise FormatError(f"{name} has the shape {shape}", offset=0)
    if is_elsewhere(proto):
        data = elements_of(proto, folder, bytes_of(proto))
        return _from_raw(name, kind, shape, data)
    if proto.HasField("raw_data"):
        return _from_raw(name, kind, shape, proto.raw_data)
    count = len(getattr(proto, _FIELDS.get(kind, "int32_data")))
    wanted = (math.prod(shape) + 1) // 2 if kind in FOUR_BITS else math.prod(shape)
    if count != wanted:
        raise FormatError(f"{name} has {count} elements where {wanted} belong", offset=0)
    try:
        array = numpy_helper.to_array(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{name} cannot be decoded: {error}", offset=0) from None
    return _torch(np.array(array), kind)


def _from_raw(name: str, kind: int, shape: tuple[int, ...], raw: bytes) -> torch.Tensor:
    wanted = -(-math.prod(shape) * BITS[kind] // 8)
    if len(raw) != wanted:
        raise FormatError(f"{name} has {len(raw)} bytes where {wanted} belong", offset=0)
    if kind in FOUR_BITS:
        pairs = np.frombuffer(raw, np.uint8)
        codes = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(-1)[: math.prod(shape)]
        if kind == TensorProto.INT4:
            codes = ((codes ^ 8).astype(np.int8) - 8).astype(np.int8)
        return torch.from_numpy(codes.reshape(shape).copy())
    if not raw:
        return torch.zeros(shape, dtype=DTYPES[kind])
    return torch.frombuffer(bytearray(raw), dtype=DTYPES[kind]).reshape(shape)


def _torch(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], kind: int
) -> torch.Tensor:
    if kind == TensorProto.BFLOAT16:
        bits = torch.from_numpy(array.view(np.int16))
        return bits.view(torch.bfloat16)
    if kind in FOUR_BITS:
        array = array.astype(np.int8 if kind == TensorProto.INT4 else np.uint8)
    return torch.from_numpy(array)


def _type_name(kind: int) -> str:
    known = kind in TensorProto.DataType.values()
    return f"elements of type {TensorProto.DataType.Name(kind) if known else kind}"
