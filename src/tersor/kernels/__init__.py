"""The kernels: small loops over symbols and bytes, native where they were built.

`reference.py` and its neighbours define each in numpy or plain Python; `native/` holds
the same in C++, equal bit by bit; `choose.py` picks. Arguments that no caller in this package
can get wrong are not checked by the twins; whatever comes from a file is checked here or
there, and refused with FormatError.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.errors import FormatError, InputError
from tersor.kernels import (
    choose,
    reference,
    reference_context,
    reference_lanes,
    reference_mixing,
)
from tersor.kernels.reference import MOST_CODE_BITS, MOST_LANES, Bytes, Counts, States, Words
from tersor.kernels.reference_adaptive import Shape, Values

__all__ = [
    "MOST_CODE_BITS",
    "MOST_LANES",
    "Bytes",
    "Shape",
    "Values",
    "as_bytes",
    "context_decode",
    "context_encode",
    "crc32",
    "fill_gaps",
    "find_gaps",
    "histogram",
    "huffman_decode",
    "huffman_encode",
    "join_planes",
    "lanes_decode",
    "lanes_encode",
    "mixing_decode",
    "mixing_encode",
    "pack_bits",
    "rans_decode",
    "rans_encode",
    "split_planes",
    "unpack_bits",
]

_CHECKED = choose.LEVELS.index("avx2") - 1  # from that level on checksums are quick
_MUCH = 2**10  # bytes; less is checked before a native function has looked at its arguments


def as_bytes(data: bytes | bytearray | memoryview | NDArray[Any]) -> Bytes:
    """The same memory as an array of bytes, without a copy.

    >>> as_bytes(b"ab")
    array([97, 98], dtype=uint8)
    """
    return np.frombuffer(data, np.uint8)


def crc32(data: bytes | memoryview, before: int = 0) -> int:
    """The checksum of zlib: of `data` behind bytes whose checksum is `before`.

    >>> crc32(b"ef", crc32(b"abcd")) == crc32(b"abcdef") == zlib.crc32(b"abcdef")
    True
    """
    native = choose.module()
    if native is None or choose.level() < _CHECKED or len(data) < _MUCH:
        return zlib.crc32(data, before)
    found: int = native.crc32(as_bytes(data), before)
    return found


def histogram(symbols: NDArray[np.uint8] | NDArray[np.uint16]) -> Counts:
    """How often each value occurs, of shape (256,) or (65536,).

    >>> histogram(np.array([3, 0, 3], np.uint8))[:5]
    array([1, 0, 0, 2, 0], dtype=uint64)
    """
    native = choose.module()
    if native is None:
        return reference.histogram(symbols)
    counts = np.empty(256**symbols.dtype.itemsize, np.uint64)
    count = native.histogram8 if symbols.dtype == np.uint8 else native.histogram16
    count(symbols, counts)
    return counts


def pack_bits(codes: NDArray[np.uint16], bits: int) -> Bytes:
    """Codes of `bits` bits each, packed from the low bit of each byte up.

    Raises:
        InputError: `bits` is not in 1 .. 16, or a code needs more.

    >>> pack_bits(np.array([1, 2, 3], np.uint16), 4)
    array([33,  3], dtype=uint8)
    """
    most = int(codes.max(initial=0))
    if not 1 <= bits <= 16 or most >> bits:
        raise InputError("bits", got=bits, allowed=f"in 1 .. 16 and enough for {most}")
    native = choose.module()
    if native is None:
        return reference.pack_bits(codes, bits)
    packed = np.empty((codes.size * bits + 7) // 8, np.uint8)
    native.pack_bits(codes, bits, packed)
    return packed


def unpack_bits(packed: Bytes, bits: int, count: int) -> NDArray[np.uint16]:
    """The reverse of `pack_bits`.

    Raises:
        FormatError: There are not exactly as many bytes as `count` codes take.
    """
    if not 1 <= bits <= 16 or packed.size != (count * bits + 7) // 8:
        problem = f"{packed.size} bytes for {count} codes of {bits} bits"
        raise FormatError(problem, offset=packed.size)
    native = choose.module()
    if native is None:
        return reference.unpack_bits(packed, bits, count)
    codes = np.empty(count, np.uint16)
    native.unpack_bits(packed, bits, codes)
    return codes


def split_planes(data: Bytes, width: int, *, rotate: bool) -> Bytes:
    """Elements of `width` bytes as planes, the highest first; shape (width, n).

    With `rotate` the top bit of an element goes to the bottom before: of a float, the highest
    plane then starts with the exponent, and the sign is a bit of the lowest.

    >>> split_planes(np.array([1, 2, 3, 4], np.uint8), 2, rotate=False)
    array([[2, 4],
           [1, 3]], dtype=uint8)
    """
    native = choose.module()
    if native is None:
        return reference.split_planes(data, width, rotate=rotate)
    planes = np.empty(data.size, np.uint8)
    native.split_planes(data, width, rotate, planes)
    return planes.reshape(width, -1)


def join_planes(planes: Bytes, target: Bytes, *, rotate: bool) -> None:
    """The reverse of `split_planes`, for planes of shape (width, n)."""
    native = choose.module()
    if native is None:
        reference.join_planes(planes, target, rotate=rotate)
        return
    native.join_planes(planes.reshape(-1), len(planes), rotate, target)


def find_gaps(data: Bytes) -> tuple[Bytes, Bytes]:
    """Where `data` is not zero, and what it is there.

    Returns:
        gaps: Zeros before each value; 255 stands for 255 zeros and no value.
        values: What is not zero, in order.

    >>> find_gaps(np.array([0, 0, 7, 5, 0], np.uint8))
    (array([2, 0], dtype=uint8), array([7, 5], dtype=uint8))
    """
    native = choose.module()
    if native is None:
        return reference.find_gaps(data)
    gaps = np.empty(data.size + data.size // 255 + 1, np.uint8)
    values = np.empty(data.size, np.uint8)
    used, found = native.find_gaps(data, gaps, values)
    return gaps[:used].copy(), values[:found].copy()


def fill_gaps(gaps: Bytes, values: Bytes, target: Bytes) -> None:
    """The reverse of `find_gaps`.

    Raises:
        FormatError: Gaps and values are not what `find_gaps` gives for so many bytes.
    """
    native = choose.module()
    fill = reference.fill_gaps if native is None else native.fill_gaps
    if not fill(gaps, values, target):
        raise FormatError(f"gaps do not fill {target.size} bytes", offset=0)


def rans_encode(
    symbols: Bytes, frequencies: NDArray[np.uint32], bits: int, lanes: int
) -> tuple[States, Words, int]:
    """States and words of interleaved rANS, and how many symbols the first lane has alone.

    See `reference.rans_encode`.

    Raises:
        InputError: A symbol has no frequency.
    """
    native = choose.module()
    if native is None:
        return reference.rans_encode(symbols, frequencies, bits, lanes)
    states = np.empty(lanes, np.uint32)
    words, model = np.empty(symbols.size, np.uint16), (frequencies, bits)
    start, alone = native.rans_encode(symbols, *model, states, words, choose.level())
    if start < 0:
        raise reference.no_code()
    return states, words[start:].copy(), alone


def rans_decode(
    words: Bytes,
    states: States,
    frequencies: NDArray[np.uint32],
    bits: int,
    target: Bytes,
    alone: int,
) -> None:
    """The reverse of `rans_encode`; words as bytes, low byte first.

    Raises:
        FormatError: `rans_encode` writes no such states and words for so many symbols.
    """
    native = choose.module()
    if native is None:
        fine = reference.rans_decode(words, states, frequencies, bits, target, alone)
    else:
        model, level = (frequencies, bits), choose.level()
        fine = native.rans_decode(words, states.copy(), *model, target, alone, level)
    if not fine:
        raise FormatError(
            f"words of rANS are damaged: no {target.size} symbols", offset=words.size
        )


def huffman_encode(symbols: Bytes, lengths: Bytes) -> Bytes:
    """Canonical codes of the given lengths: see `reference.huffman_encode`.

    Raises:
        InputError: A symbol has no code.
    """
    native = choose.module()
    if native is None:
        return reference.huffman_encode(symbols, lengths)
    out = np.empty((symbols.size * MOST_CODE_BITS + 7) // 8 + 8, np.uint8)
    used = native.huffman_encode(symbols, lengths, out)
    if used < 0:
        raise reference.no_code()
    return out[:used].copy()


def huffman_decode(data: Bytes, lengths: Bytes, target: Bytes) -> None:
    """The reverse of `huffman_encode`, for lengths that leave each bit string one meaning.

    Raises:
        FormatError: `huffman_encode` writes no such bytes for so many symbols.
    """
    native = choose.module()
    decode = reference.huffman_decode if native is None else native.huffman_decode
    if not decode(data, lengths, target):
        raise FormatError(
            f"Huffman codes are damaged: no {target.size} symbols", offset=data.size
        )


def context_encode(values: Values, shapes: Sequence[Shape], most: int) -> bytes | None:
    """The payload of the context coder; None where it takes more than `most` bytes.

    Args:
        values: Of all tensors, one after the other; magnitudes of at most 255.
        shapes: Of the tensors; a row is no longer than its tensor.
        most: Bytes.
    """
    native = choose.module()
    encode = None if native is None else native.context_encode
    return _encode(values, shapes, most, encode, reference_context.context_encode)


def context_decode(payload: Bytes, shapes: Sequence[Shape], target: Values) -> None:
    """The reverse of `context_encode`; the magnitudes may be 256.

    Raises:
        FormatError: `context_encode` writes no such payload for these shapes.
    """
    native = choose.module()
    decode = None if native is None else native.context_decode
    _decode(payload, shapes, target, decode, reference_context.context_decode)


def mixing_encode(values: Values, shapes: Sequence[Shape], most: int) -> bytes | None:
    """The payload of the mixing coder: see `context_encode`."""
    native = choose.module()
    encode = None if native is None else native.mixing_encode
    return _encode(values, shapes, most, encode, reference_mixing.mixing_encode)


def mixing_decode(payload: Bytes, shapes: Sequence[Shape], target: Values) -> None:
    """The reverse of `mixing_encode`; the magnitudes may be 256.

    Raises:
        FormatError: `mixing_encode` writes no such payload for these shapes.
    """
    native = choose.module()
    decode = None if native is None else native.mixing_decode
    _decode(payload, shapes, target, decode, reference_mixing.mixing_decode)


def lanes_encode(values: Values, shapes: Sequence[Shape], most: int) -> bytes | None:
    """The payload of the lanes coder: see `context_encode`; of one value or more."""
    native = choose.module()
    given = None if native is None else partial(native.lanes_encode, reference.log2_table())
    return _encode(values, shapes, most, given, reference_lanes.lanes_encode)


def lanes_decode(payload: Bytes, shapes: Sequence[Shape], target: Values) -> None:
    """The reverse of `lanes_encode`; the magnitudes may be 256.

    Raises:
        FormatError: The payload is not one for these shapes.
    """
    native = choose.module()
    given = None if native is None else partial(native.lanes_decode, choose.level())
    _decode(payload, shapes, target, given, reference_lanes.lanes_decode)


def _encode(
    values: Values,
    shapes: Sequence[Shape],
    most: int,
    native: Callable[..., int] | None,
    twin: Callable[[Values, Sequence[Shape]], bytes],
) -> bytes | None:
    """The payload of an adaptive coder; None where it takes more than `most` bytes."""
    if native is None:
        payload = twin(values, shapes)
        return payload if len(payload) <= most else None
    out = np.empty(most, np.uint8)
    used = native(values, np.array(shapes, np.int64).reshape(-1), out)
    return None if used < 0 else out[:used].tobytes()


def _decode(
    payload: Bytes,
    shapes: Sequence[Shape],
    target: Values,
    native: Callable[..., bool] | None,
    twin: Callable[[bytes, Sequence[Shape], Values], bool],
) -> None:
    if native is None:
        fine = twin(payload.tobytes(), shapes, target)
    else:
        fine = native(payload, np.array(shapes, np.int64).reshape(-1), target)
    if not fine:
        problem = f"adaptively coded bytes are damaged: no {target.size} values"
        raise FormatError(problem, offset=payload.size)
