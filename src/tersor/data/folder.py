"""A folder of files, one per sample, and their labels.

    folder/labels.tsv          file <tab> number of the class, one per line; or
    folder/CLASS/*             one folder per class, numbered from 0 in the order of names; or
    folder/*                   no labels

and a table, in TOML, that says how a file becomes an array.
"""

import tomllib
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.data.stream import Stream
from tersor.errors import DataError, FileError, InputError
from tersor.machine import default_threads

Array = NDArray[np.generic]

LABELS = "labels.tsv"
_LARGEST = 16 << 20  # bytes of a table
_DIGITS = 9  # of a label


def files_of(
    folder: Path, suffixes: Collection[str], what: str
) -> tuple[list[Path], list[int] | None]:
    """The files of a folder, and their labels if there are any.

    Args:
        folder: See the module.
        suffixes: How the files end, in lower case.
        what: What they are, for the error.

    Raises:
        FileError: There are none.
        DataError: The labels do not fit the files.
    """
    is_listed = (folder / LABELS).is_file()
    paths, labels = _listed(folder) if is_listed else _found(folder, suffixes)
    if not paths:
        known = ", ".join(sorted(suffixes))
        raise FileError(folder, f"holds no {what}", f"The files end with {known}.")
    return paths, labels


def samples_of_files(
    paths: Sequence[Path],
    labels: Sequence[int] | None,
    name: str,
    shape: tuple[int, ...],
    array: Callable[[Path], Array],
) -> Samples:
    """One sample per file, made when a batch asks for it.

    Args:
        paths: The files.
        labels: A class for each, or None.
        name: Of the input.
        shape: Of one sample, float32.
        array: Makes a sample of a file.
    """
    stream = Stream(
        lambda number: {name: array(paths[number])},
        len(paths),
        {name: (shape, np.dtype(np.float32))},
        threads=default_threads(),
    )
    known = None if labels is None else np.asarray(labels, np.int64)
    return Samples({name: cast(Array, stream.column(name))}, known)


def read_toml(path: Path) -> dict[str, Any]:
    """A table, with tuples in place of lists.

    Raises:
        FileError: It is missing, too large, or not TOML.
    """
    if not path.is_file():
        remedy = "Say there how a file becomes an array; see docs/bring-your-model.md."
        raise FileError(path.absolute(), "is not there", remedy)
    try:
        if path.stat().st_size > _LARGEST:
            raise FileError(path, "is too large for a table", "Correct it.")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(path, f"is not TOML ({error})", "Correct it.") from None
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no system takes is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def settings_of(path: Path, kind: type[Any], required: Collection[str]) -> Any:
    """A table as a value of a dataclass, whose fields are its keys.

    Raises:
        FileError: As `read_toml`.
        InputError: A key is unknown or missing, or a value is wrong.
    """
    table = read_toml(path)
    known = [field.name for field in fields(kind)]
    for key in table:
        if key not in known:
            raise InputError(f"key of {path}", got=key, allowed="one of " + ", ".join(known))
    for key in required:
        if key not in table:
            raise InputError(f"{path}", got=sorted(table), allowed=f"with the key {key}")
    return kind(**table)


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)


def _found(folder: Path, suffixes: Collection[str]) -> tuple[list[Path], list[int] | None]:
    """Files by class, or all without labels."""
    by_folder = {p: _files(p, suffixes) for p in sorted(folder.iterdir()) if p.is_dir()}
    by_class = [paths for paths in by_folder.values() if paths]
    if not by_class:
        return _files(folder, suffixes), None
    labels = [number for number, paths in enumerate(by_class) for _ in paths]
    return [path for paths in by_class for path in paths], labels


def _listed(folder: Path) -> tuple[list[Path], list[int]]:
    """The files that labels.tsv names."""
    table = folder / LABELS
    paths: list[Path] = []
    labels: list[int] = []
    for number, line in enumerate(_lines(table), start=1):
        if not line.strip():
            continue
        name, _, label = line.partition("\t")
        where = f"{table}, line {number},"
        if not (label.strip().isdecimal() and len(label.strip()) <= _DIGITS):
            remedy = "Write file, tab, number of the class."
            raise DataError(where, f"holds no label ({line.strip()[:80]!r})", remedy)
        path = folder / name
        if not _is_inside(path, folder):
            raise DataError(where, f"names {name!r}, which is not there", "Correct it.")
        paths.append(path)
        labels.append(int(label))
    return paths, labels


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a ring
        return False


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"is no text in UTF-8 ({error})"
        raise FileError(table, problem, "Write file, tab, number, line by line.") from None
