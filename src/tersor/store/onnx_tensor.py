"""ONNX's TensorProto on the wire: element types, and the bytes in front of the elements."""

from tersor.store.directory import Entry
from tersor.store.elements import CODES
from tersor.store.varint import text, varint

# onnx.TensorProto.DataType -> our name.
TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
}
_NUMBERS = {CODES[name]: number for number, name in TYPES.items()}

# Tags: field number * 8 + wire type.
_INITIALIZER, _DIMS, _DATA_TYPE, _NAME, _RAW_DATA = b"\x2a", b"\x08", b"\x10", b"\x42", b"\x4a"


def can_be_written(entry: Entry) -> bool:
    """Whether ONNX knows the element type."""
    return entry.code in _NUMBERS


def initializer_head(entry: Entry) -> bytes:
    """An initializer of a GraphProto, from its tag up to its first element."""
    body = b"".join(
        [
            *(_DIMS + varint(size) for size in entry.shape),
            _DATA_TYPE + varint(_NUMBERS[entry.code]),
            _NAME + text(entry.name) if entry.name else b"",
            _RAW_DATA + varint(entry.size),
        ]
    )
    return _INITIALIZER + varint(len(body) + entry.size) + body
