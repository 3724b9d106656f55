"""Samples: named arrays with a common first dimension, readable again, labels optional."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor.errors import DataError, InputError

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of samples.

    Attributes:
        inputs: One array per input, (n, ...).
        labels: (n, ...) or None.
        start: Index of the first sample.
    """

    inputs: dict[str, Array]
    labels: Array | None
    start: int

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Samples:
    """Arrays by the names of a model's inputs; `labels` may be missing.

    Attributes:
        inputs: One array per input, (n, ...), all of the same n >= 1. May be memory-mapped
            or lazy (see `tersor.data.lazy`): nothing is read before a batch asks for it.
        labels: (n, ...) or None.
        note: What a report should say on where they come from; may be empty.
    """

    inputs: Mapping[str, Array]
    labels: Array | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise DataError("Samples", "hold no input array", "Give one array per input.")
        sizes = {name: len(a) if a.ndim else -1 for name, a in self.inputs.items()}
        if self.labels is not None:
            sizes["labels"] = len(self.labels) if self.labels.ndim else -1
        if len(set(sizes.values())) > 1 or -1 in sizes.values():
            raise DataError(
                "Samples",
                f"disagree in number: {sizes}",
                "The first dimension counts samples.",
            )
        if 0 in sizes.values():
            raise DataError("Samples", "are empty", "Give at least one sample.")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, at most `size` at a time."""
        if size < 1:
            raise InputError("batch size", got=size, allowed="at least 1")
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            labels = None if self.labels is None else np.asarray(self.labels[part])
            inputs = {n: np.ascontiguousarray(a[part]) for n, a in self.inputs.items()}
            yield Batch(inputs, labels, start)

    def take(self, start: int, stop: int) -> "Samples":
        """Samples `start` to `stop`, without copying."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Samples({n: a[start:stop] for n, a in self.inputs.items()}, labels, self.note)
