"""No compression: the payload is the data."""

from collections.abc import Sequence
from typing import ClassVar

from tersor.codecs.codec import Part
from tersor.errors import FormatError


class Raw:
    """Bytes as they are."""

    name: ClassVar[str] = "raw"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Raw().encode(b"abc")
        b'abc'
        """
        return bytes(data)

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`."""
        if len(payload) != count:
            raise FormatError(
                f"{len(payload)} raw bytes where {count} belong",
                offset=min(len(payload), count),
            )
        return payload

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`."""
        target[:] = self.decode(payload, len(target))


CODEC = Raw
