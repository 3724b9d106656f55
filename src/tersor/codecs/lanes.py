"""Small integers in rows, several of them side by side: nearly the ratio of `context`, fast.

As `context` it looks at what lies before and above in the tensor, but with chances that stand
in the head of a payload, so that range ANS can do the rest.

Payload: as in `kernels/integers.py`; the values as in `kernels/reference_lanes.py`, which
names the sources.
"""

from collections.abc import Sequence
from typing import ClassVar

from tersor.codecs.codec import Part
from tersor.kernels import integers, lanes_decode, lanes_encode


class Lanes:
    """A better ratio than `rans` at a good speed: see the module's text."""

    name: ClassVar[str] = "lanes"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Lanes().encode(b"aaabaaaa" * 20).hex()
        '0868c22d341816fd43ffa1ff3ff47f00fc4751811befa6b8195d835ceed202'
        """
        return integers.encode(data, parts, lanes_encode)

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`."""
        return integers.decode(payload, count, lanes_decode, "lanes")

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`."""
        integers.decode_into(payload, target, lanes_decode, "lanes")


CODEC = Lanes
