"""The context coder in plain Python: what it is. Whole numbers throughout, so that all agree.

Values lie in rows: `Shape` says how. What has been coded says how large the next value will
be; that, in octaves, chooses the statistics with which it is coded:

    level   the logarithm of a mean of the magnitudes in this row (of all, and of the last
            ones) and of the neighbours before and above; plus how much larger than the mean
            this column, this channel and this place of the kernel have been in the rows above
    bins    is it 0 (by level, and whether the values before and above are); its sign (by the
            signs of those beside and above it in the kernel, and above in the row before);
            then which bucket the magnitude is in, in unary (by level); and its place in the
            bucket, the highest bit first

Each statistic is two probabilities, one that soon forgets and one that hardly does; their mean
codes the bin in a binary arithmetic coder whose interval has 32 bits. Whether a value is 0
begins with what a geometric distribution of the level's mean says, as if seen twice.

Source: Marpe, Schwarz, Wiegand, "Context-based adaptive binary arithmetic coding", IEEE
Transactions on Circuits and Systems for Video Technology 13, 2003; Wiedemann et al.,
"DeepCABAC", arXiv:1907.11900. The contexts and their arithmetic are Tersor's.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tersor.kernels import reference_adaptive as adaptive
from tersor.kernels.reference_adaptive import (
    BUCKETS,
    MOST_MAGNITUDE,
    ROW_MEMORY,
    Coder,
    Shape,
    Slot,
    Values,
    bounds,
    bucket,
    logarithm,
    moved,
    sign,
)

_TRUST = 2  # values that the first guess is worth
_MEMORY, _COLUMN_MEMORY = 256, 64
_LEVELS, _FIRST_LEVEL = 12, 2


def context_encode(values: Values, shapes: Sequence[Shape]) -> bytes:
    """The payload for the values of some tensors, whose magnitudes are at most 255."""
    return adaptive.encode(_Model, values, shapes)


def context_decode(payload: bytes, shapes: Sequence[Shape], target: Values) -> bool:
    """The reverse; False if the payload is not what the encoder writes for these shapes."""
    return adaptive.decode(_Model, payload, shapes, target)


def more(level: int) -> int:
    """The part of magnitudes that are larger than any given one, in units of 2^-16."""
    mean = (3 << (level + _FIRST_LEVEL) >> 1) - 4
    return (mean << 16) // (mean + 256)


class _Model:
    """All statistics. They outlive a tensor: the next one starts with them."""

    def __init__(self, coder: Coder) -> None:
        self._coder = coder
        self._zero = [
            [Slot(more(level), _TRUST) for _ in range(9)] for level in range(_LEVELS)
        ]
        self._signs = [Slot() for _ in range(27)]
        self._unary = [[Slot() for _ in range(_LEVELS)] for _ in range(BUCKETS)]
        self._places = [[Slot() for _ in range(64)] for _ in range(BUCKETS)]

    def values(self, shape: Shape, given: list[int]) -> Iterator[int]:
        """Code the values of a tensor; what the decoder finds replaces what was given."""
        past = _Past(shape)
        width = shape.channels * shape.kernel
        for start in range(0, shape.size, width):
            stop = min(start + width, shape.size)
            past.begin_row()
            for at in range(start, stop):
                column = at - start
                before = given[at - 1] if column else 0
                up = given[at - width] if start else 0
                level = past.level(column, abs(before) + abs(up))
                signs = 9 * self._beside(shape, before, column)
                signs += 3 * sign(self._above(shape, given, at, column)) + sign(up)
                zeros = 3 * min(2, abs(before)) + min(2, abs(up))
                given[at] = self._value(given[at], level, zeros, signs)
                past.add(abs(given[at]))
                yield given[at]
            if stop - start == width:
                past.end_row([abs(value) for value in given[start:stop]])

    @staticmethod
    def _beside(shape: Shape, before: int, column: int) -> int:
        """The sign of the value before, in the same line of the kernel."""
        first = shape.kernel > 1 and column % shape.kernel % shape.width == 0
        return 0 if first else sign(before)

    @staticmethod
    def _above(shape: Shape, given: list[int], at: int, column: int) -> int:
        """The value above in the kernel; without kernels that of the channel before."""
        if shape.kernel == 1:
            return given[at - 2] if column > 1 else 0
        return given[at - shape.width] if column % shape.kernel >= shape.width else 0

    def _value(self, value: int, level: int, zeros: int, signs: int) -> int:
        if not self._bin(self._zero[level][zeros], int(value != 0)):
            return 0
        positive = self._bin(self._signs[signs], int(value > 0))
        magnitude = self._magnitude(max(abs(value) - 1, 0), level) + 1
        return magnitude if positive else -magnitude

    def _magnitude(self, rest: int, level: int) -> int:
        number, wanted = 0, bucket(rest)
        while number < BUCKETS - 1 and self._bin(
            self._unary[number][level], int(wanted > number)
        ):
            number += 1
        least, bits = bounds(number)
        node = 1
        for bit in reversed(range(bits)):
            place = max(rest - least, 0) >> bit & 1
            node = 2 * node + self._bin(self._places[number][node], place)
        return least + node - (1 << bits)

    def _bin(self, slot: Slot, bin_: int) -> int:
        found = self._coder.code(slot.probability, bin_)
        slot.learn(found)
        return found


class _Past:
    """Means of magnitudes, in units of 2^-8."""

    def __init__(self, shape: Shape) -> None:
        self._shape, self._rows, self._seen = shape, 0, 0
        self._all = self._row = self._last = 256
        self._columns = [256] * (shape.channels * shape.kernel)
        self._channels = [256] * shape.channels
        self._kernel = [256] * shape.kernel
        self._offsets = [0] * len(self._columns)

    def begin_row(self) -> None:
        """What the rows so far say about each column."""
        self._row, self._seen = self._all, 3
        if self._rows == 0:
            return
        mean = logarithm(self._all)
        channels = [8 * (logarithm(m) - mean) for m in self._channels]
        kernel = [12 * (logarithm(m) - mean) for m in self._kernel]
        for column, own in enumerate(self._columns):
            channel, place = divmod(column, self._shape.kernel)
            total = channels[channel] + kernel[place] + 4 * (logarithm(own) - mean)
            self._offsets[column] = total >> 4

    def level(self, column: int, near: int) -> int:
        """The level for a column; `near`: the magnitudes before and above."""
        mean = 8 * self._last + 6 * self._row + (near << 8) >> 4
        level = (logarithm(mean) + self._offsets[column] >> 3) - _FIRST_LEVEL
        return min(max(level, 0), _LEVELS - 1)

    def add(self, magnitude: int) -> None:
        """One more value of the row."""
        magnitude = min(magnitude, MOST_MAGNITUDE)
        self._last += ((magnitude << 8) - self._last) * 4681 >> 16
        self._row = moved(self._row, magnitude << 8, self._seen)
        self._seen = min(self._seen + 1, ROW_MEMORY)

    def end_row(self, magnitudes: list[int]) -> None:
        """A whole row is known."""
        given = np.minimum(magnitudes, MOST_MAGNITUDE).reshape(self._shape.channels, -1)
        seen = min(self._rows, _COLUMN_MEMORY)
        for column, magnitude in enumerate(given.reshape(-1).tolist()):
            self._columns[column] = moved(self._columns[column], magnitude << 8, seen)
        for channel, total in enumerate(given.sum(1).tolist()):
            mean = (total << 8) // self._shape.kernel
            self._channels[channel] = moved(self._channels[channel], mean, seen)
        seen = min(self._rows, _MEMORY)
        for place, total in enumerate(given.sum(0).tolist()):
            mean = (total << 8) // self._shape.channels
            self._kernel[place] = moved(self._kernel[place], mean, seen)
        self._all = moved(self._all, (int(given.sum()) << 8) // given.size, seen)
        self._rows += 1
