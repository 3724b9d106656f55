"""Writing files so that a reader sees the old one or the new one, never a torn one.

The bytes go into a temporary file in the same folder, which is flushed to the disk, checked
by reading it back, and renamed. Whatever goes wrong, Ctrl-C included, the file that stood
there before is untouched and the temporary file is gone. Only a process that is killed
outright leaves its temporary file behind, under a hidden name that ends with ".tmp".
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tersor.errors import FileError

Writer = Callable[[BinaryIO], object]
Check = Callable[[Path], object]


def write_atomically(
    path: str | Path, data: bytes | Writer, check: Check | None = None
) -> int:
    """Write a file as a whole or not at all, and return its size in bytes.

    Args:
        path: Where to. The folder must exist. A symbolic link is followed.
        data: The bytes, or a function that writes them to a binary file that can seek.
        check: Looks at the finished temporary file and raises if it is not as it should be.
            Bytes are read back and compared in any case.

    Raises:
        FileError: The path cannot be written, or reads back differently.
    """
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):  # noqa: PTH112 - Path.is_dir raises for too long names
        raise FileError(path, "is a folder", "Name a file.")
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("x+b") as file:
            _fill(file, data)
        if isinstance(data, bytes) and temporary.read_bytes() != data:
            raise FileError(path, "reads back differently", "The disk may be failing.")
        if check is not None:
            check(temporary)
        with suppress(OSError):
            temporary.chmod(target.stat().st_mode & 0o777)
        size = temporary.stat().st_size
        temporary.replace(target)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _flush_folder(target.parent)
    return size


def _fill(file: BinaryIO, data: bytes | Writer) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        data(file)
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the new name durable, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cannot_write(path: str | Path, error: OSError) -> FileError:
    reason = error.strerror or type(error).__name__
    return FileError(
        path, f"cannot be written ({reason})", "Check folder, permissions and free space."
    )
