"""Which bytes are coded together, and by which codec: the writer's half of a .tsr file.

Small tensors of one type are one block. Pieces up to 64 KiB join their neighbour if the two
take less space together than apart, headers included. Larger tensors are cut into blocks
of 8 MiB, each coded by itself.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tersor.codecs import find as find_codec
from tersor.codecs import names as codec_names
from tersor.codecs.codec import Codec
from tersor.errors import InputError
from tersor.kernels.choose import choice
from tersor.store.directory import SMALL, Block, Entry, in_layout_order

_JOINABLE = 2**16  # bytes; larger pieces are blocks of their own
_LARGEST = 2**23
_BY_KERNELS = {"huffman", "rans"}  # in numpy a second's work takes a minute
_BLOCK_HEADER = 10  # bytes that one more block takes in the directory, about


@dataclass(frozen=True, slots=True)
class Item:
    """An entry and its bytes."""

    entry: Entry
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Coded:
    """A finished block."""

    block: Block
    payload: bytes

    @property
    def cost(self) -> int:
        """Bytes that it takes in the file."""
        return len(self.payload) + _BLOCK_HEADER


def candidates(codec: str) -> list[Codec]:
    """The codec of that name; for "auto" all codecs that are quick here, `raw` first.

    Where the native kernels are missing, "auto" leaves out the codecs that need them.

    Raises:
        InputError: There is no such codec.
    """
    if codec == "auto":
        slow = _BY_KERNELS if choice().name == "reference" else set()
        ordered = sorted(set(codec_names()) - slow, key=lambda name: (name != "raw", name))
        return [find_codec(name).CODEC() for name in ordered]
    if codec not in codec_names():
        allowed = "one of auto, " + ", ".join(codec_names())
        raise InputError("codec", got=codec, allowed=allowed)
    return [find_codec(codec).CODEC()]


def blocks(items: Sequence[Item], coders: Sequence[Codec]) -> Iterator[Coded]:
    """The blocks of the items, in layout order, each item's bytes read as it is needed."""
    pending: tuple[bytes, Coded] | None = None
    for piece in _pieces(items):
        coded = _code(piece, coders)
        if pending is not None and len(pending[0]) + len(piece) <= _JOINABLE:
            joined = pending[0] + piece
            together = _code(joined, coders)
            if together.cost <= pending[1].cost + coded.cost:
                pending = (joined, together)
                continue
        if pending is not None:
            yield pending[1]
        pending = (piece, coded)
    if pending is not None:
        yield pending[1]


def _pieces(items: Sequence[Item]) -> Iterator[bytes]:
    """The bytes of all items: small ones of one type together, large ones cut."""
    gathered, kind = b"", None
    for index in in_layout_order([item.entry for item in items]):
        item = items[index]
        if item.entry.size < SMALL:
            if gathered and (item.entry.code != kind or len(gathered) >= _JOINABLE - SMALL):
                yield gathered
                gathered = b""
            gathered, kind = gathered + bytes(item.data), item.entry.code
            continue
        if gathered:
            yield gathered
            gathered = b""
        for start in range(0, item.entry.size, _LARGEST):
            yield bytes(item.data[start : start + _LARGEST])
    if gathered:
        yield gathered


def _code(data: bytes, coders: Sequence[Codec]) -> Coded:
    """The shortest payload; among equals that of the first coder."""
    payloads = [(coder.name, coder.encode(data)) for coder in coders]
    name, payload = min(payloads, key=lambda pair: len(pair[1]))
    return Coded(Block(name, len(data), len(payload), zlib.crc32(data)), payload)
