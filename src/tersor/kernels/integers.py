"""Bytes as small integers in rows: what the codecs with adaptive coders have in common.

Payload (numbers as in `tables.py`; nothing for no bytes)
    size     number of bytes
    1 bit    0: the bytes stand as they are; the rest of the head is left out
    1 bit    1: elements of 4 bits, the earlier in the lower half of a byte; the last half of
             the last byte, if it is over, is an element too
    1 bit    1: elements are signed
    9 bits   centre: what becomes 0, plus 128
    gamma    number of tensors, plus 1; 1 for one tensor without a known form
    per tensor
      size     number of elements; of the last one it is what is left, and left out
      size     channels
      gamma    values of a kernel
      gamma    width of a kernel
    size     number of bytes that follow
    zeros up to a whole byte
    values, less the centre, as the coder writes them; or the bytes
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

import tersor.kernels as kernels
from tersor.errors import FormatError
from tersor.kernels import Bytes, Shape, Values, choose
from tersor.kernels.tables import BitReader, BitWriter

_PER_BYTE = 2**14  # values for which a byte may stand: a bin takes 2^-11 bits at least
_ROW = 2**12  # of data without a known form
_GAMMA = 2**16 - 1  # the largest number in gamma code
_MOST_TENSORS = 2**12
_OFFSET = 128

Encode = Callable[[Values, Sequence[Shape], int], bytes | None]
Decode = Callable[[Bytes, Sequence[Shape], Values], None]


class Piece(Protocol):
    """Of a tensor."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def bits(self) -> int:
        """Of an element."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole tensor."""
        ...


def encode(data: bytes | memoryview, parts: Sequence[Piece], coder: Encode) -> bytes:
    """The payload for the bytes of those pieces of tensors, if that is known."""
    if not data:
        return b""
    kinds = {part.bits for part in parts}
    nibbles = kinds == {4}
    if kinds not in ({4}, {8}) or len(parts) > _MOST_TENSORS:
        parts = ()
    elements = _unpacked(kernels.as_bytes(data), nibbles=nibbles)
    signed, centre = _centre(elements, 16 if nibbles else 256)
    values = _values(elements, 16 if nibbles else 256, signed=signed) - np.int16(centre)
    head = BitWriter()
    head.put_size(len(data))
    head.put(1, 1)
    head.put(int(nibbles), 1)
    head.put(int(signed), 1)
    head.put(centre + _OFFSET, 9)
    shapes = _shapes(parts, values.size)
    _put_shapes(shapes if parts else [], head)
    body = coder(values, shapes, len(data))
    if body is not None:
        head.put_size(len(body))
    else:
        head = BitWriter()
        head.put_size(len(data))
        head.put(0, 1)
        body = bytes(data)
    return head.to_bytes() + body


def decode(payload: bytes, count: int, coder: Decode, name: str = "") -> bytes:
    """The `count` bytes for which the payload stands.

    Args:
        payload: Of the codec.
        count: Bytes.
        coder: Of the values.
        name: Of the native functions that read whole payloads, if there are any.

    Raises:
        FormatError: See `decode_into`.
    """
    native = choose.module()
    if native is not None and name:
        read = getattr(native, f"{name}_bytes")
        found: bytes | None = read(kernels.as_bytes(payload), count, choose.level())
        if found is not None:
            return found
    _check_count(payload, count)
    target = bytearray(count)
    _decode(payload, memoryview(target), coder)
    return bytes(target)


def decode_into(payload: bytes, target: memoryview, coder: Decode, name: str = "") -> None:
    """Fill `target` with the bytes for which the payload stands; arguments as `decode`.

    Raises:
        FormatError: `encode` writes no such payload for so many bytes.
    """
    native = choose.module()
    if native is not None and name:
        read = getattr(native, f"{name}_read")
        if read(kernels.as_bytes(payload), kernels.as_bytes(target), choose.level()):
            return
    _decode(payload, target, coder)


def _decode(payload: bytes, target: memoryview, coder: Decode) -> None:
    """Decode, or say what is wrong."""
    head = _check_count(payload, len(target))
    if head is None:
        return
    if not head.get(1):
        _copy(payload[head.end() :], target)
        return
    nibbles, signed, centre = head.get(1), head.get(1), head.get(9) - _OFFSET
    count, range_ = (2 * len(target), 16) if nibbles else (len(target), 256)
    shapes, size = _get_shapes(head, count), head.get_size()
    body = kernels.as_bytes(payload)[head.end() :]
    if body.size != size:
        raise FormatError(f"{body.size} bytes where {size} belong", offset=len(payload))
    values = np.empty(count, np.int16)
    coder(body, shapes, values)
    least = (-range_ // 2 if signed else 0) - centre
    if values.min() < least or values.max() >= least + range_:
        raise FormatError("values out of range", offset=len(payload))
    if centre:
        values += np.int16(centre)
    if not nibbles:
        np.copyto(kernels.as_bytes(target), values, casting="unsafe")
        return
    elements = values.astype(np.uint8) & 15
    kernels.as_bytes(target)[:] = elements[::2] | elements[1::2] << 4


def _check_count(payload: bytes, count: int) -> BitReader | None:
    """The reader behind the number of bytes, which must be `count`; None for nothing."""
    if not payload and count == 0:
        return None
    head = BitReader(payload)
    found = head.get_size()
    if found != count or count == 0 or count > _PER_BYTE * (len(payload) + 1):
        problem = f"payload of {len(payload)} bytes for {found} where {count} belong"
        raise FormatError(problem, offset=0)
    return head


def _copy(body: bytes, target: memoryview) -> None:
    if len(body) != len(target):
        raise FormatError(f"{len(body)} bytes as they are", offset=len(body))
    target[:] = body


def _unpacked(data: Bytes, *, nibbles: bool) -> Bytes:
    """The elements as numbers from 0 up."""
    return np.stack([data & 15, data >> 4], 1).reshape(-1) if nibbles else data


def _values(elements: Bytes, range_: int, *, signed: bool) -> Values:
    """The elements as what they mean."""
    half = range_ // 2 if signed else 0
    given = elements.astype(np.int16)
    return ((given + np.int16(half)) & np.int16(range_ - 1)) - np.int16(half)


def _centre(elements: Bytes, range_: int) -> tuple[bool, int]:
    """Whether to take the elements as signed, and their most frequent value.

    Signs are right where the values then lie nearer to that one.
    """
    counts = kernels.histogram(elements)[:range_].astype(np.int64)
    most = int(counts.argmax())
    numbers = np.arange(range_)
    costs = []
    for signed in (False, True):
        half = range_ // 2 if signed else 0
        means = (numbers + half) % range_ - half
        costs.append((int(counts @ np.abs(means - means[most])), signed, int(means[most])))
    _, signed, centre = min(costs)
    return signed, centre


def _shapes(parts: Sequence[Piece], count: int) -> list[Shape]:
    """How the elements lie; without parts in rows of some length."""
    if not parts:
        return [_unknown(count)]
    found, left = [], count
    for index, part in enumerate(parts):
        size = left if index == len(parts) - 1 else 8 * part.size // part.bits
        left -= size
        found.append(_shape(part.shape, size))
    return found


def _unknown(count: int) -> Shape:
    return Shape(count, min(count, _ROW), 1, 1)


def _shape(shape: Sequence[int], size: int) -> Shape:
    """A row for each index of the first axis, a kernel of the axes behind the second."""
    channels, kernel = (shape[1], math.prod(shape[2:])) if len(shape) > 1 else (size, 1)
    width = shape[-1] if len(shape) > 2 else 1
    if not 1 <= channels * kernel <= size or max(kernel, width) > _GAMMA:
        return _unknown(size)
    return Shape(size, channels, kernel, width)


def _put_shapes(shapes: Sequence[Shape], head: BitWriter) -> None:
    head.put_gamma(len(shapes) + 1)
    for index, shape in enumerate(shapes):
        if index < len(shapes) - 1:
            head.put_size(shape.size)
        head.put_size(shape.channels)
        head.put_gamma(shape.kernel)
        head.put_gamma(shape.width)


def _get_shapes(head: BitReader, count: int) -> list[Shape]:
    number = head.get_gamma() - 1
    if number > _MOST_TENSORS:
        raise FormatError(f"{number} tensors", offset=0)
    found, left = [], count
    for index in range(number):
        size = head.get_size() if index < number - 1 else left
        left -= size
        shape = Shape(size, head.get_size(), head.get_gamma(), head.get_gamma())
        if size < 1 or left < 0 or not 1 <= shape.channels * shape.kernel <= size:
            raise FormatError(f"tensor of {size} elements in rows of {shape}", offset=0)
        found.append(shape)
    return found or [_unknown(count)]
