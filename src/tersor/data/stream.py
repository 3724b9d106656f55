"""A stream: samples that are made one by one, from files or objects, when a batch asks.

Memory stays bounded: the samples made first are kept up to a number of bytes, all others
are made again on every pass. First come, first kept suits passes that are repeated in
order; the least recently used would be thrown away just before it is needed.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tersor.data.lazy import Lazy
from tersor.errors import DataError

Array = NDArray[np.generic]
Row = Mapping[str, Array]
Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]

KEEP_BYTES = 64 << 20


class Stream:
    """Samples by number, made when they are asked for.

    Each array of a sample is a column; `column` gives it as lazy rows. Columns that are read
    one after another for the same rows share the work.

    Attributes:
        count: Number of samples.
        layout: Shape of one row and element type, by the column's name.
    """

    def __init__(
        self,
        make: Callable[[int], Row],
        count: int,
        layout: Layout,
        *,
        threads: int = 1,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        """A stream of `count` samples.

        Args:
            make: Gives sample number i, the same every time.
            count: Number of samples.
            layout: What every sample looks like.
            threads: How many samples are made at once; above 1 `make` must allow that.
            keep_bytes: Most bytes of samples that are kept.
        """
        self._make, self.count, self.layout = make, count, layout
        self._threads, self._free = threads, keep_bytes
        self._kept: dict[int, Row] = {}
        self._ready: tuple[bytes, dict[str, Array]] = (b"", {})
        self._lock = Lock()

    def column(self, name: str) -> Lazy:
        """One array of all samples."""
        shape, dtype = self.layout[name]
        rows = np.arange(self.count, dtype=np.intp)
        return Lazy(partial(self._read, name), rows, shape, dtype)

    def _read(self, name: str, rows: NDArray[np.intp]) -> Array:
        """One column of some rows; the others wait until they are fetched, too."""
        with self._lock:
            key, ready = rows.tobytes(), self._ready[1]
            if self._ready[0] != key or name not in ready:
                ready = self._stacked(rows)
                self._ready = key, ready
            return ready.pop(name)

    def _stacked(self, rows: NDArray[np.intp]) -> dict[str, Array]:
        found: dict[str, Array] = {
            name: np.empty((len(rows), *shape), dtype)
            for name, (shape, dtype) in self.layout.items()
        }
        numbers = [int(i) for i in rows]
        if self._threads > 1 and len(numbers) > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                self._fill(found, numbers, pool.map(self._row, numbers))
        else:
            self._fill(found, numbers, map(self._row, numbers))
        return found

    def _fill(self, found: dict[str, Array], numbers: list[int], made: Iterable[Row]) -> None:
        """Put the rows in place, and keep them while there is room."""
        for at, (number, row) in enumerate(zip(numbers, made, strict=True)):
            for name, array in found.items():
                array[at] = row[name]
            size = sum(row[name].nbytes for name in self.layout)
            if number not in self._kept and size <= self._free:
                self._free -= size
                self._kept[number] = {name: array[at].copy() for name, array in found.items()}

    def _row(self, number: int) -> Row:
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        row = self._make(number)
        for name, (shape, dtype) in self.layout.items():
            found = row.get(name)
            if found is None or found.shape != shape or found.dtype != dtype:
                told = "missing" if found is None else f"{found.dtype} {found.shape}"
                raise DataError(
                    f"Array {name!r} of sample {number}",
                    f"is {told}, and {dtype} {shape} in the first sample",
                    "All samples must be alike: pad or cut them to one size.",
                )
        return row
