"""Files that can be packed: where their tensors are, whichever kind they are of.

| kind | read as | comes back |
|---|---|---|
| .onnx | protobuf; files of external data too | byte for byte, all files |
| .safetensors | its header | byte for byte |
| .npz | zip | byte for byte; with compressed members, their contents |
| .pt, .pth, .th | `torch.load(weights_only=True)` | as .npz; before torch 1.6, byte for byte |
| .pt2 | zip | as .npz |
"""

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from tersor.errors import FileError, FormatError
from tersor.store import onnx_wire, safetensors_header, torch_archive, zip_members
from tersor.store.onnx_wire import External
from tersor.store.paths import inside
from tersor.store.skeleton import Hole, uniquely_named, with_rest

T = TypeVar("T")
Told = Callable[[float], object]

KINDS = {
    ".onnx": "packed onnx",
    ".safetensors": "packed safetensors",
    ".npz": "packed npz",
    ".pt": "packed torch",
    ".pth": "packed torch",
    ".th": "packed torch",
    ".pt2": "packed torch",
}
_SAVED = {".pt", ".pth", ".th"}  # by torch.save
_WHOLE = "The file must be whole."
_MOST_FILES = 2**10


class Mapped:
    """A file in memory, read from the disk as it is looked at.

    Attributes:
        data: Its bytes.
    """

    def __init__(self, path: Path) -> None:
        """Map it.

        Raises:
            FileError: It cannot be read, or is empty.
        """
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise FileError(path, problem, "Check the path and its permissions.") from None
        except ValueError:
            raise FileError(path, "is empty", "There is nothing to pack.") from None
        self.data = memoryview(self._map)

    def forget(self) -> None:
        """Give the memory back; what is looked at again is read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class Part:
    """One file.

    Attributes:
        name: Relative to the folder of the file to be packed, with "/".
        file: Its bytes.
        holes: Where its tensors are.
    """

    name: str
    file: Mapped
    holes: Sequence[Hole]


@dataclass(frozen=True, slots=True)
class Original:
    """What is to be packed.

    Attributes:
        kind: See `tersor.store.container.KINDS`.
        parts: Its files, the one that names the others last.
        size: Bytes of all files, as they are on the disk.
        rebuilt: True if members of an archive were compressed, so that only what they hold
            comes back.
    """

    kind: str
    parts: Sequence[Part]
    size: int
    rebuilt: bool = field(default=False)


@contextmanager
def opened(path: Path, scratch: Path, told: Told | None = None) -> Iterator[Original]:
    """A file that is to be packed, and those that it needs.

    Args:
        path: The file.
        scratch: A folder with room for an archive that has to be unpacked first.
        told: Is told which fraction is done, of unpacking it.

    Raises:
        FileError: It cannot be read, is damaged, or of no kind that can be packed.
    """
    suffix = path.suffix.lower()
    if suffix not in KINDS:
        known = ", ".join(KINDS)
        raise FileError(path, "cannot be packed", f"Give one of these: {known}.")
    if suffix == ".onnx":
        yield _onnx(path)
    elif suffix == ".safetensors":
        file = Mapped(path)
        holes = _understood(path, lambda: safetensors_header.find(file.data))
        yield Original(KINDS[suffix], [Part(path.name, file, holes)], len(file.data))
    else:
        with _archive(path, scratch, told) as original:
            yield original


@contextmanager
def _archive(path: Path, scratch: Path, told: Told | None) -> Iterator[Original]:
    """A zip archive, without compression if need be."""
    size = len(Mapped(path).data)
    if path.suffix.lower() in _SAVED and not zip_members.is_archive(path):
        file = Mapped(path)
        holes = torch_archive.saved_long_ago(path, file.data)
        yield Original(KINDS[path.suffix.lower()], [Part(path.name, file, holes)], size)
        return
    if not zip_members.is_archive(path):
        raise FileError(path, "cannot be packed: it is no zip archive", "Write it again.")
    if zip_members.are_stored(path):
        yield Original(KINDS[path.suffix.lower()], [_members(path, path)], size)
        return
    with TemporaryDirectory(prefix=".tersor-", dir=scratch) as folder:
        plain = Path(folder) / "plain.zip"
        zip_members.store(path, plain, told)
        yield Original(KINDS[path.suffix.lower()], [_members(path, plain)], size, rebuilt=True)


def _members(path: Path, plain: Path) -> Part:
    """The tensors in an archive; `plain` is the file to be read."""
    file = Mapped(plain)
    described = None
    if path.suffix.lower() in _SAVED:
        described = torch_archive.saved(plain)
    elif path.suffix.lower() == ".pt2":
        described = torch_archive.exported(plain, file.data)
    return Part(path.name, file, zip_members.find(plain, file.data, described))


def _onnx(path: Path) -> Original:
    """An ONNX model, and the files that hold its external data."""
    model = Mapped(path)
    holes, outside = _understood(path, lambda: onnx_wire.find_all(model.data))
    parts: list[Part] = []
    names = [hole.entry.name for hole in holes]
    for location in dict.fromkeys(external.location for external in outside):
        beside = inside(path.parent, location)
        if len(parts) >= _MOST_FILES or not beside.is_file() or beside.samefile(path):
            problem = f"keeps data in {location!r}, which cannot be read beside it"
            raise FileError(path, problem, "Save the model again.")
        file = Mapped(beside)
        found = _external(path, outside, location, len(file.data))
        found = uniquely_named(with_rest(found, len(file.data), location), names)
        names += [hole.entry.name for hole in found]
        parts.append(Part(location, file, found))
    parts.append(Part(path.name, model, holes))
    return Original(KINDS[".onnx"], parts, sum(len(part.file.data) for part in parts))


def _external(
    path: Path, outside: Sequence[External], location: str, size: int
) -> Sequence[Hole]:
    """The tensors in one file of external data."""
    here = [external for external in outside if external.location == location]
    return _understood(path, lambda: [external.hole(size) for external in here])


def _understood(path: Path, find: Callable[[], T]) -> T:
    """What `find` gives; FormatError as a FileError that names the file."""
    try:
        return find()
    except FormatError as error:
        problem = f"cannot be packed: {error.problem}, at byte {error.offset}"
        raise FileError(path, problem, _WHOLE) from None
