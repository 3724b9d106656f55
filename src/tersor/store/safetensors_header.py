"""Where the tensors are in a .safetensors file.

Eight bytes give the length of a JSON object, which gives for each tensor its type, its shape
and its bytes, counted from the end of the object.

Source: https://github.com/huggingface/safetensors, README, "Format"
"""

import json
from itertools import pairwise
from typing import TypeGuard

from tersor.errors import FormatError
from tersor.store.directory import MOST_DIMENSIONS, Entry
from tersor.store.elements import CODES
from tersor.store.skeleton import Buffer, Hole

_LENGTH_BYTES = 8
_LONGEST = 100_000_000  # the bound of the format's own reader
_TYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
}


def find(data: Buffer) -> list[Hole]:
    """All tensors that are not empty, in order of place.

    Raises:
        FormatError: `data` is no .safetensors file, or cut.
    """
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + length
    if length > _LONGEST or begin > len(data):
        raise FormatError(f"a header of {length} bytes cannot be", offset=0)
    try:
        header = json.loads(bytes(data[_LENGTH_BYTES:begin]))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not JSON ({error})", offset=_LENGTH_BYTES) from None
    if not isinstance(header, dict):
        raise FormatError("the header is not a JSON object", offset=_LENGTH_BYTES)
    holes = [
        _hole(name, about, begin, len(data))
        for name, about in header.items()
        if name != "__metadata__"
    ]
    holes = sorted((h for h in holes if h.stop > h.start), key=lambda hole: hole.start)
    for before, after in pairwise(holes):
        if after.start < before.stop:
            problem = f"{before.entry.name!r} and {after.entry.name!r} overlap"
            raise FormatError(problem, offset=after.start)
    return holes


def _hole(name: str, about: object, begin: int, end: int) -> Hole:
    """The place of one tensor; bytes of unknown type are taken as they are."""
    offsets = about.get("data_offsets") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not _are_sizes(offsets) or len(offsets) != 2:
        raise FormatError(f"{name!r} has no place", offset=_LENGTH_BYTES)
    start, stop = begin + offsets[0], begin + offsets[1]
    if not start <= stop <= end:
        raise FormatError(f"{name!r} ends at {stop}, the file at {end}", offset=end)
    entry = Entry(name, CODES["uint8"], (stop - start,))
    kind, shape = about.get("dtype"), about.get("shape")
    if isinstance(kind, str) and kind in _TYPES and _are_sizes(shape):
        typed = Entry(name, CODES[_TYPES[kind]], tuple(shape))
        if len(shape) <= MOST_DIMENSIONS and typed.size == stop - start:
            entry = typed
    return Hole(entry, start, start, stop)


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    """Whether it is a list of whole numbers in [0, 2^63)."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
