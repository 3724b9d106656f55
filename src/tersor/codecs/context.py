"""The adaptive context coder: fewer bytes for small integers, at the price of time.

It learns while it codes, so it needs no tables, and it looks at what lies before and above in
the tensor; so it wants to know where rows and kernels are.

Payload: as in `kernels/integers.py`; the values as in `kernels/reference_context.py`, which
names the sources.
"""

from collections.abc import Sequence
from typing import ClassVar

from tersor.codecs.codec import Part
from tersor.kernels import context_decode, context_encode, integers


class Context:
    """A better ratio: see the module's text."""

    name: ClassVar[str] = "context"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Context().encode(b"aaabaaaa" * 20).hex()
        '0868c2251ab8626ae2b142472d7d8e7dce02'
        """
        return integers.encode(data, parts, context_encode)

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`."""
        return integers.decode(payload, count, context_decode)

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`."""
        integers.decode_into(payload, target, context_decode)


CODEC = Context
