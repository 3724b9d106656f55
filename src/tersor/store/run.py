"""The decoded bytes of all blocks as one long run, of which any part can be read.

Blocks are decoded by several threads (the codecs and the checksum release Python's lock), and
straight into the memory where their bytes are wanted: what is held beside the result is one
payload per thread.
"""

import io
import threading
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tersor.codecs import find as find_codec
from tersor.codecs import names as codec_names
from tersor.codecs.codec import Codec
from tersor.errors import FormatError
from tersor.kernels import crc32
from tersor.machine import default_threads, free_memory_bytes
from tersor.store.directory import Block, starts
from tersor.store.source import Source

# Small blocks hold several tensors: the last of them are kept decoded, 8 MiB in all.
_KEPT_BLOCKS = 64
_KEPT_BYTES = 2**17
_WORTH_THREADS = 2**20  # bytes; less is decoded before a thread has started
_WORTH_ASKING = 2**26
_AS_IT_IS = "raw"


class Run:
    """Blocks that lie back to back in a source. Threads can share it.

    Attributes:
        blocks: What the directory says about them.
        end: The byte of the source behind the last payload.
    """

    def __init__(self, source: Source, blocks: Sequence[Block], begin: int) -> None:
        self.blocks = tuple(blocks)
        self._source = source
        self._payloads = [begin + start for start in starts(b.stored for b in self.blocks)]
        self._decoded = starts(block.size for block in self.blocks)
        self.end = self._payloads[-1]
        self._coders: dict[str, Codec] = {}
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, place: int, size: int) -> bytes:
        """`size` bytes from `place` on, checked.

        Raises:
            FormatError: They are damaged, or coded by a codec that this release lacks.
        """
        touched = self._touched(place, size)
        if len(touched) != 1:
            return assembled(size, lambda target: self.fill([(place, target)]))
        start, data = self._decoded[touched[0]], self._block(touched[0])
        return data if len(data) == size else data[place - start : place - start + size]

    def view(self, place: int, size: int) -> memoryview | None:
        """The same bytes where they are, checked, if they are stored as they are in memory.

        Raises:
            FormatError: See `read`.
        """
        touched = self._touched(place, size)
        if not touched or any(self.blocks[index].codec != _AS_IT_IS for index in touched):
            return None
        for index in touched:
            block, start = self.blocks[index], self._payloads[index]
            data = self._source.view(start, block.stored)
            if data is None:
                return None
            if block.stored != block.size:
                raise FormatError(f"{block.stored} raw bytes for {block.size}", offset=start)
            _check(data, block, start)
        first = touched[0]
        return self._source.view(self._payloads[first] + place - self._decoded[first], size)

    def fill(self, parts: Iterable[tuple[int, memoryview]]) -> None:
        """Fill each target with the bytes from its place on; each block is decoded once.

        Raises:
            FormatError: See `read`.
        """
        wanted: dict[int, list[tuple[int, memoryview]]] = defaultdict(list)
        for place, target in parts:
            for index in self._touched(place, len(target)):
                start, stop = self._decoded[index], self._decoded[index + 1]
                first = max(start - place, 0)
                piece = target[first : stop - place]
                wanted[index].append((max(place - start, 0), piece))
        total = sum(self.blocks[index].size for index in wanted)
        threads = min(default_threads(), len(wanted)) if total > _WORTH_THREADS else 1
        if threads < 2:
            for index, pieces in wanted.items():
                self._give(index, pieces)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(self._give, wanted, wanted.values()):
                pass  # raises what a thread has raised; the others are then not begun

    def cost(self, place: int, size: int) -> tuple[str, float]:
        """Names of the codecs of that part, joined by "+", and its stored bytes, by share."""
        stored, used = 0.0, set()
        for index in self._touched(place, size):
            block = self.blocks[index]
            start, stop = self._decoded[index], self._decoded[index + 1]
            shared = min(stop, place + size) - max(start, place)
            stored += block.stored * shared / block.size
            used.add(block.codec)
        return "+".join(sorted(used)) or "none", stored

    def _touched(self, place: int, size: int) -> range:
        """Indices of the blocks that hold `size` bytes at `place`."""
        if size == 0:
            return range(0)
        first = bisect_right(self._decoded, place) - 1
        return range(first, bisect_right(self._decoded, place + size - 1))

    def _give(self, index: int, pieces: list[tuple[int, memoryview]]) -> None:
        """Copy pieces of a block, or decode it in place where all of it is wanted."""
        block, start = self.blocks[index], self._payloads[index]
        if len(pieces) > 1 or len(pieces[0][1]) < block.size:
            data = self._block(index)
            for first, target in pieces:
                target[:] = data[first : first + len(target)]
            return
        target = pieces[0][1]
        payload = self._source.read(start, block.stored)
        self._coder(block.codec).decode_into(payload, target)
        _check(target, block, start)

    def _block(self, index: int) -> bytes:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        block, start = self.blocks[index], self._payloads[index]
        payload = self._source.read(start, block.stored)
        data = self._coder(block.codec).decode(payload, block.size)
        _check(data, block, start)
        if len(data) <= _KEPT_BYTES:
            with self._lock:
                self._kept[index] = data
                if len(self._kept) > _KEPT_BLOCKS:
                    self._kept.popitem(last=False)
        return data

    def _coder(self, name: str) -> Codec:
        if name not in self._coders:
            if name not in codec_names():
                raise FormatError(f"codec {name!r} is not in this release", offset=0)
            self._coders[name] = find_codec(name).CODEC()
        return self._coders[name]


def assembled(size: int, fill: Callable[[memoryview], object]) -> bytes:
    r"""`size` bytes that `fill` writes in place; they are not copied, nor zeroed beforehand.

    >>> assembled(3, lambda target: target.__setitem__(slice(1, 3), b"ab"))
    b'\x00ab'

    Raises:
        FormatError: See `afford`.
    """
    afford(size)
    file = io.BytesIO(bytes(size))  # the bytes have no other owner, so they are not copied
    with file.getbuffer() as target:
        fill(target)
    return file.getvalue()


def afford(size: int) -> None:
    """Ask whether this machine has that much memory, before any of it is taken.

    A small file can decode to very much: two megabytes of zstd may stand for 64 GB.

    Raises:
        FormatError: It has not.
    """
    if size > _WORTH_ASKING and size > (free := free_memory_bytes()):
        problem = f"{size} bytes would be decoded, this machine has {free} left"
        raise FormatError(problem, offset=0)


def _check(data: bytes | memoryview, block: Block, start: int) -> None:
    if crc32(data) != block.checksum:
        raise FormatError("tensor data is damaged", offset=start)
