"""Bytes to read from, a piece at a time, wherever they are.

| origin | read |
|---|---|
| path | by seeking |
| bytes, or a memoryview (see `mapped`) | in place |
| file object that can seek | by seeking; it stays open |
| URL, as in "https://host/model.tsr" or "s3://bucket/model.tsr" | by ranges, through fsspec |
"""

import mmap
import re
import threading
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tersor.errors import FileError, FormatError

Origin = str | Path | bytes | memoryview | BinaryIO

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_TAIL = 2**16  # bytes at the end of a remote file that are asked for at once
_REMOTE = "Check the address and the network."


class _Place(Protocol):
    """Where the bytes are: `read` may give fewer than asked for if the place shrinks."""

    name: str
    size: int

    def read(self, start: int, count: int) -> bytes: ...

    def close(self) -> None: ...


class Source:
    """Bytes by their place. Threads can share it.

    A file that is replaced while it is open is read on as it was.

    Attributes:
        name: The path or address, for messages.
        size: In bytes.
    """

    def __init__(self, origin: Origin) -> None:
        """Open it.

        Raises:
            FileError: It cannot be read, or is an address and fsspec is not installed.
        """
        self._place: _Place | None = _place(origin)
        self.name, self.size = self._place.name, self._place.size

    def read(self, start: int, count: int) -> bytes:
        """Exactly `count` bytes from `start` on.

        Raises:
            FormatError: There are not that many.
            FileError: The disk or the network refused, or the source was closed.
        """
        data = self._at(start, count).read(start, count)
        if len(data) != count:
            raise FormatError("the file was cut while it was read", offset=start + len(data))
        return data

    def view(self, start: int, count: int) -> memoryview | None:
        """The same bytes where they are, if they are in memory; errors as `read`."""
        place = self._at(start, count)
        return place.data[start : start + count] if isinstance(place, _Memory) else None

    def close(self) -> None:
        """Close what was opened here; bytes in memory stay."""
        if self._place is not None and not isinstance(self._place, _Memory):
            self._place.close()
            self._place = None

    def _at(self, start: int, count: int) -> _Place:
        if start < 0 or count < 0 or start + count > self.size:
            problem = f"{count} bytes wanted at {start}, the file has {self.size}"
            raise FormatError(problem, offset=max(0, min(start, self.size)))
        if self._place is None:
            raise FileError(self.name, "was closed", "Open it again.")
        return self._place


def is_address(origin: object) -> bool:
    """Whether it is a URL: read through fsspec."""
    return isinstance(origin, str) and _URL.match(origin) is not None


def mapped(path: str | Path) -> memoryview:
    """A file in memory, read from the disk as it is looked at.

    Tensors that are stored as they are (codec "raw") are then not copied at all. The file
    must not be cut while it is mapped: the system would end the process. Files that are
    replaced, as Tersor writes them, are safe.

    Raises:
        FileError: The path cannot be read, or the file is empty.
    """
    try:
        with Path(path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise _cannot_read(str(path), error) from None
    except ValueError:
        raise FileError(path, "is empty", "Write it again.") from None


def _place(origin: Origin) -> _Place:
    if isinstance(origin, bytes | memoryview):
        return _Memory(origin)
    if isinstance(origin, str | Path):
        if is_address(origin):
            return _Remote(str(origin))
        try:
            file = Path(origin).open("rb")  # noqa: SIM115 - closed by Source.close
        except OSError as error:
            raise _cannot_read(str(origin), error) from None
        return _File(file, str(origin), owned=True)
    return _File(origin, str(getattr(origin, "name", "<file>")), owned=False)


class _Memory:
    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data).cast("B").toreadonly()
        self._bytes = data if isinstance(data, bytes) else None
        self.name, self.size = "<bytes>", len(self.data)

    def read(self, start: int, count: int) -> bytes:
        if self._bytes is not None:
            return self._bytes[start : start + count]
        return bytes(self.data[start : start + count])

    def close(self) -> None:
        """The bytes belong to someone else."""


class _File:
    def __init__(self, file: BinaryIO, name: str, *, owned: bool) -> None:
        self._file, self._owned, self.name = file, owned, name
        self._lock = threading.Lock()
        try:
            self.size = file.seek(0, 2)
        except (OSError, ValueError, AttributeError) as error:
            self.close()
            raise _cannot_read(name, error) from None

    def read(self, start: int, count: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(start)
                pieces, left = [], count
                while left and (piece := self._file.read(left)):  # may give less than asked
                    pieces.append(piece)
                    left -= len(piece)
        except (OSError, ValueError) as error:
            raise _cannot_read(self.name, error) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        if self._owned:
            self._file.close()


class _Remote:
    """A file behind an address; the end, where the directory is, is fetched at once."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError:
            remedy = "pip install 'tersor[remote]'"
            raise FileError(url, "needs fsspec, which is not installed", remedy) from None
        self.name = url
        try:
            self._system: Any
            self._system, self._path = fsspec.url_to_fs(url)
            self.size = int(self._system.size(self._path))
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            raise _cannot_fetch(url, error) from None
        self._tail_at, self._tail = self.size, b""
        start = max(0, self.size - _TAIL)
        self._tail, self._tail_at = self.read(start, self.size - start), start

    def read(self, start: int, count: int) -> bytes:
        if start >= self._tail_at:
            return self._tail[start - self._tail_at :][:count]
        if count == 0:
            return b""
        try:
            data = self._system.cat_file(self._path, start=start, end=start + count)
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            raise _cannot_fetch(self.name, error) from None
        if len(data) > count:
            remedy = "Download it, or use a server that gives parts of files."
            raise FileError(self.name, "is served only as a whole", remedy)
        return bytes(data)

    def close(self) -> None:
        """Connections belong to fsspec."""


def _cannot_read(name: str, error: Exception) -> FileError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return FileError(name, f"cannot be read ({reason})", "Check the path and its permissions.")


def _cannot_fetch(url: str, error: Exception) -> FileError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return FileError(url, f"cannot be fetched ({type(error).__name__}: {reason})", _REMOTE)
