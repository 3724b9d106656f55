"""A file without its tensors, and back: the section `skeleton` of FORMAT.md.

Tensors are cut out of the bytes of a file and become entries of the container; what is left
is the skeleton. Putting the tensors back gives the very same bytes, whatever the file holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tersor.errors import FormatError
from tersor.store.container import Reader
from tersor.store.directory import Entry, starts
from tersor.store.layout import Item
from tersor.store.onnx_tensor import can_be_written, initializer_head
from tersor.store.run import assembled
from tersor.store.varint import Cursor, varint

Buffer = bytes | memoryview
SECTION_NAME = "skeleton"
_PLAIN, _INITIALIZER = 0, 1


@dataclass(frozen=True, slots=True)
class Hole:
    """Where a tensor stands in a file.

    Attributes:
        entry: What stands there.
        field: First byte of the field that holds the tensor, name and shape included.
        start: First byte of the elements.
        stop: The byte behind them.
    """

    entry: Entry
    field: int
    start: int
    stop: int


def cut(data: Buffer, holes: Sequence[Hole]) -> tuple[list[Item], bytes]:
    """The tensors, uncopied, and the section.

    Args:
        data: A whole file.
        holes: In order of place, without overlap; the names differ.
    """
    gaps, kinds, rest = [], bytearray(), []
    at = 0
    for hole in holes:
        begin, kind = hole.start, _PLAIN
        if _is_initializer(data, hole):
            begin, kind = hole.field, _INITIALIZER
        gaps.append(varint(begin - at))
        kinds.append(kind)
        rest.append(bytes(data[at:begin]))
        at = hole.stop
    rest.append(bytes(data[at:]))
    items = [Item(hole.entry, data[hole.start : hole.stop]) for hole in holes]
    return items, b"".join([varint(len(holes)), *gaps, kinds, *rest])


def join(reader: Reader) -> Iterator[bytes]:
    """The bytes of the original file, piece by piece.

    Raises:
        FormatError: The skeleton does not fit the tensors, or a tensor is damaged.
    """
    for piece in _pieces(reader):
        yield piece if isinstance(piece, bytes) else reader.raw(piece.name)


def joined(reader: Reader) -> bytes:
    """The bytes of the original file, tensors decoded in place; errors as `join`."""
    pieces = list(_pieces(reader))
    sizes = [len(p) if isinstance(p, bytes) else p.size for p in pieces]

    def fill(target: memoryview) -> None:
        tensors = []
        for piece, start, size in zip(pieces, starts(sizes), sizes, strict=False):
            part = target[start : start + size]
            if isinstance(piece, bytes):
                part[:] = piece
            else:
                tensors.append((piece.name, part))
        reader.fill(tensors)

    return assembled(sum(sizes), fill)


def _pieces(reader: Reader) -> Iterator[bytes | Entry]:
    """Parts of the skeleton, and the tensors between them; errors as `join`."""
    cursor = Cursor(reader.section(SECTION_NAME))
    names = reader.names
    count = cursor.varint()
    if count != len(names):
        raise FormatError(f"{len(names)} tensors for {count} holes", offset=0)
    gaps = cursor.varints(count)
    kinds = cursor.take(count)
    for name, gap, kind in zip(names, gaps, kinds, strict=True):
        yield cursor.take(gap)
        entry = reader.entry(name)
        if kind == _INITIALIZER and can_be_written(entry):
            yield initializer_head(entry)
        elif kind != _PLAIN:
            raise FormatError(
                f"{name!r} has an unknown kind of hole: {kind}", offset=cursor.at
            )
        yield entry
    yield cursor.take(cursor.left)


def _is_initializer(data: Buffer, hole: Hole) -> bool:
    """Whether the bytes before the elements can be made again from the entry."""
    if hole.field == hole.start or not can_be_written(hole.entry):
        return False
    return bytes(data[hole.field : hole.start]) == initializer_head(hole.entry)


def unique(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries; of equal names the later ones get a number."""
    seen: set[str] = set()
    result = []
    for entry in entries:
        name, number = entry.name, 1
        while name in seen:
            number += 1
            name = f"{entry.name}#{number}"
        seen.add(name)
        result.append(Entry(name, entry.code, entry.shape))
    return result
