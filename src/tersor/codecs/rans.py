"""Static interleaved range ANS over bytes, or over the byte planes of wider elements.

The payload is that of `kernels/rans_payload.py`.
"""

from collections.abc import Sequence
from typing import ClassVar

from tersor.codecs.codec import Part
from tersor.kernels import rans_payload

_BYTE = 8  # bits


class Rans:
    """The default entropy coder: near the order-0 entropy, and fast."""

    name: ClassVar[str] = "rans"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Rans().encode(b"a" * 1000).hex()
        '0afa0800a018c102e839000000'
        """
        single = bool(parts) and all(part.bits <= _BYTE for part in parts)
        return rans_payload.encode(data, single=single)

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`."""
        return rans_payload.decode(payload, count)

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`."""
        rans_payload.decode_into(payload, target)


CODEC = Rans
