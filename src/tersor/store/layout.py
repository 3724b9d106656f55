"""Which bytes are coded together, and by which codec: the writer's half of a .tsr file.

Small tensors of one type are one block. Pieces up to 64 KiB join their neighbour if the two
take less space together than apart, headers included. Larger tensors are cut into blocks
of 8 MiB, or a little less, so that rows stay whole, each coded by itself. For blocks of wide
elements from 128 KiB on, samples tell which codec is the shortest.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod

from tersor.codecs import find as find_codec
from tersor.codecs import names as codec_names
from tersor.codecs.codec import Codec, Part
from tersor.errors import InputError
from tersor.kernels import crc32
from tersor.kernels.choose import choice
from tersor.machine import default_threads
from tersor.store.directory import MOST_DIMENSIONS, SMALL, Block, Entry, in_layout_order
from tersor.store.elements import ELEMENTS, SECTION, Array, code_of, to_bytes

_JOINABLE = 2**16  # bytes; larger pieces are blocks of their own
_LARGEST = 2**23
_BY_KERNELS = {  # numpy: a minute for a second
    *("context", "huffman", "lanes", "mixing", "rans", "runs", "sparse"),
}
_FAST = {"raw", "rans"}  # encode and decode at hundreds of megabytes a second
_BEST = {"mixing"}  # only where time does not count
_INTEGERS = {"lanes", "mixing"}  # tried on elements of at most eight bits
_WIDE = {"sparse"}  # tried on others
_SLOWER = ("lanes", "context", "mixing")  # than all others, each more than the one before
_WORTH = 1  # of a hundred bytes: what "auto" wants saved by what is slower
_QUICK = {"context": 2**14}  # bytes that a codec decodes in a moment: "auto" gives it no more
SEVERAL = ("fast", "auto", "best")
_MOST_THREADS = 8  # each holds a block of 8 MiB and what came of it
_SAMPLED = 2**17  # bytes from which on samples choose a codec for wide elements
_SAMPLE, _SAMPLES = 2**13, 4  # bytes of a sample, whole elements of any type, and how many
_BLOCK_HEADER = 10  # bytes that one more block takes in the directory, about


@dataclass(frozen=True, slots=True)
class Item:
    """An entry and its bytes."""

    entry: Entry
    data: bytes | memoryview


def items_of(tensors: Mapping[str, Array]) -> list[Item]:
    """Arrays as items.

    Raises:
        InputError: The format has no code for an element type, or not for so many dimensions.
    """
    items = []
    for name, array in tensors.items():
        if array.ndim > MOST_DIMENSIONS:
            allowed = f"at most {MOST_DIMENSIONS}"
            raise InputError(f"dimensions of {name}", got=array.ndim, allowed=allowed)
        code = code_of(name, array)
        items.append(Item(Entry(name, code, array.shape), to_bytes(array, code)))
    return items


@dataclass(frozen=True, slots=True)
class Coded:
    """A finished block."""

    block: Block
    payload: bytes

    @property
    def cost(self) -> int:
        """Bytes that it takes in the file."""
        return len(self.payload) + _BLOCK_HEADER


@dataclass(frozen=True, slots=True)
class Candidate:
    """A codec, and when it is taken.

    Attributes:
        codec: The codec.
        most: Bytes of the largest block that it is tried on.
        saves: Of a hundred bytes, how many it must be shorter than those tried before.
    """

    codec: Codec
    most: int
    saves: int


def candidates(codec: str) -> list[Candidate]:
    """The codec of that name, or several of which the shortest wins; raw first, slow last.

    "fast" tries what encodes fast, "best" all. "auto" weighs bytes against the time to decode
    them: those that take up to ten nanoseconds a byte as they are; `lanes`, which takes some
    ten times as long as `rans`, where it saves a hundredth; and `context`, ten times slower
    again, where it saves another hundredth of a block of at most 16 KiB. Where the
    native kernels are missing, those that need them are left out, and zstd is what is fast.

    Raises:
        InputError: There is no such codec.
    """
    names = [codec]
    if codec in SEVERAL:
        usable = set(codec_names())
        if choice().name == "reference":
            usable -= _BY_KERNELS
        elif codec == "fast":
            usable &= _FAST
        elif codec == "auto":
            usable -= _BEST
        names = sorted(usable, key=_order)
    elif codec not in codec_names():
        allowed = f"one of {', '.join(SEVERAL)}, " + ", ".join(codec_names())
        raise InputError("codec", got=codec, allowed=allowed)
    limits, worth = (_QUICK, _WORTH) if codec == "auto" else ({}, 0)
    return [
        Candidate(
            find_codec(name).CODEC(),
            limits.get(name, 2 * _LARGEST),
            worth if name in _SLOWER else 0,
        )
        for name in names
    ]


def _order(name: str) -> tuple[int, str]:
    """From fast to slow."""
    slow = _SLOWER.index(name) + 2 if name in _SLOWER else int(name != "raw")
    return slow, name


def blocks(items: Sequence[Item], coders: Sequence[Candidate]) -> Iterator[Coded]:
    """The blocks of the items, in layout order, each item's bytes read as it is needed."""
    pending: tuple[_Piece, Coded] | None = None
    for piece, coded in _all_coded(_pieces(items), coders):
        if pending is not None and len(pending[0].data) + len(piece.data) <= _JOINABLE:
            joined = pending[0] + piece
            together = _code(joined, coders)
            if together.cost <= pending[1].cost + coded.cost:
                pending = (joined, together)
                continue
        if pending is not None:
            yield pending[1]
        pending = (piece, coded)
    if pending is not None:
        yield pending[1]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes, and what tensors they are of."""

    data: bytes | memoryview
    parts: tuple[Part, ...]

    def __add__(self, other: "_Piece") -> "_Piece":
        return _Piece(b"".join((self.data, other.data)), self.parts + other.parts)


def _pieces(items: Sequence[Item]) -> Iterator[_Piece]:
    """The bytes of all items: small ones of one type together, large ones cut."""
    gathered, kind = _Piece(b"", ()), None
    for index in in_layout_order([item.entry for item in items]):
        item = items[index]
        if item.entry.size < SMALL:
            full = len(gathered.data) >= _JOINABLE - SMALL
            if gathered.data and (item.entry.code != kind or full):
                yield gathered
                gathered = _Piece(b"", ())
            gathered, kind = gathered + _piece(item, 0, item.entry.size), item.entry.code
            continue
        if gathered.data:
            yield gathered
            gathered = _Piece(b"", ())
        step = _step(item.entry)
        for start in range(0, item.entry.size, step):
            yield _piece(item, start, min(start + step, item.entry.size))
    if gathered.data:
        yield gathered


def _piece(item: Item, start: int, stop: int) -> _Piece:
    data, entry = item.data[start:stop], item.entry
    if not data:
        return _Piece(b"", ())
    bits = 8 if entry.code == SECTION else ELEMENTS[entry.code][1]
    return _Piece(data, (Part(len(data), bits, entry.shape),))


def _step(entry: Entry) -> int:
    """Bytes of a block of that tensor: whole rows, if that is possible."""
    bits = 8 if entry.code == SECTION else ELEMENTS[entry.code][1]
    row = prod(entry.shape[1:]) * bits // 8
    if not 0 < row <= _LARGEST or prod(entry.shape[1:]) * bits % 8:
        return _LARGEST
    return _LARGEST // row * row


def _all_coded(
    pieces: Iterable[_Piece], coders: Sequence[Candidate]
) -> Iterator[tuple[_Piece, Coded]]:
    """Each piece by itself, in order, coded by several threads (codecs leave the lock)."""
    threads = min(default_threads(), _MOST_THREADS)
    waiting: deque[tuple[_Piece, Future[Coded]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for piece in pieces:
            waiting.append((piece, pool.submit(_code, piece, coders)))
            if len(waiting) > threads:
                first, coded = waiting.popleft()
                yield first, coded.result()
        for first, coded in waiting:
            yield first, coded.result()


def _code(piece: _Piece, coders: Sequence[Candidate]) -> Coded:
    """The shortest payload; among equals that of the first coder."""
    data, wide = piece.data, any(part.bits > 8 for part in piece.parts)
    fit = [coder for coder in coders if len(data) <= coder.most]
    if len(fit) > 1:
        others = _INTEGERS if wide else _WIDE
        fit = [coder for coder in fit if coder.codec.name not in others]
    if len(fit) > 1 and wide and len(data) >= _SAMPLED:
        fit = [_shortest(_sample(piece), fit)[0]]
    coder, payload = _shortest(piece, fit)
    return Coded(Block(coder.codec.name, len(data), len(payload), crc32(data)), payload)


def _shortest(piece: _Piece, coders: Sequence[Candidate]) -> tuple[Candidate, bytes]:
    """The coder of the shortest payload, and that payload; slower ones must save enough."""
    best, payload = coders[0], coders[0].codec.encode(piece.data, piece.parts)
    for coder in coders[1:]:
        found = coder.codec.encode(piece.data, piece.parts)
        if 100 * len(found) < (100 - coder.saves) * len(payload):
            best, payload = coder, found
    return best, payload


def _sample(piece: _Piece) -> _Piece:
    """Parts of a piece, from its start on at equal distances."""
    step = len(piece.data) // _SAMPLES // _SAMPLE * _SAMPLE
    parts = [piece.data[step * i : step * i + _SAMPLE] for i in range(_SAMPLES)]
    part = piece.parts[0]
    return _Piece(b"".join(parts), (Part(_SAMPLE * _SAMPLES, part.bits, part.shape),))
