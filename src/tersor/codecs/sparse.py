"""Elements that are zero, and the others, apart: for pruned weights that are held in floats.

Payload (numbers as in `kernels/tables.py`; nothing for no bytes)
    size     number of bytes
    2 bits   log2 of the bytes of an element
    size     number of gaps: zero elements before each one that is not, 255 for 255 of them and
             no other; those at the end have none
    size     number of elements that are not zero
    size     bytes of the coded gaps
    zeros up to a whole byte
    gaps     a payload of `kernels/rans_payload.py`
    tail     bytes that make no whole element, as they stand
    others   a payload of `kernels/rans_payload.py`

An element is zero if all its bits are; the zero with a sign is another.

Source: Han et al., "Deep Compression", arXiv:1510.00149, section 2 (relative positions).
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import tersor.kernels as kernels
from tersor.codecs.codec import Part
from tersor.errors import FormatError
from tersor.kernels import rans_payload
from tersor.kernels.tables import BitReader, BitWriter, sized

_WIDTHS = (1, 2, 4, 8)  # bytes of an element


class Sparse:
    """Where the elements are that are not zero, and what they are."""

    name: ClassVar[str] = "sparse"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Sparse().encode(bytes(4000) + b"abcd", [Part(4004, 32, (1001,))]).hex()
        '0ce93b3038180301ffffffeb030764636261'
        """
        if not data:
            return b""
        width = _width(parts)
        elements = _elements(data, width)
        held = elements != 0
        gaps, _ = kernels.find_gaps(held.view(np.uint8))
        coded = rans_payload.encode(gaps.tobytes(), single=True)
        others = elements[held]
        head = BitWriter()
        head.put_size(len(data))
        head.put(_WIDTHS.index(width), 2)
        for size in (gaps.size, others.size, len(coded)):
            head.put_size(size)
        tail = bytes(data[elements.nbytes :])
        return head.to_bytes() + coded + tail + rans_payload.encode(others.tobytes())

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`."""
        sized(payload, count)
        target = bytearray(count)
        self.decode_into(payload, memoryview(target))
        return bytes(target)

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`."""
        head = sized(payload, len(target))
        if head is None:
            return
        elements = _elements(target, _WIDTHS[head.get(2)])
        held, start = _held(payload, head, elements.size)
        tail = len(target) - elements.nbytes
        target[elements.nbytes :] = payload[start : start + tail].ljust(tail, b"\0")
        others = rans_payload.decode(payload[start + tail :], held.sum() * elements.itemsize)
        values = _elements(others, elements.itemsize)
        if not values.all():
            raise FormatError("a zero among what is not", offset=start)
        elements[:] = 0
        elements[held] = values


def _held(payload: bytes, head: BitReader, count: int) -> tuple[NDArray[np.bool_], int]:
    """Which of `count` elements are not zero, and where the payload goes on."""
    n_gaps, n_others, coded = (head.get_size() for _ in range(3))
    if n_others > count or n_gaps > n_others + count // 255:
        problem = f"{n_gaps} gaps and {n_others} others for {count} elements"
        raise FormatError(problem, offset=0)
    start = head.end()
    gaps = rans_payload.decode(payload[start : start + coded], n_gaps)
    held = np.empty(count, np.uint8)
    kernels.fill_gaps(kernels.as_bytes(gaps), np.ones(n_others, np.uint8), held)
    return held.view(np.bool_), start + coded


def _width(parts: Sequence[Part]) -> int:
    """Bytes of an element, if all are of one type; else 1."""
    widths = {part.bits // 8 for part in parts}
    width = widths.pop() if len(widths) == 1 else 1
    return width if width in _WIDTHS else 1


def _elements(data: bytes | bytearray | memoryview, width: int) -> NDArray[np.unsignedinteger]:
    """The whole elements of some bytes, as integers, in the same memory."""
    count = len(data) // width
    found: NDArray[np.unsignedinteger]
    found = np.frombuffer(data, np.dtype(f"<u{width}"), count)
    return found


CODEC = Sparse
