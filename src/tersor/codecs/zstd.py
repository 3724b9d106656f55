"""Zstandard: dictionary matches and Huffman-coded literals.

The payload is one frame without its magic number, with the size of its content, without
a checksum (the container has one). No data: no payload. A frame carries no time and no name.

Any release of libzstd decodes these frames to the same bytes. Which frame it writes is the
same for equal data on every machine, but may change with the release of libzstd.

Source: Collet, Kucherawy, "Zstandard compression", RFC 8878.
"""

from collections.abc import Sequence
from typing import ClassVar

import zstandard

from tersor.codecs.codec import Part
from tersor.errors import FormatError

# A block of repeated bytes is the densest: 4 bytes stand for 128 KiB (RFC 8878, 3.1.1.2).
_MOST_PER_BLOCK = 2**17
_LEAST_BLOCK = 4
_BLOCK_HEADER = 3
_REPEATED = 1

# The strong level takes about 0.3 s per MiB, the quick one a twentieth of that; on weights
# both give the same size to a thousandth. Only sparse or repeated data gains from the strong.
_SMALL = 2**16
_STRONG, _QUICK = 19, 12
_SAMPLE = 2**15  # bytes of larger data that tell whether the strong level is worth it
_WORTH = 10  # of a hundred bytes, how many it must save there


class Zstd:
    """Frames of one shot."""

    name: ClassVar[str] = "zstd"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Zstd().encode(b"a" * 1000).hex()
        '60e80245000008610100e42b2004'
        """
        if not data:
            return b""
        return _frame(data, _level(data), len(data))

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`. Asks for no more memory than the payload can stand for."""
        if count == 0 and not payload:
            return b""
        _check(payload, count)
        decoder = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        try:
            return decoder.decompress(payload, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise FormatError(f"zstd frame is damaged ({error})", offset=0) from None

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`. Where all of a frame is there, libzstd keeps no window."""
        if len(target) == 0 and not payload:
            return
        _check(payload, len(target))
        if _frame_size(payload) != len(payload):
            raise FormatError("zstd frame is damaged (its blocks do not fill it)", offset=0)
        decoder = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        try:
            got = decoder.stream_reader(payload).readinto(target)
        except zstandard.ZstdError as error:
            raise FormatError(f"zstd frame is damaged ({error})", offset=0) from None
        if got != len(target):
            raise FormatError(f"zstd frame is damaged ({got} bytes came out)", offset=0)


def _frame(data: bytes | memoryview, level: int, size: int) -> bytes:
    """The frame at that level, with what it sets for so many bytes."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=size,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=1,
        write_checksum=0,
        write_dict_id=0,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _level(data: bytes | memoryview) -> int:
    """The level for these bytes."""
    if len(data) <= _SMALL:
        return _STRONG
    middle = len(data) // 16 * 8
    sample = data[middle : middle + _SAMPLE]
    strong, quick = (len(_frame(sample, level, len(data))) for level in (_STRONG, _QUICK))
    return _STRONG if 100 * strong <= (100 - _WORTH) * quick else _QUICK


def _check(payload: bytes, count: int) -> None:
    """Raise FormatError unless the payload promises `count` bytes, and may hold them."""
    if count > _MOST_PER_BLOCK * (1 + len(payload) // _LEAST_BLOCK):
        problem = f"{len(payload)} zstd bytes cannot stand for {count}"
        raise FormatError(problem, offset=len(payload))
    promised = _content_size(payload)
    if promised != count or count == 0:
        raise FormatError(f"zstd frame of {promised} bytes where {count} belong", offset=0)


def _frame_size(payload: bytes) -> int:
    """Where the frame ends, by the headers of its blocks; beyond the payload if it is cut.

    A block header has 24 bits, the lowest first: last block or not, two bits of type (1: one
    byte that repeats), size (RFC 8878, 3.1.1). A checksum, which we never write, counts as
    damage.
    """
    descriptor = payload[0]
    single = descriptor >> 5 & 1
    sizes = (single, 2, 4, 8)[descriptor >> 6]
    at = 1 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + sizes
    last = False
    while not last and at + _BLOCK_HEADER <= len(payload):
        header = int.from_bytes(payload[at : at + _BLOCK_HEADER], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        at += _BLOCK_HEADER + (1 if kind == _REPEATED else size)
    return at if last else len(payload) + 1


def _content_size(payload: bytes) -> int:
    """The size that the frame's header promises.

    Raises:
        FormatError: There is no such header, or it leaves the size open.
    """
    try:
        header = zstandard.get_frame_parameters(
            payload, format=zstandard.FORMAT_ZSTD1_MAGICLESS
        )
    except zstandard.ZstdError as error:
        raise FormatError(f"no zstd frame ({error})", offset=0) from None
    if header.content_size >= zstandard.CONTENTSIZE_UNKNOWN:
        raise FormatError("zstd frame of unknown size", offset=0)
    return int(header.content_size)


CODEC = Zstd
