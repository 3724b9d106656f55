"""Any file of tensors made smaller without loss: see `tersor.store.originals` for the kinds.

The parts of a file that are no tensors stand in its skeleton. A model with external data is
packed as one run of bytes, those files first; the section `files` then tells where each ends.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

from tersor.errors import FileError, FormatError
from tersor.kernels import crc32
from tersor.store.atomic import write_atomically
from tersor.store.container import Info, Origin, Reader, write_to
from tersor.store.elements import same_bytes
from tersor.store.originals import Part, opened
from tersor.store.paths import inside
from tersor.store.skeleton import SECTION_NAME, cut_all, join
from tersor.store.varint import Cursor, text, varint

Advance = Callable[[str, float], object]

_FILES, _REBUILT = "files", "rebuilt"
_CHUNK = 2**20
_FORGET = 2**26  # bytes of a mapped file that stay in memory, about
_MOST_FILES = 2**11


@dataclass(frozen=True, slots=True)
class PackResult:
    """What packing or unpacking did.

    Attributes:
        original_bytes: Of the file, or of all files of a model with external data.
        stored_bytes: Of the .tsr file.
        seconds: All of it, the check included.
        tensors: By name, in order.
        identical: What comes back equal: "bytes", or only the "tensors" of an archive whose
            members were compressed, and its other members.
        files: Names of the files, the packed one last.
    """

    original_bytes: int
    stored_bytes: int
    seconds: float
    tensors: dict[str, Info]
    identical: str
    files: tuple[str, ...]


def pack(
    source: Path, target: Path, *, codec: str = "auto", advance: Advance | None = None
) -> PackResult:
    """Pack a file, and unpack it again to compare before `target` appears.

    Memory: the largest tensor and some blocks, whatever the size of the file.

    Args:
        source: A file of one of the kinds of `tersor.store.originals`.
        target: The .tsr file to write.
        codec: See `container.write`.
        advance: Is told what is done, and which fraction of it.

    Raises:
        FileError: A path cannot be used, or `source` is damaged or of another format.
        InputError: There is no such codec, or there are too many tensors.
    """
    began = perf_counter()
    told = advance or (lambda _phase, _done: None)
    with opened(source, target.parent, lambda done: told("unzip", done)) as original:
        parts = original.parts
        items, skeleton = cut_all([(part.file.data, part.holes) for part in parts])
        sections = {SECTION_NAME: skeleton}
        if len(parts) > 1:
            sections[_FILES] = _files_section(parts)
        if original.rebuilt:
            sections[_REBUILT] = b""
        known: dict[str, Info] = {}
        forget = _forgetful(parts)

        def check(written: Path) -> None:
            with Reader(written) as reader:
                _compare(join(reader), parts, lambda done: (told("check", done), forget(done)))
                known.update((name, reader.info(name)) for name in reader.names)

        def fill(file: BinaryIO) -> None:
            def coded(done: float) -> None:
                told("pack", done)
                forget(done)

            write_to(file, items, sections, codec=codec, kind=original.kind, told=coded)

        stored = write_atomically(target, fill, check)
        return PackResult(
            original_bytes=original.size,
            stored_bytes=stored,
            seconds=perf_counter() - began,
            tensors=known,
            identical=_identical(sections),
            files=tuple(part.name for part in parts),
        )


def unpack(source: Origin, target: Path, *, advance: Advance | None = None) -> PackResult:
    """Write the file that was packed, as it was, and those that it names beside it.

    Args:
        source: A .tsr file that `pack` wrote.
        target: The file to write. Files of external data get their own names, in its folder.
        advance: Is told what is done, and which fraction of it.

    Raises:
        FileError: A path cannot be used, `source` holds a model instead, or a file of
            external data is there already.
        FormatError: `source` is damaged, or not ours.
    """
    began = perf_counter()
    with Reader(source) as reader:
        if not reader.kind.startswith("packed"):
            problem = f"holds {reader.kind!r}, not a packed file"
            remedy = "Models are written by `tersor export`."
            raise FileError(reader.name, problem, remedy)
        files = _files(reader, target)
        total = max(1, sum(reader.entry(name).size for name in reader.names))
        told = advance or (lambda _phase, _done: None)
        size = _unpacked(reader, files, lambda given: told("unpack", given / total))
        return PackResult(
            original_bytes=size,
            stored_bytes=reader.size,
            seconds=perf_counter() - began,
            tensors={name: reader.info(name) for name in reader.names},
            identical=_identical(reader.sections),
            files=tuple(path.name for path, _ in files),
        )


def _unpacked(
    reader: Reader, files: Sequence[tuple[Path, int | None]], told: Callable[[float], object]
) -> int:
    """Write the files one after the other; all or none of those that are new stay."""
    stream = _Stream(join(reader), told)
    made: list[Path] = []
    try:
        for path, size in files:
            if size is not None:
                with suppress(OSError):  # what comes of it is said by the writing
                    path.parent.mkdir(parents=True, exist_ok=True)
            _write_checked(path, stream.take(size))
            made.append(path)
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.unlink()
        raise
    return stream.given


def _write_checked(path: Path, pieces: Iterator[memoryview]) -> None:
    """Write a file and read it back."""
    checksum = 0

    def fill(file: BinaryIO) -> None:
        nonlocal checksum
        for piece in pieces:
            file.write(piece)
            checksum = crc32(piece, checksum)

    def check(written: Path) -> None:
        if _checksum(written) != checksum:
            raise FileError(path, "reads back differently", "The disk may be failing.")

    write_atomically(path, fill, check)


class _Stream:
    """Pieces of any size, taken in parts of any size.

    Attributes:
        given: Bytes that were taken.
    """

    def __init__(self, pieces: Iterator[memoryview], told: Callable[[float], object]) -> None:
        self._pieces, self._told = pieces, told
        self._rest = memoryview(b"")
        self.given = 0

    def take(self, count: int | None) -> Iterator[memoryview]:
        """The next `count` bytes; all that are left for None. A part is valid until the next.

        Raises:
            FormatError: There are fewer.
        """
        left = count
        while left is None or left > 0:
            if not self._rest and not self._next():
                if left is None:
                    return
                raise FormatError(f"{left} bytes of a file are missing", offset=self.given)
            part = self._rest[:left]
            rest = self._rest[len(part) :]
            self._rest.release()  # the memory of a piece goes before the next one comes
            self._rest = rest
            left = None if left is None else left - len(part)
            self.given += len(part)
            self._told(float(self.given))
            yield part
            part.release()

    def _next(self) -> bool:
        """Take the next piece that is not empty; False if there is none."""
        self._rest.release()
        self._rest = memoryview(next(filter(None, self._pieces), b""))
        return bool(self._rest)


def _files(reader: Reader, target: Path) -> list[tuple[Path, int | None]]:
    """Where the packed files go, in the order of their bytes; the last has all that is left.

    Raises:
        FileError: One leads elsewhere, or is there already.
        FormatError: The section is damaged.
    """
    if _FILES not in reader.sections:
        return [(target, None)]
    cursor = Cursor(reader.section(_FILES))
    names = [cursor.text() for _ in range(cursor.count(_MOST_FILES, "files"))]
    sizes = cursor.varints(len(names))
    cursor.end()
    result: list[tuple[Path, int | None]] = []
    for name, size in zip(names, sizes, strict=True):
        path = inside(target.parent, name)
        if path.exists() or path in (target, *(known for known, _ in result)):
            raise FileError(path, "is there already", "Unpack into an empty folder.")
        result.append((path, size))
    return [*result, (target, None)]


def _files_section(parts: Sequence[Part]) -> bytes:
    """Names and sizes of all files but the last."""
    files = parts[:-1]
    sizes = (varint(len(part.file.data)) for part in files)
    return b"".join([varint(len(files)), *(text(part.name) for part in files), *sizes])


def _identical(sections: Iterable[str]) -> str:
    return "tensors" if _REBUILT in sections else "bytes"


def _forgetful(parts: Sequence[Part]) -> Callable[[float], None]:
    """A function of the fraction done that keeps mapped files from filling the memory."""
    total = sum(len(part.file.data) for part in parts)
    last = 0.0

    def forget(done: float) -> None:
        nonlocal last
        if abs(done - last) * total >= _FORGET:
            last = done
            for part in parts:
                part.file.forget()

    return forget


def _compare(
    pieces: Iterator[memoryview], parts: Sequence[Part], told: Callable[[float], object]
) -> None:
    """Raise FormatError unless the pieces together are the files, one after the other."""
    total = sum(len(part.file.data) for part in parts)
    stream = _Stream(pieces, lambda given: told(given / total))
    at = 0
    for part in parts:
        here = 0
        for piece in stream.take(len(part.file.data)):
            if not same_bytes(part.file.data[here : here + len(piece)], piece):
                raise FormatError("the file reads back differently", offset=at)
            here += len(piece)
            at += len(piece)
    if any(map(len, stream.take(None))):
        raise FormatError("the file reads back longer", offset=at)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = crc32(chunk, checksum)
    return checksum
