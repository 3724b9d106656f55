"""The .tsr file: named tensors and sections, each read without the others.

FORMAT.md tells the layout, and is the only place that does.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from tersor.errors import FileError, FormatError, InputError
from tersor.store.atomic import write_atomically
from tersor.store.directory import (
    PRIMED,
    Block,
    Directory,
    Entry,
    Limits,
    in_layout_order,
    sealed,
    starts,
    unsealed,
)
from tersor.store.elements import ELEMENTS, SECTION, Array, from_bytes, same_bytes
from tersor.store.frame import HEADER_BYTES, MAGIC, VERSION, header_of
from tersor.store.layout import Item, blocks, candidates, items_of
from tersor.store.run import Run, afford
from tersor.store.source import Origin as Origin
from tersor.store.source import Source

KINDS = (
    *("tensors", "model"),
    *("packed onnx", "packed safetensors", "packed npz", "packed torch"),
)
_GRAPHS = {"model", "packed onnx"}  # their directories are much alike
_ALIGNED = 64  # bytes: where each of several tensors begins in memory
_INLINE = 2**16  # bytes; larger sections stand in blocks


@dataclass(frozen=True, slots=True)
class Info:
    """What the directory says about a tensor.

    Attributes:
        dtype: Name of the element type, as in "float32" or "int4".
        shape: Sizes.
        codec: Names of the codecs of its blocks, joined by "+"; "none" for no bytes.
        size: Bytes, decoded.
        stored: Bytes in the file; for a tensor in a shared block its share by size, rounded.
    """

    dtype: str
    shape: tuple[int, ...]
    codec: str
    size: int
    stored: int


def write_to(
    file: BinaryIO,
    items: Sequence[Item],
    sections: Mapping[str, bytes],
    *,
    codec: str = "auto",
    kind: str = "tensors",
    told: Callable[[float], object] | None = None,
) -> None:
    """Write a .tsr file, front to back, holding a few blocks at a time.

    Args:
        file: Where to.
        items: Tensors.
        sections: Bytes by name.
        codec: See `write`.
        kind: See `write`.
        told: Is told after each block which fraction is done.

    Raises:
        InputError: Unknown codec or kind, or more entries than a reader accepts.
    """
    if kind not in KINDS:
        raise InputError("kind", got=kind, allowed="one of " + ", ".join(KINDS))
    most = Limits().entries
    if len(items) + len(sections) > most:
        raise InputError("entries", got=len(items) + len(sections), allowed=f"at most {most}")
    inline = {name: bytes(s) for name, s in sections.items() if len(s) <= _INLINE}
    large = [
        Item(Entry(name, SECTION, (len(s),)), s)
        for name, s in sections.items()
        if len(s) > _INLINE
    ]
    everything = [*items, *large]
    flag = PRIMED if kind in _GRAPHS else 0
    header = MAGIC + bytes([VERSION, KINDS.index(kind) | flag])
    file.write(header)
    written: list[Block] = []
    done, total = 0, sum(item.entry.size for item in everything)
    for coded in blocks(everything, candidates(codec)):
        file.write(coded.payload)
        written.append(coded.block)
        done += coded.block.size
        if told is not None:
            told(done / total)
    entries = tuple(item.entry for item in everything)
    file.write(sealed(header, Directory(inline, tuple(written), entries)))


def encode(
    tensors: Mapping[str, Array],
    sections: Mapping[str, bytes],
    *,
    codec: str = "auto",
    kind: str = "tensors",
) -> bytes:
    """The bytes of a .tsr file; arguments and errors as `write`.

    >>> import numpy as np
    >>> data = encode({"w": np.arange(6, dtype=np.int8)}, {"note": b"hello"})
    >>> Reader(data).tensor("w"), Reader(data).section("note")
    (array([0, 1, 2, 3, 4, 5], dtype=int8), b'hello')
    """
    file = io.BytesIO()
    write_to(file, items_of(tensors), sections, codec=codec, kind=kind)
    return file.getvalue()


def write(
    path: str | Path,
    tensors: Mapping[str, Array],
    sections: Mapping[str, bytes],
    *,
    codec: str = "auto",
    kind: str = "tensors",
) -> int:
    """Write a .tsr file atomically, after every tensor was read back and compared.

    Args:
        path: Where to.
        tensors: Arrays by name; the element types of `tersor.store.elements`.
        sections: Bytes by name.
        codec: Name of a codec; or "fast" (of those that encode fast), "auto" (of those that
            decode fast) or "best" (of all): each block takes whichever gives the fewest bytes,
            but for slower ones in "auto", which must save a hundredth.
        kind: What the file is: one of KINDS.

    Returns:
        Size of the file in bytes.

    Raises:
        InputError: Unknown codec, kind or element type, or too many entries.
        FileError: The path cannot be written.
    """
    items = items_of(tensors)

    def check(written: Path) -> None:
        with Reader(written) as reader:
            reader.compare(items, sections)

    return write_atomically(
        path, lambda file: write_to(file, items, sections, codec=codec, kind=kind), check
    )


class Reader:
    """An open .tsr file. Use it in a `with` statement, or close it.

    Attributes:
        kind: What the file is: one of KINDS.
        name: The path of the file, for messages.
        size: Bytes of the file.
        overhead: Bytes of the file that are not payload: directory, sections in it, frame.
    """

    def __init__(self, origin: Origin, limits: Limits | None = None) -> None:
        """Open a file, and check everything but the tensors.

        Args:
            origin: See `tersor.store.source`.
            limits: What to accept; by default `Limits()`.

        Raises:
            FileError: The path or address cannot be read.
            FormatError: The file is damaged, not ours, or beyond the limits.
        """
        self._source = Source(origin)
        try:
            self._open(limits or Limits())
        except BaseException:
            self._source.close()
            raise

    def _open(self, limits: Limits) -> None:
        self.name, self.size = self._source.name, self._source.size
        header = header_of(self._source.read, self.size)
        self._header = header
        self._directory, begin = unsealed(self._source.read, self.size, header, limits)
        kind = header[5] & ~PRIMED
        if kind >= len(KINDS):
            raise FormatError(f"unknown kind {kind}", offset=5)
        self.kind = KINDS[kind]
        self._index(begin)

    def _index(self, begin: int) -> None:
        """Work out where everything is; `begin` is the first byte of the directory."""
        entries = self._directory.entries
        self._run = Run(self._source, self._directory.blocks, HEADER_BYTES)
        payload = self._run.end - HEADER_BYTES
        if self._run.end != begin:
            problem = f"blocks of {payload} bytes do not reach the directory"
            raise FormatError(problem, offset=begin)
        self.overhead = self.size - payload
        order = in_layout_order(entries)
        places = starts(entries[index].size for index in order)
        self._where = {
            (entries[index].code == SECTION, entries[index].name): (entries[index], place)
            for index, place in zip(order, places, strict=False)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors, in the order in which they were given."""
        return tuple(e.name for e in self._directory.entries if e.code != SECTION)

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of all sections."""
        large = (e.name for e in self._directory.entries if e.code == SECTION)
        return (*self._directory.sections, *large)

    def entry(self, name: str) -> Entry:
        """Type and shape of a tensor.

        Raises:
            InputError: There is none of that name.
        """
        return self._find(name)[0]

    def info(self, name: str) -> Info:
        """What the directory says about a tensor.

        Raises:
            InputError: There is none of that name.
        """
        entry, place = self._find(name)
        codec, stored = self._run.cost(place, entry.size)
        return Info(ELEMENTS[entry.code][0], entry.shape, codec, entry.size, round(stored))

    def stored(self, name: str) -> float:
        """Bytes of a tensor in the file; in a shared block its share by size.

        Raises:
            InputError: There is none of that name.
        """
        entry, place = self._find(name)
        return self._run.cost(place, entry.size)[1]

    def tensor(self, name: str) -> Array:
        """One tensor, checked; it cannot be written to. Others are not read.

        Nothing is copied where the file is in memory, and the tensor in it raw and aligned.

        Raises:
            InputError: There is none of that name.
            FormatError: It is damaged, or coded by a codec that this release lacks.
        """
        entry, place = self._find(name)
        view = self._run.view(place, entry.size)
        if view is not None:
            array = from_bytes(view, entry.code, entry.shape)
            if array.flags.aligned:
                return array
        return from_bytes(self._run.read(place, entry.size), entry.code, entry.shape)

    def tensors(self) -> dict[str, Array]:
        """All tensors, in order; decoded by several threads; errors as `tensor`.

        They share one piece of memory, which is there until the last of them is gone.
        """
        entries = [self.entry(name) for name in self.names]
        places = starts(-(-entry.size // _ALIGNED) * _ALIGNED for entry in entries)
        afford(places[-1])
        whole = np.empty(places[-1], np.uint8).data
        parts = [
            whole[place : place + entry.size]
            for entry, place in zip(entries, places, strict=False)
        ]
        self.fill(zip(self.names, parts, strict=True))
        return {
            entry.name: from_bytes(part, entry.code, entry.shape)
            for entry, part in zip(entries, parts, strict=True)
        }

    def raw(self, name: str) -> bytes:
        """The bytes of one tensor, checked; errors as `tensor`."""
        entry, place = self._find(name)
        return self._run.read(place, entry.size)

    def fill(self, targets: Iterable[tuple[str, memoryview]]) -> None:
        """Write the bytes of tensors into memory of their sizes; errors as `tensor`."""
        self._run.fill((self._find(name)[1], target) for name, target in targets)

    def section(self, name: str) -> bytes:
        """One section, checked.

        Raises:
            FormatError: There is none of that name, or it is damaged.
        """
        if name in self._directory.sections:
            return self._directory.sections[name]
        entry, place = self._section(name)
        return self._run.read(place, entry.size)

    def section_stored(self, name: str) -> float:
        """Bytes that the file would be shorter without a section.

        Raises:
            FormatError: There is none of that name.
        """
        sections = dict(self._directory.sections)
        if sections.pop(name, None) is not None:
            rest = replace(self._directory, sections=sections)
            return max(
                0.0,
                len(sealed(self._header, self._directory)) - len(sealed(self._header, rest)),
            )
        entry, place = self._section(name)
        return self._run.cost(place, entry.size)[1]

    def compare(self, items: Sequence[Item], sections: Mapping[str, bytes]) -> None:
        """Decode everything and compare it with what was meant to be written.

        Raises:
            FormatError: Something differs.
        """
        if list(self.names) != [item.entry.name for item in items]:
            raise FormatError("names read back differently", offset=0)
        for item in items:
            name = item.entry.name
            if self.entry(name) != item.entry or not same_bytes(self.raw(name), item.data):
                raise FormatError(f"{name!r} reads back differently", offset=0)
        for name, content in sections.items():
            if self.section(name) != content:
                raise FormatError(f"section {name!r} reads back differently", offset=0)

    def require(self, kind: str, remedy: str) -> None:
        """Be of that kind.

        Raises:
            FileError: The file is of another kind; the message ends with `remedy`.
        """
        if self.kind != kind:
            problem = f"holds {self.kind!r}, not {kind!r}"
            raise FileError(self._source.name, problem, remedy)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _find(self, name: str) -> tuple[Entry, int]:
        if (False, name) not in self._where:
            some = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
            raise InputError("tensor", got=name, allowed=f"one of {some}")
        return self._where[False, name]

    def _section(self, name: str) -> tuple[Entry, int]:
        if (True, name) not in self._where:
            raise FormatError(f"section {name!r} is missing", offset=self.size)
        return self._where[True, name]
