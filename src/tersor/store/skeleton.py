"""A file without its tensors, and back: the section `skeleton` of FORMAT.md.

Tensors are cut out of the bytes of a file and become entries of the container; what is left
is the skeleton. Putting the tensors back gives the very same bytes, whatever the file holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from tersor.errors import FormatError
from tersor.store.container import Reader
from tersor.store.directory import Entry, starts
from tersor.store.elements import CODES
from tersor.store.layout import Item
from tersor.store.onnx_tensor import can_be_written, initializer_head
from tersor.store.run import afford, assembled
from tersor.store.varint import Cursor, varint

Buffer = bytes | memoryview
SECTION_NAME = "skeleton"
_PLAIN, _INITIALIZER = 0, 1
_AT_ONCE = 2**25  # bytes
_WORTH_A_HOLE = 2**16  # bytes; less of unknown kind stays in the skeleton


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
    """The tensors of one whole file, uncopied, and the section; see `cut_all`."""
    return cut_all([(data, holes)])


def cut_all(parts: Sequence[tuple[Buffer, Sequence[Hole]]]) -> tuple[list[Item], bytes]:
    """The tensors, uncopied, and the section.

    Args:
        parts: Whole files, which come back as one run of bytes, each with its holes: in order
            of place, without overlap. The names of all of them differ.
    """
    gaps, kinds, rest, items = [], bytearray(), [], []
    over = 0  # bytes between the last hole and the next file
    for data, holes in parts:
        at = 0
        for hole in holes:
            begin, kind = hole.start, _PLAIN
            if _is_initializer(data, hole):
                begin, kind = hole.field, _INITIALIZER
            gaps.append(varint(over + begin - at))
            kinds.append(kind)
            rest.append(bytes(data[at:begin]))
            items.append(Item(hole.entry, data[hole.start : hole.stop]))
            at, over = hole.stop, 0
        rest.append(bytes(data[at:]))
        over += len(data) - at
    return items, b"".join([varint(len(items)), *gaps, kinds, *rest])


def join(reader: Reader) -> Iterator[memoryview]:
    """The bytes of the original, in parts of about 32 MiB or one larger tensor.

    A part is valid until the next: all are in the same memory, so that the system need not
    find and clear it for each.

    Raises:
        FormatError: The skeleton does not fit the tensors, or a tensor is damaged.
    """
    memory = np.empty(0, np.uint8)
    waiting: list[bytes | Entry] = []
    held = 0
    for piece in chain(_pieces(reader), [None]):
        if piece is not None:
            waiting.append(piece)
            held += _size(piece)
        if piece is None or held >= _AT_ONCE:
            if held > memory.size:
                memory = np.empty(0, np.uint8)  # the old goes before the new comes
                afford(held)
                memory = np.empty(held, np.uint8)
            _fill(reader, waiting, memory.data[:held])
            yield memory.data[:held]
            waiting, held = [], 0


def joined(reader: Reader) -> bytes:
    """The bytes of the original file, tensors decoded in place; errors as `join`."""
    pieces = list(_pieces(reader))
    return assembled(sum(map(_size, pieces)), lambda target: _fill(reader, pieces, target))


def _fill(reader: Reader, pieces: Sequence[bytes | Entry], target: memoryview) -> None:
    """Write these pieces, tensors decoded in place by several threads."""
    sizes = [_size(piece) for piece in pieces]
    tensors = []
    for piece, start, size in zip(pieces, starts(sizes), sizes, strict=False):
        part = target[start : start + size]
        if isinstance(piece, bytes):
            part[:] = piece
        else:
            tensors.append((piece.name, part))
    reader.fill(tensors)


def _size(piece: bytes | Entry) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size


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


def with_rest(holes: Sequence[Hole], size: int, name: str) -> list[Hole]:
    """The holes that do not overlap one before, and holes of bytes for long parts between.

    So what stays in the skeleton, which is held in memory, is short.

    Args:
        holes: In any order.
        size: Of the file.
        name: Of the entries of the parts between.
    """
    result: list[Hole] = []
    at = 0
    for hole in [*sorted(holes, key=lambda hole: (hole.start, hole.stop)), None]:
        begin = size if hole is None else hole.start
        if begin - at >= _WORTH_A_HOLE:
            entry = Entry(name, CODES["uint8"], (begin - at,))
            result.append(Hole(entry, at, at, begin))
        if hole is not None and at <= hole.start < hole.stop:
            result.append(hole)
            at = hole.stop
    return result


def uniquely_named(holes: Sequence[Hole], taken: Iterable[str] = ()) -> list[Hole]:
    """The same holes; of equal names, or those that are taken, the later ones get a number."""
    seen = set(taken)
    numbers: dict[str, int] = {}
    result = []
    for hole in holes:
        given = name = hole.entry.name
        while name in seen:
            numbers[given] = numbers.get(given, 1) + 1
            name = f"{given}#{numbers[given]}"
        seen.add(name)
        entry = Entry(name, hole.entry.code, hole.entry.shape)
        result.append(Hole(entry, hole.field, hole.start, hole.stop))
    return result
