"""Names of files beside a model: relative, and never out of its folder."""

import os
from pathlib import Path, PurePosixPath

from tersor.errors import FileError

_LONGEST = 1000  # characters
_REMEDY = "Do not trust the file that names it."


def inside(folder: Path, name: str) -> Path:
    """The path that `name`, with "/" between its parts, means in a folder.

    Raises:
        FileError: It is absolute, leaves the folder (through a symbolic link, too), or
            cannot be a file name on every system.
    """
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and not set(name) & set('\\:*?"<>|') and len(name) < _LONGEST
    if not parts or "/".join(parts) != name or ".." in parts or parts[0] == "/" or not plain:
        raise FileError(repr(name), "is no path within the model's folder", _REMEDY)
    path = folder.joinpath(*parts)
    root = os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise FileError(path, "leads out of the model's folder", _REMEDY)
    return path
