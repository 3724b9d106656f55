"""Bytes to read from, a piece at a time: a file that stays open, or bytes in memory."""

import threading
from pathlib import Path

from tersor.errors import FileError, FormatError


class Source:
    """A file, read by seeking and never as a whole, or bytes.

    A file that is replaced while it is open is read on as it was.

    Attributes:
        name: The path, for messages.
        size: In bytes.
    """

    def __init__(self, origin: str | Path | bytes) -> None:
        """Open it.

        Raises:
            FileError: The path cannot be read.
        """
        self._data = origin if isinstance(origin, bytes) else None
        self._file = None
        self._lock = threading.Lock()
        self.name = "<bytes>" if isinstance(origin, bytes) else str(origin)
        if isinstance(origin, bytes):
            self.size = len(origin)
            return
        try:
            self._file = Path(origin).open("rb")  # noqa: SIM115
            self.size = self._file.seek(0, 2)
        except OSError as error:
            raise _cannot_read(self.name, error) from None

    def read(self, start: int, count: int) -> bytes:
        """Exactly `count` bytes from `start` on.

        Raises:
            FormatError: There are not that many.
            FileError: The disk refused, or the source was closed.
        """
        if start < 0 or count < 0 or start + count > self.size:
            problem = f"{count} bytes wanted at {start}, the file has {self.size}"
            raise FormatError(problem, offset=max(0, min(start, self.size)))
        if self._data is not None:
            return self._data[start : start + count]
        if self._file is None:
            raise FileError(self.name, "was closed", "Open it again.")
        try:
            with self._lock:
                self._file.seek(start)
                data = self._file.read(count)
        except OSError as error:
            raise _cannot_read(self.name, error) from None
        if len(data) != count:
            raise FormatError("the file was cut while it was read", offset=start + len(data))
        return data

    def close(self) -> None:
        """Close the file; bytes in memory stay."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _cannot_read(name: str, error: OSError) -> FileError:
    reason = error.strerror or type(error).__name__
    return FileError(name, f"cannot be read ({reason})", "Check the path and its permissions.")
