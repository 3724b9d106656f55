"""Runs of zeros: how far it is from one byte that is not zero to the next, and these bytes.

Payload (numbers as in `kernels/tables.py`; nothing for no bytes)
    size     number of bytes
    size     number of gaps: zeros before each byte that is not zero, 255 for 255 zeros and no
             byte; zeros at the end have none
    size     number of bytes that are not zero
    size     bytes of the coded gaps
    zeros up to a whole byte
    gaps     a payload of `kernels/rans_payload.py`
    bytes    a payload of `kernels/rans_payload.py`

Where nearly all is zero this takes fewer symbols than coding each byte.

Source: Han et al., "Deep Compression", arXiv:1510.00149, section 2 (relative positions);
Golomb, "Run-length encodings", IEEE Transactions on Information Theory 12, 1966.
"""

from collections.abc import Sequence
from typing import ClassVar

import tersor.kernels as kernels
from tersor.codecs.codec import Part
from tersor.errors import FormatError
from tersor.kernels import rans_payload
from tersor.kernels.tables import BitWriter, sized


class Runs:
    """Positions and values apart: for tensors that are nearly all zeros."""

    name: ClassVar[str] = "runs"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Runs().encode(bytes(1000) + b"a").hex()
        '4afa038383010301ffffffeb410061'
        """
        if not data:
            return b""
        gaps, values = kernels.find_gaps(kernels.as_bytes(data))
        coded = rans_payload.encode(gaps.tobytes(), single=True)
        head = BitWriter()
        for size in (len(data), gaps.size, values.size, len(coded)):
            head.put_size(size)
        return head.to_bytes() + coded + rans_payload.encode(values.tobytes(), single=True)

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
        n_gaps, n_values, coded = (head.get_size() for _ in range(3))
        if max(n_gaps, n_values) > len(target):  # each gap takes a byte at least
            problem = f"{n_gaps} gaps and {n_values} values for {len(target)} bytes"
            raise FormatError(problem, offset=0)
        start = head.end()
        gaps = rans_payload.decode(payload[start : start + coded], n_gaps)
        values = rans_payload.decode(payload[start + coded :], n_values)
        kernels.fill_gaps(
            kernels.as_bytes(gaps), kernels.as_bytes(values), kernels.as_bytes(target)
        )


CODEC = Runs
