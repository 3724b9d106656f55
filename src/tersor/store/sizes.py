"""Where the bytes of a .tsr file are: by tensor and by stream, beside the order-0 bound.

A stream is all tensors of one purpose, told by the last part of their name and their element
type ("scales", "positions"), or what is no tensor: the graph, the notes, the headers.

The bound of a tensor is the order-0 entropy of its elements, in bytes, without any table:

    4 or 8 bits:  n * sum over symbols s of p_s * log2(1 / p_s) / 8
    wider:        the same for each byte of the elements, summed; or, if that is less, with the
                  elements turned left by one bit, so that the exponent of a float fills a byte

A static coder cannot go below it on the whole tensor; one that learns, that starts anew for
each block or that finds repetitions can.

Source: Shannon, "A mathematical theory of communication", Bell System Technical Journal 27,
1948, theorem 9.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

import tersor.kernels as kernels
from tersor.store.container import Origin, Reader
from tersor.store.directory import Entry, Limits
from tersor.store.elements import ELEMENTS, SECTION

_CHUNK = 2**23  # bytes that are counted at once; whole elements of any type
_NAMED = {
    "positions": {"positions", "position", "gaps"},
    "indices": {"indices", "index", "idx"},
    "tables": {"table", "tables", "codebook", "codebooks"},
    "scales": {"scale", "scales"},
    "zero points": {"point", "points", "zeros", "qzeros"},
    "codes": {"codes", "code", "quantized", "qweight"},
}
_SECTIONS = {"skeleton": "graph"}
_COMPLEX = ("complex64", "complex128")


@dataclass(frozen=True, slots=True)
class TensorSize:
    """The bytes of one tensor.

    Attributes:
        name: Of the tensor.
        stream: What it serves for.
        dtype: Name of the element type.
        shape: Sizes.
        codec: Names of the codecs of its blocks, joined by "+".
        size: Bytes, decoded.
        stored: Bytes in the file; in a shared block its share by size, so it may be broken.
        bound: Order-0 bound in bytes; see the module.
    """

    name: str
    stream: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    size: int
    stored: float
    bound: float


@dataclass(frozen=True, slots=True)
class StreamSize:
    """The bytes of one stream; all streams together are the file.

    Attributes:
        name: "weights", "scales", "graph", "headers" and so on.
        size: Bytes, decoded; of headers, as they are stored.
        stored: Bytes in the file; of graph and notes, how much shorter it would be without.
        bound: Sum of the order-0 bounds; of headers, as they are stored.
    """

    name: str
    size: int
    stored: float
    bound: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where the bytes of a file are.

    Attributes:
        file_bytes: Of the whole file.
        tensors: In the order of the file.
        streams: The largest first.
    """

    file_bytes: int
    tensors: tuple[TensorSize, ...]
    streams: tuple[StreamSize, ...]

    def rows(self) -> dict[str, list[dict[str, object]]]:
        """Both as dicts for JSON; bytes in thousandths."""
        return {
            "streams": [{"stream": s.name, **_figures(s)} for s in self.streams],
            "tensors": [
                {
                    "name": t.name,
                    "stream": t.stream,
                    "dtype": t.dtype,
                    "shape": list(t.shape),
                    "codec": t.codec,
                    **_figures(t),
                }
                for t in self.tensors
            ],
        }


def sizes(origin: Origin, limits: Limits | None = None) -> Sizes:
    """Where the bytes of a .tsr file of any kind are; every tensor is decoded once.

    Raises:
        FileError: The path cannot be read.
        FormatError: The file is damaged, not ours, or beyond the limits.
    """
    with Reader(origin, limits) as reader:
        tensors = tuple(_tensor(reader, name) for name in reader.names)
        rows = [(t.stream, t.size, t.stored, t.bound) for t in tensors]
        for name in reader.sections:
            content = reader.section(name)
            stored = reader.section_stored(name)
            bound = order0(content, Entry(name, SECTION, (len(content),)))
            rows.append((_SECTIONS.get(name, "notes"), len(content), stored, bound))
        left = reader.size - math.fsum(row[2] for row in rows)
        rows.append(("headers", round(left), left, left))
        return Sizes(reader.size, tensors, _streams(rows))


def order0(data: bytes, entry: Entry) -> float:
    """The order-0 entropy of the elements of a tensor or section, in bytes.

    Args:
        data: The elements, as a .tsr file holds them.
        entry: What they are.

    >>> order0(b"abab", Entry("note", SECTION, (4,)))
    0.5
    """
    if entry.code == SECTION:
        return math.fsum(map(_entropy, _counts(data, 1, rotate=False)))
    dtype, bits = ELEMENTS[entry.code]
    if bits < 8:
        pairs = _counts(data, 1, rotate=False).reshape(16, 16)
        found = pairs.sum(axis=0) + pairs.sum(axis=1)
        found[0] -= prod(entry.shape) % 2  # the half that is over
        return _entropy(found)
    width = bits // 16 if dtype in _COMPLEX else bits // 8
    turned = (False,) if width == 1 else (False, True)
    return min(math.fsum(map(_entropy, _counts(data, width, rotate=r))) for r in turned)


def stream_of(entry: Entry) -> str:
    """What a tensor serves for, by its name and element type.

    >>> stream_of(Entry("fc.weight.scale", 11, (10,)))
    'scales'
    """
    words = re.split(r"[^a-z]+", entry.name.lower())
    last = next((word for word in reversed(words) if word), "")
    for stream, names in _NAMED.items():
        if last in names:
            return stream
    dtype, bits = ELEMENTS[entry.code]
    if "float" in dtype or dtype in _COMPLEX:
        return "weights"
    return "codes" if bits <= 8 and dtype != "bool" else "integers"


def _tensor(reader: Reader, name: str) -> TensorSize:
    info, entry = reader.info(name), reader.entry(name)
    stream, bound = stream_of(entry), order0(reader.raw(name), entry)
    return TensorSize(
        name=name,
        stream=stream,
        dtype=info.dtype,
        shape=info.shape,
        codec=info.codec,
        size=info.size,
        stored=reader.stored(name),
        bound=bound,
    )


def _figures(size: TensorSize | StreamSize) -> dict[str, float]:
    return {
        "bytes": size.size,
        "stored_bytes": round(size.stored, 3),
        "bound_bytes": round(size.bound, 3),
    }


def _streams(rows: Iterable[tuple[str, int, float, float]]) -> tuple[StreamSize, ...]:
    """Rows of one stream added up, the largest stream first."""
    found: dict[str, StreamSize] = {}
    for name, size, stored, bound in rows:
        total = found.get(name, StreamSize(name, 0, 0.0, 0.0))
        total = StreamSize(name, total.size + size, total.stored + stored, total.bound + bound)
        found[name] = total
    return tuple(sorted(found.values(), key=lambda s: (-s.stored, s.name)))


def _counts(data: bytes, width: int, *, rotate: bool) -> NDArray[np.int64]:
    """How often each byte occurs in each plane: (width, 256)."""
    found = np.zeros((width, 256), np.int64)
    view = memoryview(data)
    for start in range(0, len(data), _CHUNK):
        planes = kernels.split_planes(
            kernels.as_bytes(view[start : start + _CHUNK]), width, rotate=rotate
        )
        for row, plane in zip(found, planes, strict=True):
            row += kernels.histogram(plane).astype(np.int64)
    return found


def _entropy(counts: NDArray[np.int64]) -> float:
    """Bytes that symbols of these counts take at least."""
    seen = counts[counts > 0].astype(np.float64)
    total = seen.sum()
    return float((seen * np.log2(total / seen)).sum()) / 8 if seen.size else 0.0
