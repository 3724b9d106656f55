"""The element types that a .tsr file can hold, by their codes; the table is in FORMAT.md."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from tersor.errors import FormatError, InputError

Array = NDArray[np.generic]

SECTION = 0  # bytes that are no tensor

# Code -> name, bits. Part of the format: never changed, never used again.
ELEMENTS: dict[int, tuple[str, int]] = {
    1: ("bool", 8),
    2: ("int8", 8),
    3: ("uint8", 8),
    4: ("int16", 16),
    5: ("uint16", 16),
    6: ("int32", 32),
    7: ("uint32", 32),
    8: ("int64", 64),
    9: ("uint64", 64),
    10: ("float16", 16),
    11: ("float32", 32),
    12: ("float64", 64),
    13: ("bfloat16", 16),
    14: ("float8_e4m3fn", 8),
    15: ("float8_e4m3fnuz", 8),
    16: ("float8_e5m2", 8),
    17: ("float8_e5m2fnuz", 8),
    18: ("int4", 4),
    19: ("uint4", 4),
    20: ("float4_e2m1fn", 4),
    21: ("complex64", 64),
    22: ("complex128", 128),
}
CODES = {name: code for code, (name, _) in ELEMENTS.items()}
_FIRST_FOREIGN, _LAST_FOREIGN = 13, 20  # types that numpy itself does not know
_BOOL = 1
_COMPARED = 2**16  # bytes at once: copies fit the cache, and need no new pages


def byte_count(code: int, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor; two 4-bit elements share a byte.

    >>> byte_count(CODES["int4"], (3, 3))
    5
    """
    bits = 8 if code == SECTION else ELEMENTS[code][1]
    return (prod(shape) * bits + 7) // 8


def numpy_type(code: int) -> np.dtype[np.generic]:
    """The dtype of a code."""
    name = ELEMENTS[code][0]
    if _FIRST_FOREIGN <= code <= _LAST_FOREIGN:
        import ml_dtypes

        foreign: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return foreign
    return np.dtype(name).newbyteorder("<")


def code_of(name: str, array: Array) -> int:
    """The code of an array's element type; `name` is for the message.

    Raises:
        InputError: The format has none for it.
    """
    if array.dtype.name not in CODES:
        allowed = "one of " + ", ".join(CODES)
        raise InputError(f"dtype of {name}", got=array.dtype.name, allowed=allowed)
    return CODES[array.dtype.name]


def same_bytes(one: bytes | memoryview, other: bytes | memoryview) -> bool:
    """Whether both hold the same bytes; quicker than `==`, which takes memoryviews one by one.

    >>> same_bytes(b"ab", memoryview(b"ab")), same_bytes(b"ab", b"abc")
    (True, False)
    """
    if len(one) != len(other):
        return False
    return all(
        bytes(one[at : at + _COMPARED]) == bytes(other[at : at + _COMPARED])
        for at in range(0, len(one), _COMPARED)
    )


def to_bytes(array: Array, code: int) -> memoryview:
    """The elements in C order, little-endian; 4-bit ones packed, the earlier one low."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if ELEMENTS[code][1] < 8:
        nibbles = np.zeros(flat.size + flat.size % 2, np.uint8)
        nibbles[: flat.size] = flat.view(np.uint8) & 0xF
        return (nibbles[0::2] | nibbles[1::2] << 4).astype(np.uint8).data
    return flat.astype(numpy_type(code), copy=False).view(np.uint8).data


def from_bytes(data: bytes | memoryview, code: int, shape: tuple[int, ...]) -> Array:
    """The inverse of `to_bytes`; the array cannot be written to.

    Raises:
        FormatError: A truth value is neither 0 nor 1, or numpy has no such shape.
    """
    if code == _BOOL and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise FormatError("a truth value is neither 0 nor 1", offset=0)
    flat = np.frombuffer(data, np.uint8)
    if ELEMENTS[code][1] < 8:
        flat = np.stack([flat & 0xF, flat >> 4], axis=1).reshape(-1)[: prod(shape)]
    try:
        result = flat.view(numpy_type(code)).reshape(shape)
    except ValueError as error:
        raise FormatError(f"shape {shape} cannot be ({error})", offset=0) from None
    result.setflags(write=False)
    return result
