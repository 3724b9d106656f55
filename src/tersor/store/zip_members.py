"""Where the tensors are in a zip archive: .npz files, and what torch.save writes.

Only members that are stored as they are can be cut out of the archive's bytes. An archive with
compressed members is first written anew with all of them stored: then what its members hold
comes back, bit for bit, but not the archive around them.

Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", 4.3.7
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from numpy.lib import format as npy

from tersor.errors import FileError
from tersor.store.directory import MOST_DIMENSIONS, Entry
from tersor.store.elements import CODES, numpy_type
from tersor.store.skeleton import Buffer, Hole, uniquely_named, with_rest

Described = Mapping[int, Entry]  # first byte of the elements -> what they are

LIMIT_BYTES = 2**36  # that the members of an archive may hold, all together
_LOCAL = struct.Struct("<4s22x2H")  # signature, sizes of name and extra
_MOST_MEMBERS = 2**14
_DENSEST = 1040  # bytes that a byte of deflate stands for, at most, and a little
_CHUNK = 2**20
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_LONGEST_HEADER = 2**14  # bytes of an .npy header that are looked at
_REMEDY = "Write it again."
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, struct.error),
)


def find(path: Path, data: Buffer, described: Described | None = None) -> list[Hole]:
    """All tensors of an archive, in order of place; long members of other kinds as bytes.

    Args:
        path: Of the archive.
        data: Its bytes.
        described: What stands where; by default arrays are looked for.

    Raises:
        FileError: It is no archive.
    """
    holes = []
    for info in members(path):
        start = start_of(info, data)
        if start is None:
            continue
        stop = start + info.file_size
        if described is None:
            hole = _array(info, data, start)
        else:
            hole = _described(described, start, stop)
        if hole is not None:
            holes.append(hole)
    return uniquely_named(with_rest(holes, len(data), "archive"))


def start_of(info: zipfile.ZipInfo, data: Buffer) -> int | None:
    """The first byte of a member's content; None if it does not stand there as it is."""
    begin = info.header_offset
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    if not 0 <= begin <= len(data) - _LOCAL.size:
        return None
    signature, name, extra = _LOCAL.unpack(bytes(data[begin : begin + _LOCAL.size]))
    start: int = begin + _LOCAL.size + name + extra
    fits = signature == b"PK\x03\x04" and start + info.file_size <= len(data)
    return start if fits else None


def is_archive(path: Path) -> bool:
    """Whether a file ends as a zip archive does."""
    try:
        return zipfile.is_zipfile(path)
    except _BROKEN:
        return False


def members(path: Path) -> list[zipfile.ZipInfo]:
    """What is in an archive.

    Raises:
        FileError: It is no archive, or holds too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "Check it.") from None
    except _BROKEN as error:
        raise FileError(path, f"is no whole zip archive ({error})", _REMEDY) from None
    if len(infos) > _MOST_MEMBERS:
        problem = f"holds {len(infos)} members, at most {_MOST_MEMBERS} can be"
        raise FileError(path, problem, _REMEDY)
    return infos


def are_stored(path: Path) -> bool:
    """Whether no member of an archive is compressed; errors as `members`."""
    return all(info.compress_type == zipfile.ZIP_STORED for info in members(path))


def store(path: Path, target: Path, told: Callable[[float], object] | None = None) -> None:
    """Write an archive anew, with all members stored as they are.

    Args:
        path: The archive.
        target: The archive to write; equal for equal members.
        told: Is told from time to time which fraction is done.

    Raises:
        FileError: It is damaged, or its members are not what they say.
    """
    infos = members(path)
    _bound(path, infos)
    total, done = sum(info.file_size for info in infos), 0
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as result:
            for info in infos:
                plain = zipfile.ZipInfo(info.filename)
                with (
                    source.open(info) as given,
                    result.open(plain, "w", force_zip64=info.file_size >= 2**31) as taken,
                ):
                    while chunk := given.read(_CHUNK):
                        taken.write(chunk)
                        done += len(chunk)
                        if told is not None:
                            told(done / total)
    except OSError as error:
        raise FileError(path, f"cannot be unpacked ({error.strerror})", "Check it.") from None
    except _BROKEN as error:
        raise FileError(path, f"is damaged ({error})", _REMEDY) from None


def _bound(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse what members cannot hold, before any is unpacked."""
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"has member {info.filename!r} in method {info.compress_type}"
            raise FileError(path, problem, "Compress it by deflate, or not at all.")
        if info.file_size > _DENSEST * (info.compress_size + 1):
            problem = f"has {info.compress_size} bytes for {info.file_size} of member "
            raise FileError(path, f"{problem}{info.filename!r}", _REMEDY)
    names = {info.filename for info in infos}
    if len(names) != len(infos):
        raise FileError(path, "has two members of one name", _REMEDY)
    if sum(info.file_size for info in infos) > LIMIT_BYTES:
        raise FileError(path, f"holds more than {LIMIT_BYTES} bytes", "Divide it.")


def _described(described: Described, start: int, stop: int) -> Hole | None:
    """The tensor that is said to stand there, if it fills the member."""
    entry = described.get(start)
    if entry is None or entry.size != stop - start:
        return None
    return Hole(entry, start, start, stop)


def _array(info: zipfile.ZipInfo, data: Buffer, start: int) -> Hole | None:
    """The array of an .npy member; None if it is of no known kind."""
    file = io.BytesIO(bytes(data[start : start + min(info.file_size, _LONGEST_HEADER)]))
    try:
        header = _HEADERS[npy.read_magic(cast(BinaryIO, file))]
        shape, by_columns, dtype = header(cast(BinaryIO, file))
    except Exception:  # noqa: BLE001 - numpy's parser fails in many ways; bytes they stay
        return None
    code = CODES.get(dtype.name, 0)
    if not code or dtype != numpy_type(code) or len(shape) > MOST_DIMENSIONS:
        return None
    if any(not 0 <= size < 2**63 for size in shape):
        return None
    begin, stop = start + file.tell(), start + info.file_size
    entry = Entry(info.filename.removesuffix(".npy"), code, tuple(map(int, shape)))
    if entry.size != stop - begin:
        return None
    if by_columns:
        entry = Entry(entry.name, code, ((stop - begin) // dtype.itemsize,))
    return Hole(entry, begin, begin, stop)
