"""Any .onnx or .safetensors file made smaller without loss: the bytes come back identical."""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

from tersor.errors import FileError, FormatError
from tersor.store import onnx_wire, safetensors_header
from tersor.store.atomic import write_atomically
from tersor.store.container import Info, Reader, write_to
from tersor.store.skeleton import SECTION_NAME, Hole, cut, join

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class PackResult:
    """What packing or unpacking did.

    Attributes:
        original_bytes: Of the .onnx or .safetensors file.
        stored_bytes: Of the .tsr file.
        seconds: All of it, the check included.
        tensors: By name, in order.
    """

    original_bytes: int
    stored_bytes: int
    seconds: float
    tensors: dict[str, Info]


def pack(source: Path, target: Path, *, codec: str = "auto") -> PackResult:
    """Pack a file, and unpack it again to compare before `target` appears.

    Args:
        source: An .onnx file without external data, or a .safetensors file.
        target: The .tsr file to write.
        codec: See `container.write`.

    Raises:
        FileError: A path cannot be used, or `source` is damaged or of another format.
        InputError: There is no such codec.
    """
    began = perf_counter()
    kind = _kind(source)
    data = _mapped(source)
    items, skeleton = cut(data, _find(source, data, kind))
    known: dict[str, Info] = {}

    def check(written: Path) -> None:
        with Reader(written) as reader:
            _compare(join(reader), data)
            known.update((name, reader.info(name)) for name in reader.names)

    def fill(file: BinaryIO) -> None:
        write_to(file, items, {SECTION_NAME: skeleton}, codec=codec, kind=kind)

    stored = write_atomically(target, fill, check)
    return PackResult(len(data), stored, perf_counter() - began, known)


def unpack(source: Path, target: Path) -> PackResult:
    """Write the file that was packed, exactly as it was.

    Args:
        source: A .tsr file that `pack` wrote.
        target: The file to write.

    Raises:
        FileError: A path cannot be used, or `source` holds a model instead.
        FormatError: `source` is damaged, or not ours.
    """
    began = perf_counter()
    with Reader(source) as reader:
        if not reader.kind.startswith("packed"):
            problem = f"holds {reader.kind!r}, not a packed file"
            raise FileError(source, problem, "Models are written by `tersor export`.")
        checksum = 0

        def fill(file: BinaryIO) -> None:
            nonlocal checksum
            for piece in join(reader):
                file.write(piece)
                checksum = zlib.crc32(piece, checksum)

        def check(written: Path) -> None:
            if _checksum(written) != checksum:
                raise FileError(target, "reads back differently", "The disk may be failing.")

        size = write_atomically(target, fill, check)
        known = {name: reader.info(name) for name in reader.names}
        return PackResult(size, reader.size, perf_counter() - began, known)


def _kind(source: Path) -> str:
    kinds = {".onnx": "packed onnx", ".safetensors": "packed safetensors"}
    if source.suffix.lower() not in kinds:
        raise FileError(source, "cannot be packed", "Give an .onnx or .safetensors file.")
    return kinds[source.suffix.lower()]


def _mapped(source: Path) -> memoryview:
    """The bytes of a file, read from the disk as they are looked at."""
    try:
        with source.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise FileError(source, problem, "Check the path and its permissions.") from None
    except ValueError:
        raise FileError(source, "is empty", "There is nothing to pack.") from None


def _find(source: Path, data: memoryview, kind: str) -> list[Hole]:
    finder = onnx_wire.find if kind == "packed onnx" else safetensors_header.find
    try:
        return finder(data)
    except FormatError as error:
        problem = f"cannot be packed: {error.problem}, at byte {error.offset}"
        remedy = "The file must be whole, and hold all of its data itself."
        raise FileError(source, problem, remedy) from None


def _compare(pieces: Iterator[bytes], data: memoryview) -> None:
    """Raise FormatError unless the pieces together are `data`."""
    at = 0
    for piece in pieces:
        if data[at : at + len(piece)] != piece:
            raise FormatError("the file reads back differently", offset=at)
        at += len(piece)
    if at != len(data):
        raise FormatError("the file reads back shorter", offset=at)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
