"""Named arrays in .npz files, as `tersor run` reads and writes them."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
from numpy.typing import NDArray

from tersor.errors import FileError
from tersor.store.atomic import write_atomically

Array = NDArray[np.generic]

_BROKEN = (zipfile.BadZipFile, ValueError, EOFError, KeyError, zlib.error, NotImplementedError)


def read_arrays(path: str | Path) -> dict[str, Array]:
    """All arrays of an .npz file, by name.

    Raises:
        FileError: It cannot be read, is damaged, holds objects, or more than memory does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            need = sum(member.file_size for member in archive.infolist())
        free = psutil.virtual_memory().available
        if need > free:
            problem = f"holds {need} bytes of arrays, and only {free} bytes of memory are free"
            raise FileError(path, problem, "Split it.")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files}
    except OSError as error:
        problem = f"cannot be read ({error.strerror or 'damaged'})"
        raise FileError(path, problem, "Check the path.") from None
    except _BROKEN:
        remedy = "Write it with numpy.savez, one array per input of the model, no objects."
        raise FileError(path, "is no .npz file of arrays, or is damaged", remedy) from None
    if not found:
        raise FileError(path, "holds no array", "Give one array per input of the model.")
    return found


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> int:
    """Write an .npz file as a whole or not at all, and return its size in bytes.

    Raises:
        FileError: The path cannot be written.
    """

    def fill(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: same arrays, same bytes
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    return write_atomically(path, fill)
