"""TOML from files that nobody has checked: bounded in size and in depth.

Python's parser takes time and memory with the square of the number of dots in a key, and a
key is within one line: so the squares of the dots per line are bounded before it reads.
"""

import tomllib
from pathlib import Path
from typing import Any

from tersor.errors import FileError

MAX_BYTES = 1 << 20
MAX_SQUARED_DOTS = 10_000_000  # one line of 3000 dots: a list of 500 layers, say


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        FileError: It is no file, too large, not readable or not UTF-8.
    """
    if not path.is_file():
        raise FileError(path, "is not a file", "Check the path.")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}", "Check it.") from None
    if len(data) > MAX_BYTES:
        raise FileError(path, f"is larger than {MAX_BYTES} bytes", "This is no recipe.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text: byte {error.start} is damaged"
        raise FileError(path, problem, "Save it as UTF-8.") from None


def parse(text: str, source: str | Path) -> dict[str, Any]:
    """The table of a TOML text.

    Args:
        text: At most MAX_BYTES characters.
        source: For errors.

    Raises:
        FileError: It is not TOML, and where; or it is too long or nested too deeply.
    """
    if len(text) > MAX_BYTES:
        raise FileError(source, f"is longer than {MAX_BYTES} characters", "This is no recipe.")
    too_deep = FileError(source, "is nested too deeply", "A recipe has three levels.")
    if sum(line.count(".") ** 2 for line in text.split("\n")) > MAX_SQUARED_DOTS:
        raise too_deep
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        problem = f"is not TOML: {str(error).rstrip('.')}"
        raise FileError(source, problem, "Correct it there.") from None
