"""The decoded bytes of all blocks as one long run, of which any part can be read."""

import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from tersor.codecs import find as find_codec
from tersor.codecs import names as codec_names
from tersor.codecs.codec import Codec
from tersor.errors import FormatError
from tersor.store.directory import Block, starts
from tersor.store.source import Source

# Small blocks hold several tensors: the last of them are kept decoded, 8 MiB in all.
_KEPT_BLOCKS = 64
_KEPT_BYTES = 2**17


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
        pieces = []
        for index in self._touched(place, size):
            start, data = self._decoded[index], self._block(index)
            if start >= place and start + len(data) <= place + size:
                pieces.append(data)
            else:
                pieces.append(data[max(place - start, 0) : place + size - start])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def cost(self, place: int, size: int) -> tuple[str, int]:
        """Names of the codecs of that part, joined by "+", and its stored bytes, by share."""
        stored, used = 0.0, set()
        for index in self._touched(place, size):
            block = self.blocks[index]
            start, stop = self._decoded[index], self._decoded[index + 1]
            shared = min(stop, place + size) - max(start, place)
            stored += block.stored * shared / block.size
            used.add(block.codec)
        return "+".join(sorted(used)) or "none", round(stored)

    def _touched(self, place: int, size: int) -> range:
        """Indices of the blocks that hold `size` bytes at `place`."""
        if size == 0:
            return range(0)
        first = bisect_right(self._decoded, place) - 1
        return range(first, bisect_right(self._decoded, place + size - 1))

    def _block(self, index: int) -> bytes:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        block, start = self.blocks[index], self._payloads[index]
        payload = self._source.read(start, block.stored)
        data = self._coder(block.codec).decode(payload, block.size)
        if zlib.crc32(data) != block.checksum:
            raise FormatError("tensor data is damaged", offset=start)
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
