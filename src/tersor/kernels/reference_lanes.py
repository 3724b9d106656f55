"""The lanes coder in plain Python: what it is. Whole numbers throughout, so that all agree.

Values lie in rows: `Shape` says how. A group of 1, 2, 4 or 8 rows, one lane for each, is coded
side by side, column by column. Rows above the group say how much larger or smaller than the
mean each column is; the columns so far say how large a row is, which is looked at every eight
columns, a chunk. Both are logarithms, and their sum is the level of a value.

    kind        0, positive, or negative: the chance of 0 depends on the level and on whether
                the values beside and above it in the kernel are 0, the chance of a positive
                one on their signs
    magnitude   of what is not 0; what it depends on is the level

Static range ANS codes both, `reference_lanes_tables.py` says with which chances; a state of
32 bits for each lane, words of 16 bits. First come the kinds of a chunk, column by column,
each in the lane of its row; then its magnitudes in the same order, the i-th in lane i mod
lanes.

Payload
    head     the lanes, and the chances: see `reference_lanes_tables.py`; up to a whole byte
    states   32 bits a lane
    words    16 bits each, to the end of the payload

Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen, "Interleaved entropy
coders", arXiv:1402.3392. The contexts and their arithmetic are Tersor's.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tersor.errors import FormatError
from tersor.kernels.reference import LOWEST
from tersor.kernels.reference_adaptive import Shape, Values, logarithm, sign
from tersor.kernels.reference_lanes_tables import (
    KIND_BITS,
    LEVELS,
    MAGNITUDE_BITS,
    Chances,
    Counts,
    choose,
    get_choices,
    put_choices,
)
from tersor.kernels.tables import BitReader, BitWriter

_STEP = 8  # columns of a chunk
_TRUST = 8  # columns that the rows above are worth
_LOWEST_LEVEL = 4
_PER_LANE = 2**12  # values for which two lanes are worth it
_MOST_LANES = 8
_FIRST_MEAN = 256
_LANE_BITS = 2
_WORD = 0xFFFF


def lanes_encode(values: Values, shapes: Sequence[Shape]) -> bytes:
    """The payload for the values of some tensors, whose magnitudes are at most 255."""
    lanes = 1
    while lanes < _MOST_LANES and values.size >= _PER_LANE * lanes:
        lanes *= 2
    given = values.tolist()
    chunks = [list(chunk) for chunk in _chunks(given, shapes, lanes, (0, LEVELS - 1))]
    counts = Counts()
    for place in (place for chunk in chunks for place in chunk):
        counts.add(place.level, place.signs, given[place.at])
    choices = choose(counts)
    writer = _Writer(lanes)
    chances = Chances(choices)
    for chunk in reversed(chunks):
        others = [place for place in chunk if given[place.at]]
        for number, place in reversed(list(enumerate(others))):
            starts = chances.magnitudes[place.level]
            writer.put(number % lanes, starts, abs(given[place.at]) - 1, MAGNITUDE_BITS)
        for place in reversed(chunk):
            kind = sign(given[place.at])
            writer.put(place.lane, chances.kinds[place.level][place.signs], kind, KIND_BITS)
    head = BitWriter()
    head.put(lanes.bit_length() - 1, _LANE_BITS)
    put_choices(choices, head)
    return head.to_bytes() + writer.end()


def lanes_decode(payload: bytes, shapes: Sequence[Shape], target: Values) -> bool:
    """The reverse; False if the payload is not one for these shapes."""
    head = BitReader(payload)
    try:
        lanes = 1 << head.get(_LANE_BITS)
        choices = get_choices(head)
        body = payload[head.end() :]
    except FormatError:
        return False
    if len(body) < 4 * lanes or len(body) % 2:
        return False
    reader, chances = _Reader(body, lanes), Chances(choices)
    given = [0] * target.size
    for chunk in _chunks(given, shapes, lanes, (choices.first, choices.last)):
        others = []
        for place in chunk:
            kinds = chances.kinds[place.level][place.signs]
            given[place.at] = (0, 1, -1)[reader.get(place.lane, kinds, KIND_BITS)]
            if given[place.at]:
                others.append(place)
        for number, place in enumerate(others):
            starts = chances.magnitudes[place.level]
            given[place.at] *= reader.get(number % lanes, starts, MAGNITUDE_BITS) + 1
        if reader.failed:
            return False
    target[:] = given
    return reader.ended()


class _Place(NamedTuple):
    """Where a value stands, and what is known of it before."""

    at: int
    lane: int
    level: int
    signs: int


def _chunks(
    given: list[int], shapes: Sequence[Shape], lanes: int, levels: tuple[int, int]
) -> Iterator[Iterator[_Place]]:
    """The values in the order in which they are coded.

    What is asked for next depends on what is in `given` by then: of the values before in the
    chunk the signs, of all before it the magnitudes, too.
    """
    start = 0
    for shape in shapes:
        yield from _Tensor(given, start, shape, lanes).chunks(levels)
        start += shape.size


def _mean(total: int, count: int) -> int:
    """Of so many."""
    return total * (2**40 // count) >> 40


class _Tensor:
    """What is known of a tensor; means are in units of 2^-8."""

    def __init__(self, given: list[int], start: int, shape: Shape, lanes: int) -> None:
        self._given, self._start, self._shape, self._lanes = given, start, shape, lanes
        self._width = shape.channels * shape.kernel
        self._sums, self._offsets = [0] * self._width, [0] * self._width
        self._mean = _FIRST_MEAN

    def chunks(self, levels: tuple[int, int]) -> Iterator[Iterator[_Place]]:
        """See `_chunks`."""
        for row in range(0, -(-self._shape.size // self._width), self._lanes):
            if row:
                self._look_back(row)
            totals = [_TRUST * self._mean] * self._lanes
            for first in range(0, self._width, _STEP):
                base = [logarithm(_mean(total, _TRUST + first)) for total in totals]
                columns = range(first, min(first + _STEP, self._width))
                yield self._places(row, columns, base, levels)
                for column in columns:
                    for lane, at in self._rows(row, column):
                        magnitude = abs(self._given[at])
                        totals[lane] += magnitude << 8
                        self._sums[column] += magnitude

    def _rows(self, row: int, column: int) -> Iterator[tuple[int, int]]:
        """Lanes and places of a column's values from that row on; the last row may be cut."""
        for lane in range(self._lanes):
            place = (row + lane) * self._width + column
            if place < self._shape.size:
                yield lane, self._start + place

    def _places(
        self, row: int, columns: range, base: list[int], levels: tuple[int, int]
    ) -> Iterator[_Place]:
        for column in columns:
            for lane, at in self._rows(row, column):
                level = (base[lane] + self._offsets[column] >> 2) - _LOWEST_LEVEL
                level = min(max(level, levels[0]), levels[1])
                yield _Place(at, lane, level, self._signs(column, at))

    def _signs(self, column: int, at: int) -> int:
        """Three times that of the value above in the kernel, and that of the one beside.

        Without kernels those of the two values before.
        """
        if self._shape.kernel == 1:
            place, width, back = column, self._width, 2
        else:
            place, width = column % self._shape.kernel, self._shape.width
            back = width
        above = sign(self._given[at - back]) if place >= back else 0
        return 3 * above + (sign(self._given[at - 1]) if place % width else 0)

    def _look_back(self, rows: int) -> None:
        """What so many rows say about each column, its channel and its place in the kernel."""
        channels, kernel = self._shape.channels, self._shape.kernel
        sums = np.array(self._sums).reshape(channels, kernel)
        self._mean = _mean(int(sums.sum()) << 8, rows * self._width)
        mean = logarithm(self._mean)

        def scaled(totals: list[int], count: int, weight: int) -> list[int]:
            found = (logarithm(_mean(total << 8, count)) for total in totals)
            return [weight * (log - mean) for log in found]

        own = scaled(self._sums, rows, 4)
        by_channel = scaled(sums.sum(1).tolist(), rows * kernel, 8)
        by_place = scaled(sums.sum(0).tolist(), rows * channels, 12)
        for column in range(self._width):
            channel, place = divmod(column, kernel)
            total = own[column] + by_channel[channel] + by_place[place]
            self._offsets[column] = total >> 4


class _Writer:
    """States of rANS, and words from the last to the first."""

    def __init__(self, lanes: int) -> None:
        self._states, self._words = [LOWEST] * lanes, list[int]()

    def put(self, lane: int, starts: Sequence[int], symbol: int, bits: int) -> None:
        """See `reference.rans_encode`."""
        state, start = self._states[lane], starts[symbol]
        frequency = starts[symbol + 1] - start
        if state >= frequency << (32 - bits):
            self._words.append(state & _WORD)
            state >>= 16
        self._states[lane] = (state // frequency << bits) + state % frequency + start

    def end(self) -> bytes:
        """States and words."""
        words = np.array(self._words[::-1], "<u2").tobytes()
        return np.array(self._states, "<u4").tobytes() + words


class _Reader:
    """The reverse."""

    def __init__(self, body: bytes, lanes: int) -> None:
        self._states: list[int] = np.frombuffer(body[: 4 * lanes], "<u4").tolist()
        self._words: list[int] = np.frombuffer(body[4 * lanes :], "<u2")[::-1].tolist()
        self.failed = min(self._states) < LOWEST

    def get(self, lane: int, starts: Sequence[int], bits: int) -> int:
        """See `reference.rans_decode`."""
        state = self._states[lane]
        slot = state & (1 << bits) - 1
        symbol = bisect_right(starts, slot) - 1
        state = (starts[symbol + 1] - starts[symbol]) * (state >> bits) + slot - starts[symbol]
        if state < LOWEST:
            self.failed |= not self._words
            state = state << 16 | self._words.pop() if self._words else LOWEST
        self._states[lane] = state
        return symbol

    def ended(self) -> bool:
        """Whether states and words are what the encoder begins with."""
        return not self._words and all(state == LOWEST for state in self._states)
