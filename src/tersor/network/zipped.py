"""A .pt2 file as an archive: whether it is one can be told before torch is imported."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tersor.errors import FileError, FormatError


@contextmanager
def archive_of(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive in a file, while it is open.

    Raises:
        FileError: The file cannot be read.
        FormatError: It is no whole archive, or what is read of it is damaged.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield archive
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise FileError(path, problem, "Give a readable .pt2 file.") from error
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, RuntimeError) as error:
        raise FormatError(f"no whole zip archive ({error})", offset=0) from error
