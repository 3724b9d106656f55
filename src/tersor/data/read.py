"""Reading samples from wherever the user has them.

.npz                       arrays named like the model's inputs; `labels` is optional
.jsonl, .tsv, .csv, .txt   texts, with a text.toml beside it, see `tersor.data.text`
folder                     with a preprocess.toml: images, see `tersor.data.images`;
                           with an audio.toml: sounds, see `tersor.data.audio`;
                           with a text.toml: texts
package.module:name        a callable that returns samples, or an object that holds them: see
                           `tersor.data.objects` (arrays, batches, datasets, DataLoaders)

Images, sounds, texts and datasets are read when a batch asks for them, and arrays of large
.npz files stay in the file if that is not compressed.
"""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tersor.data import audio, images, text
from tersor.data.callables import call, is_spec
from tersor.data.lazy import Lazy
from tersor.data.objects import Names, samples_of, samples_of_arrays
from tersor.data.samples import Samples
from tersor.errors import FileError, InputError

Array = NDArray[np.generic]

LIMIT_BYTES = 16 << 30
MAPPED_BYTES = 64 << 20  # arrays of this size and above stay in the file

_KINDS = (
    "an .npz, .jsonl, .tsv, .csv or .txt file, a folder of images, sounds or texts, or "
    "package.module:callable"
)
_FOLDERS = {
    images.TABLE: images.read_images,
    audio.TABLE: audio.read_audio,
    text.TABLE: text.read_text,
}
_DAMAGED = "Write it again with numpy.savez."
_UNREADABLE = (SyntaxError, TypeError, RecursionError, OverflowError, tokenize.TokenError)
_ITEMS = 10_000  # most arrays in a file
_LOCAL = struct.Struct("<4s22x2H")  # of a zip's member: signature, sizes of name and extra
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def as_samples(given: object, names: Names = None) -> Samples:
    """Samples from a path, the name of a callable, or any object that holds some.

    Args:
        given: See the module, and `tersor.data.objects`.
        names: Of the model's inputs, in order: what tuples of arrays are matched with.

    Raises:
        InputError, FileError, DataError, CallableError: As `read_samples` and `samples_of`.
    """
    if isinstance(given, str | Path):
        return read_samples(given, names=names)
    return samples_of(given, "data", names)


def read_samples(
    source: str | Path, *, limit_bytes: int = LIMIT_BYTES, names: Names = None
) -> Samples:
    """Samples from a file, a folder or a callable.

    Args:
        source: See the module.
        limit_bytes: What the arrays of a file may take, all together.
        names: Of the model's inputs, in order.

    Raises:
        InputError: `source` is of no known kind.
        FileError: The file cannot be read, is damaged, or holds more than it may.
        DataError: What it holds are no samples.
        CallableError: The callable raised.
    """
    check_source(source)
    path = Path(source)
    if path.is_dir():
        (table,) = [name for name in _FOLDERS if (path / name).is_file()]
        return _FOLDERS[table](path)
    if path.suffix.lower() == ".npz":
        return samples_of_arrays(str(path), _read_npz(path, limit_bytes))
    if path.suffix.lower() in text.SUFFIXES:
        return text.read_text(path)
    return samples_of(call(str(source)), str(source), names)


def check_source(source: str | Path) -> None:
    """Refuse at once what `read_samples` would refuse by its name alone.

    Raises:
        InputError: `source` is of no known kind.
        FileError: There is no such file, or the folder does not say what is in it.
    """
    path = Path(source)
    if path.is_dir():
        tables = [name for name in _FOLDERS if (path / name).is_file()]
        if len(tables) != 1:
            has = " and ".join(tables) or f"none of {', '.join(_FOLDERS)}"
            remedy = "One table says how files become arrays; see docs/bring-your-model.md."
            raise FileError(path, f"has {has}", remedy)
    elif path.suffix.lower() in {".npz", *text.SUFFIXES}:
        if not path.is_file():
            raise FileError(path, "cannot be read (No such file)", "Check the path.")
    elif not is_spec(str(source)):
        raise InputError("data", got=str(source), allowed=_KINDS)


def _read_npz(path: Path, limit_bytes: int) -> dict[str, Array]:
    """All arrays of an .npz file, after the sizes that it declares were added up."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(path, archive)
            _bound(path, archive, members, limit_bytes)
            return {name: _read_member(path, archive, info) for name, info in members.items()}
    except OSError as error:
        raise FileError(
            path, f"cannot be read ({error.strerror or error})", "Check it."
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FileError(path, f"is damaged ({_first_line(error)})", _DAMAGED) from None
    except (RuntimeError, ValueError, struct.error, MemoryError) as error:
        raise FileError(path, f"is damaged ({_first_line(error)})", _DAMAGED) from None


def _first_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays by name."""
    infos = archive.infolist()
    if len(infos) > _ITEMS:
        raise FileError(path, f"holds {len(infos)} arrays", f"At most {_ITEMS} are read.")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise FileError(path, f"holds {info.filename!r}, which is no array", _DAMAGED)
        if name in found:
            raise FileError(path, f"holds two arrays named {name!r}", _DAMAGED)
        found[name] = info
    if not found:
        raise FileError(path, "holds no array", _DAMAGED)
    return found


def _bound(
    path: Path,
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    limit_bytes: int,
) -> None:
    """Refuse what would take too much memory, by what the headers of the arrays declare."""
    total = 0
    for name, info in members.items():
        with archive.open(info) as file:
            shape, dtype = _header(path, name, cast(BinaryIO, file))
        size = int(np.prod([int(d) for d in shape], dtype=object)) * dtype.itemsize
        if size > info.file_size:
            problem = f"declares {size} bytes for array {name!r} and holds {info.file_size}"
            raise FileError(path, problem, _DAMAGED)
        total += size
    if total > limit_bytes:
        problem = f"holds {total} bytes of arrays, more than the limit of {limit_bytes}"
        raise FileError(path, problem, "Give fewer samples.")


def _header(path: Path, name: str, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise FileError(path, f"holds array {name!r} in format {version}", _DAMAGED)
    try:
        shape, _, dtype = _HEADERS[version](file)
    except _UNREADABLE as error:
        raise FileError(path, f"is damaged in array {name!r} ({error})", _DAMAGED) from None
    if dtype.hasobject:
        problem = f"holds Python objects in array {name!r}, which are never loaded"
        raise FileError(path, problem, "Save arrays of numbers.")
    if any(size < 0 for size in shape):
        raise FileError(path, f"declares a negative size for array {name!r}", _DAMAGED)
    return shape, dtype


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array; the zip's own checksum is verified by reading to the end."""
    if info.compress_type == zipfile.ZIP_STORED and info.file_size >= MAPPED_BYTES:
        return _in_the_file(path, archive, info)
    try:
        with archive.open(info) as file:
            array = npy.read_array(cast(BinaryIO, file), allow_pickle=False)
            if file.read(1):
                raise FileError(path, f"holds more than array {info.filename!r}", _DAMAGED)
    except _UNREADABLE as error:
        raise FileError(path, f"is damaged ({_first_line(error)})", _DAMAGED) from None
    return cast(Array, array)


def _in_the_file(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """An array that is not compressed, as lazy rows, after its checksum was verified."""
    with archive.open(info) as file:
        shape, dtype = _header(path, info.filename, cast(BinaryIO, file))
        start = file.tell()
        while file.read(1 << 20):  # the last one verifies the checksum
            pass
    with archive.open(info) as file:
        version = npy.read_magic(cast(BinaryIO, file))
        _, by_columns, _ = _HEADERS[version](cast(BinaryIO, file))
    size = int(np.prod([int(d) for d in shape], dtype=object)) * dtype.itemsize
    if start + size != info.file_size:
        raise FileError(path, f"holds more than array {info.filename!r}", _DAMAGED)
    if not shape:
        raise FileError(path, f"holds one number as array {info.filename!r}", _DAMAGED)
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        header = raw.read(_LOCAL.size)
    signature, name_size, extra_size = _LOCAL.unpack(header)
    if signature != b"PK\x03\x04":
        raise FileError(path, f"is damaged in array {info.filename!r}", _DAMAGED)
    offset = info.header_offset + _LOCAL.size + name_size + extra_size + start
    order: Literal["C", "F"] = "F" if by_columns else "C"

    def rows(some: NDArray[np.intp]) -> Array:
        # mapped anew: what has been read stays in memory for as long as a map lives
        try:
            return np.asarray(np.memmap(path, dtype, "r", offset, shape, order)[some])
        except (OSError, ValueError) as error:
            problem = f"has changed since it was opened ({_first_line(error)})"
            raise FileError(path, problem, "Leave it alone until the end.") from None

    return cast(Array, Lazy(rows, np.arange(shape[0], dtype=np.intp), shape[1:], dtype))
