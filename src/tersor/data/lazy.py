"""Lazy arrays: rows that are read from a file, or made, when somebody asks for them."""

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Read = Callable[[NDArray[np.intp]], Array]
Change = Callable[[Array, NDArray[np.intp]], Array]


class Lazy:
    """Rows that are read when they are asked for.

    It stands in for an array as far as `Samples` and its readers go: `len`, `shape`, `ndim`,
    `dtype`, `nbytes`, and selections of rows, which read nothing. `np.asarray` reads all.
    The same rows must give the same values every time.

    Attributes:
        shape: (n, ...).
        dtype: Of the elements.
    """

    def __init__(
        self, read: Read, rows: NDArray[np.intp], shape: tuple[int, ...], dtype: Any
    ) -> None:
        """Rows of a source.

        Args:
            read: Gives an array (m, *shape) for m numbers of rows of the source.
            rows: (n,) the rows that this one holds.
            shape: Of one row.
            dtype: Of the elements.
        """
        self._read, self._rows = read, rows
        self.shape = (len(rows), *shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What it would take in memory."""
        size: int = math.prod(self.shape) * self.dtype.itemsize
        return size

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: Any) -> Any:
        if isinstance(part, slice) or (isinstance(part, np.ndarray) and part.ndim == 1):
            return Lazy(self._read, self._rows[part], self.shape[1:], self.dtype)
        return np.asarray(self)[part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001
        if copy is False:
            raise ValueError("lazy rows cannot be given without a copy")
        found = self._read(self._rows)
        return found if dtype is None else found.astype(dtype)

    def changed(self, change: Change, dtype: Any) -> "Lazy":
        """The same rows after `change`, which takes them and their numbers as they are read.

        Args:
            change: Gives an array of the same shape.
            dtype: Of what it gives.
        """
        read = self._read
        return Lazy(lambda rows: change(read(rows), rows), self._rows, self.shape[1:], dtype)


def lazy(source: Array) -> Lazy:
    """An array, in memory or in a file, as lazy rows."""
    rows = np.arange(len(source), dtype=np.intp)
    return Lazy(lambda some: np.asarray(source[some]), rows, source.shape[1:], source.dtype)


def select(source: Array, rows: NDArray[np.intp]) -> Array:
    """Those rows of `source`: a copy, unless `source` is lazy, lies in a file or is huge.

    Args:
        source: (n, ...).
        rows: (m,) numbers of rows, each in [0, n).
    """
    if isinstance(source, Lazy):
        return cast(Array, source[rows])
    few = source.nbytes * len(rows) <= 2**28 * max(len(source), 1)
    if isinstance(source, np.memmap) or not few:
        return cast(Array, lazy(source)[rows])
    return source[rows]
