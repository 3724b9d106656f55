"""Reading samples from wherever the user has them.

.npz                     arrays named like the model's inputs; `labels` is optional
folder                   images, see `tersor.data.images`
package.module:callable  returns `Samples`, a dict of arrays, or (dict of arrays, labels)
"""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tersor.data.callables import call, is_spec
from tersor.data.images import read_images
from tersor.data.samples import Samples
from tersor.errors import DataError, FileError, InputError

Array = NDArray[np.generic]

LIMIT_BYTES = 16 << 30
LABELS = "labels"

_KINDS = "an .npz file, a folder of images, or package.module:callable"
_DAMAGED = "Write it again with numpy.savez."
_UNREADABLE = (SyntaxError, TypeError, RecursionError, OverflowError, tokenize.TokenError)
_ITEMS = 10_000  # most arrays in a file
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_samples(source: str | Path, *, limit_bytes: int = LIMIT_BYTES) -> Samples:
    """Samples from a file, a folder or a callable.

    Args:
        source: See the module.
        limit_bytes: What the arrays may take in memory, all together.

    Raises:
        InputError: `source` is of no known kind.
        FileError: The file cannot be read, is damaged, or holds more than it may.
        DataError: What it holds are no samples.
        CallableError: The callable raised.
    """
    path = Path(source)
    if path.suffix.lower() == ".npz":
        return _from_arrays(str(path), _read_npz(path, limit_bytes))
    if path.is_dir():
        return read_images(path)
    if is_spec(str(source)):
        return _called(str(source))
    raise InputError("data", got=str(source), allowed=_KINDS)


def _from_arrays(what: str, arrays: Mapping[str, Any], labels: Any = None) -> Samples:
    """Samples of named arrays; one named `labels` holds the labels."""
    found = {str(name): _array(f"{what}: {name}", value) for name, value in arrays.items()}
    own = found.pop(LABELS, None)
    if labels is not None:
        own = _array(f"{what}: labels", labels)
    return Samples(found, own)


def _array(what: str, value: Any) -> Array:
    """An array, or a tensor, as an array of numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DataError(what, f"holds {array.dtype}, not numbers", "Give arrays of numbers.")
    return cast(Array, array)


def _called(spec: str) -> Samples:
    made = call(spec)
    if isinstance(made, Samples):
        return made
    labels = None
    if isinstance(made, tuple) and len(made) == 2:
        made, labels = made
    if not isinstance(made, Mapping):
        allowed = "a callable that returns Samples, a dict of arrays, or (dict, labels)"
        raise InputError(spec, got=type(made).__name__, allowed=allowed)
    return _from_arrays(spec, made, labels)


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
    try:
        with archive.open(info) as file:
            array = npy.read_array(cast(BinaryIO, file), allow_pickle=False)
            if file.read(1):
                raise FileError(path, f"holds more than array {info.filename!r}", _DAMAGED)
    except _UNREADABLE as error:
        raise FileError(path, f"is damaged ({_first_line(error)})", _DAMAGED) from None
    return cast(Array, array)
