"""The directory of a .tsr file, to bytes and back; its table is in FORMAT.md."""

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from tersor.codecs.zstd import Zstd
from tersor.errors import FormatError, InputError
from tersor.store import primed
from tersor.store.elements import ELEMENTS, SECTION, byte_count
from tersor.store.frame import DIRECTORY_BYTES, FOOTER, framed
from tersor.store.varint import Cursor, text, varint

SMALL = 4096  # bytes; entries below stand together, before all others
MOST_DIMENSIONS = 16
PRIMED = 0x80  # in the byte of the kind: the directory is coded by `tersor.store.primed`


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader accepts, whatever a file says.

    Attributes:
        directory_bytes: Of the directory, decoded.
        entries: Tensors and sections.
        tensor_bytes: Of one tensor or section, decoded.
        total_bytes: Of all of them, decoded.
    """

    directory_bytes: int = DIRECTORY_BYTES
    entries: int = 2**14
    tensor_bytes: int = 2**34
    total_bytes: int = 2**36


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor, or a section that is not inline: its shape is (bytes,)."""

    name: str
    code: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes, decoded."""
        return byte_count(self.code, self.shape)


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes that are coded together: codec, size decoded, size stored, checksum decoded."""

    codec: str
    size: int
    stored: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Directory:
    """All that a file says about its contents."""

    sections: dict[str, bytes]
    blocks: tuple[Block, ...]
    entries: tuple[Entry, ...]

    def to_bytes(self) -> bytes:
        """See FORMAT.md."""
        codecs = sorted({block.codec for block in self.blocks})
        out = [varint(len(self.sections)), *map(text, self.sections)]
        out += [varint(len(content)) for content in self.sections.values()]
        out += self.sections.values()
        out += [varint(len(codecs)), *map(text, codecs), varint(len(self.blocks))]
        out += [varint(codecs.index(block.codec)) for block in self.blocks]
        out += [varint(block.size) for block in self.blocks]
        out += [varint(block.stored) for block in self.blocks]
        out += [struct.pack("<I", block.checksum) for block in self.blocks]
        out += [varint(len(self.entries)), *(text(entry.name) for entry in self.entries)]
        out += [bytes([entry.code]) for entry in self.entries]
        out += [varint(len(entry.shape)) for entry in self.entries]
        out += [varint(size) for entry in self.entries for size in entry.shape]
        return b"".join(out)


def sealed(header: bytes, directory: Directory) -> bytes:
    """The directory as it stands in a file that starts with `header`, and the last 12 bytes.

    Raises:
        InputError: It is longer than a reader accepts.
    """
    plain, most = directory.to_bytes(), Limits().directory_bytes
    if len(plain) > most:
        raise InputError("directory", got=f"{len(plain)} bytes", allowed=f"{most} bytes")
    packed = primed.encode(plain) if header[-1] & PRIMED else Zstd().encode(plain)
    stored = packed if len(packed) < len(plain) else plain
    checksum = zlib.crc32(header + stored + struct.pack("<II", len(plain), len(stored)))
    return stored + FOOTER.pack(len(plain), len(stored), checksum)


def unsealed(
    read: Callable[[int, int], bytes], size: int, header: bytes, limits: Limits
) -> tuple[Directory, int]:
    """The reverse of `sealed`.

    Args:
        read: Gives so many (second) bytes of the file from a place (first) on.
        size: Bytes of the file.
        header: Its first bytes.
        limits: What to accept.

    Returns:
        The directory, and where it begins.

    Raises:
        FormatError: The file is cut, damaged or beyond the limits.
    """
    found = framed(read, size, header, limits.directory_bytes)
    if len(found.stored) == found.length:
        plain = found.stored
    elif header[-1] & PRIMED:
        plain = primed.decode(found.stored, found.length)
    else:
        plain = Zstd().decode(found.stored, found.length)
    return parse(plain, limits), found.begin


def parse(data: bytes, limits: Limits) -> Directory:
    """The inverse of `Directory.to_bytes`.

    Raises:
        FormatError: `data` is not a directory, or beyond the limits.
    """
    cursor = Cursor(data)
    names = [cursor.text() for _ in range(cursor.count(limits.entries, "sections"))]
    sizes = cursor.varints(len(names))
    sections = dict(zip(names, [cursor.take(size) for size in sizes], strict=True))
    blocks = _blocks(cursor, limits)
    entries = _entries(cursor, limits)
    cursor.end()
    for kind, found in (
        ("section", [*names, *(e.name for e in entries if e.code == SECTION)]),
        ("tensor", [e.name for e in entries if e.code != SECTION]),
    ):
        if len(set(found)) != len(found):
            raise FormatError(f"two {kind}s have the same name", offset=0)
    total = sum(entry.size for entry in entries)
    if total != sum(block.size for block in blocks):
        raise FormatError(f"{total} bytes of entries do not fill the blocks", offset=0)
    if total > limits.total_bytes:
        raise FormatError(f"{total} bytes, limit {limits.total_bytes}", offset=0)
    return Directory(sections, blocks, entries)


def _blocks(cursor: Cursor, limits: Limits) -> tuple[Block, ...]:
    codecs = [cursor.text() for _ in range(cursor.count(256, "codecs"))]
    count = cursor.count(limits.entries, "blocks")
    indices = cursor.varints(count)
    if max(indices, default=-1) >= len(codecs):
        raise FormatError(f"codec {max(indices)} of {len(codecs)}", offset=cursor.at)
    sizes = cursor.varints(count)
    if 0 in sizes:
        raise FormatError("a block is empty", offset=cursor.at)
    stored = cursor.varints(count)
    checksums = struct.unpack(f"<{count}I", cursor.take(4 * count))
    return tuple(
        Block(codecs[index], *rest)
        for index, *rest in zip(indices, sizes, stored, checksums, strict=True)
    )


def _entries(cursor: Cursor, limits: Limits) -> tuple[Entry, ...]:
    count = cursor.count(limits.entries, "entries")
    names = [cursor.text() for _ in range(count)]
    codes = cursor.take(count)
    ranks = cursor.varints(count)
    if max(ranks, default=0) > MOST_DIMENSIONS:
        problem = f"{max(ranks)} dimensions, at most {MOST_DIMENSIONS} can be"
        raise FormatError(problem, offset=cursor.at)
    entries = []
    for name, code, rank in zip(names, codes, ranks, strict=True):
        if code != SECTION and code not in ELEMENTS:
            raise FormatError(
                f"{name!r} has the unknown element code {code}", offset=cursor.at
            )
        shape = tuple(cursor.varints(rank))
        if code == SECTION and rank != 1:
            raise FormatError(f"section {name!r} has rank {rank}", offset=cursor.at)
        entry = Entry(name, code, shape)
        size = entry.size
        if size > limits.tensor_bytes:
            problem = f"{name!r} has {size} bytes, limit {limits.tensor_bytes}"
            raise FormatError(problem, offset=cursor.at)
        entries.append(entry)
    return tuple(entries)


def in_layout_order(entries: Iterable[Entry]) -> list[int]:
    """Indices of the entries, in the order in which their bytes lie."""
    keys = [(entry.size >= SMALL, entry.code) for entry in entries]
    return sorted(range(len(keys)), key=lambda index: keys[index])


def starts(sizes: Iterable[int]) -> list[int]:
    """Where each of several pieces starts that lie back to back, and where the last ends.

    >>> starts([3, 0, 4])
    [0, 3, 3, 7]
    """
    return [0, *accumulate(sizes)]
