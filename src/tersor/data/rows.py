"""Rows: a selection of the rows of an array that stays where it is, on disk or in memory."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class Rows:
    """Some rows of an array, read when they are asked for.

    It stands in for an array as far as `Samples` and its readers go: `len`, `shape`,
    `ndim`, `dtype`, slices of rows, and `np.asarray`, which reads everything.
    """

    def __init__(self, source: Array, rows: NDArray[np.intp]) -> None:
        self._source, self._rows = source, rows
        self.shape = (len(rows), *source.shape[1:])
        self.ndim = source.ndim
        self.dtype = source.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: Any) -> Any:
        if isinstance(part, slice):
            return Rows(self._source, self._rows[part])
        return np.asarray(self)[part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001
        if copy is False:
            raise ValueError("rows of an array cannot be given without a copy")
        read = np.asarray(self._source[self._rows])
        return read if dtype is None else read.astype(dtype)


def select(source: Array, rows: NDArray[np.intp]) -> Array:
    """Those rows of `source`: a copy, unless `source` lies in a file or is huge.

    Args:
        source: (n, ...).
        rows: (m,) numbers of rows, each in [0, n).
    """
    few = source.nbytes * len(rows) <= 2**28 * max(len(source), 1)
    if isinstance(source, np.memmap) or not few:
        return cast(Array, Rows(source, rows))
    return source[rows]
