"""The mixing coder in plain Python: what it is. Whole numbers throughout, so that all agree.

Values lie in rows: `Shape` says how. A value is told by bins: is it 0; its sign; the four bits
of the bucket that its magnitude is in, the highest first; its place in the bucket, likewise.
Several statistics, each for another view of what was coded before, guess each of the first
three; a mixer weighs them:

    p = squash(sum of w_i stretch(p_i)),  stretch(p) = ln(p / (1 - p)),  squash its inverse,
    w_i += rate * (bin - p) * stretch(p_i),  the rate falling from 2^-13 to 2^-18

Views of magnitudes are means, in this row, lately, in this kernel, column, channel and place
of the kernel, two of them at a time; the values next to it; and two guesses by weighted sums
whose weights follow their errors (normalized least mean squares), for each place of a kernel:
of the value, by those before in the kernel, in the channel before and in the row above; and
of the magnitude, by those before and by the means. Signs are guessed by those around, and by
the guess of the value. Where the next tensor has kernels of the same size, these weights stay.

Source: Mahoney, "Adaptive weighing of context models for lossless data compression", Florida
Institute of Technology CS-2005-16, 2005 (mixing in the logistic domain); Widrow, Hoff,
"Adaptive switching circuits", 1960. The views and their arithmetic are Tersor's.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tersor.kernels import reference_adaptive as adaptive
from tersor.kernels.reference_adaptive import (
    BUCKETS,
    LEAST,
    MOST_MAGNITUDE,
    ONE,
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

_MOST = MOST_MAGNITUDE << 8  # of a mean
_LAST, _LATE, _PART, _COLUMN = 14, 46, 30, 64  # values that means remember
_PLACES = 64  # of a kernel that have weights of their own
_MOST_LOGIT = 2047
_KNOTS = (
    *(22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743),
    *(32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269),
    *(65374, 65438, 65476, 65500, 65514),
)  # 2^16 / (1 + exp(-x)) for x = -8, -7.5 .. 8
_FIRST_WEIGHT, _MOST_WEIGHT, _BIAS = 19661, (1 << 18) - 1, 128
_ROUNDS = 4096  # after which a mixer's rate is the lowest


def mixing_encode(values: Values, shapes: Sequence[Shape]) -> bytes:
    """The payload for the values of some tensors, whose magnitudes are at most 255."""
    return adaptive.encode(_Model, values, shapes)


def mixing_decode(payload: bytes, shapes: Sequence[Shape], target: Values) -> bool:
    """The reverse; False if the payload is not what the encoder writes for these shapes."""
    return adaptive.decode(_Model, payload, shapes, target)


def squash(logit: int) -> int:
    """The probability, in units of 2^-16, for 256 ln(p / (1 - p)), in -2047 .. 2047."""
    knot, rest = divmod(logit + _MOST_LOGIT + 1, 128)
    return _KNOTS[knot] + ((_KNOTS[knot + 1] - _KNOTS[knot]) * rest >> 7)


def _stretched() -> list[int]:
    """For each probability, in units of 2^-12, the least logit that leads there."""
    found: list[int] = []
    for logit in range(-_MOST_LOGIT, _MOST_LOGIT + 1):
        found += [logit] * ((squash(logit) >> 4) + 1 - len(found))
    return found + [_MOST_LOGIT] * ((ONE >> 4) - len(found))


STRETCH = _stretched()


def _clamped(value: int, most: int) -> int:
    return min(max(value, -most), most)


def _half(mean: int) -> int:
    """The half octave of a mean: 0 .. 26."""
    return logarithm(mean) - 20 >> 2


def _size(value: int) -> int:
    return min(abs(value), MOST_MAGNITUDE)


def _two(value: int) -> int:
    return min(abs(value), 2)


class _Mixer:
    """What is known of one kind of bin: statistics by view, and how far to believe each."""

    def __init__(self, views: int) -> None:
        self._slots: dict[tuple[int, int], Slot] = {}
        self._weights = [_FIRST_WEIGHT] * views + [0]
        self._seen = 0

    def code(self, coder: Coder, contexts: Sequence[int], bin_: int) -> int:
        slots = [self._slots.setdefault(key, Slot()) for key in enumerate(contexts)]
        inputs = [STRETCH[slot.probability >> 4] for slot in slots] + [_BIAS]
        total = sum(i * (w >> 2) for i, w in zip(inputs, self._weights, strict=True))
        probability = squash(_clamped(total >> 14, _MOST_LOGIT))
        found = coder.code(min(max(probability, LEAST), ONE - 1 - LEAST), bin_)
        shift = 13 + min(max(self._seen.bit_length() - 3 >> 1, 0), 5)
        error, half = found * ONE - probability, 1 << (shift - 1)
        for i, given in enumerate(inputs):
            weight = self._weights[i] + (error * given + half >> shift)
            self._weights[i] = _clamped(weight, _MOST_WEIGHT)
        self._seen = min(self._seen + 1, _ROUNDS)
        for slot in slots:
            slot.learn(found)
        return found


class _Linear:
    """Guesses a value, in units of 2^-8, from those before."""

    def __init__(self) -> None:
        self._weights = [[0] * 10 for _ in range(_PLACES)]
        self._power = 256

    def guess(self, place: int, given: Sequence[int]) -> int:
        total = sum(x * (w >> 4) for x, w in zip(given, self._weights[place], strict=True))
        return _clamped(total >> 4, _MOST)

    def learn(self, place: int, given: Sequence[int], value: int, guessed: int) -> None:
        norm = sum(x * x for x in given)
        self._power += (min(norm, 4000) << 8) - self._power >> 7
        if norm == 0:
            return
        shift = (norm + (self._power >> 6) + 1).bit_length() - 1
        error = min(max(value * 256 - guessed, -32768), 32767) * 16
        self._weights[place] = [
            _clamped(w + (error * x >> shift), 1 << 17)
            for x, w in zip(given, self._weights[place], strict=True)
        ]


class _Sizes:
    """Guesses a magnitude, in units of 2^-8, from magnitudes and means of them."""

    def __init__(self) -> None:
        self._weights = [[0] * 11 + [22000] * 3 for _ in range(_PLACES)]
        self._power = 1 << 12

    def guess(self, place: int, given: Sequence[int]) -> int:
        total = sum(x * w for x, w in zip(given, self._weights[place], strict=True))
        return min(max(total >> 16, 4), _MOST)

    def learn(self, place: int, given: Sequence[int], magnitude: int, guessed: int) -> None:
        norm = sum(x * x >> 8 for x in given)
        self._power += min(norm, 1 << 28) - self._power >> 8
        shift = (norm + self._power + 256).bit_length() + 3
        error = (magnitude - guessed) * 256
        self._weights[place] = [
            _clamped(w + (error * x >> shift), 1 << 18)
            for x, w in zip(given, self._weights[place], strict=True)
        ]


class _Spot(NamedTuple):
    """Where a value is: a column is a place in the kernel of a channel."""

    row: int
    column: int
    channel: int
    place: int


class _Past:
    """Means of magnitudes, in units of 2^-8."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.row = self.last = self.late = self.part = self.all = 256
        self.columns = [0] * (shape.channels * shape.kernel)
        self.channels = [0] * shape.channels
        self.places = [0] * shape.kernel
        self._row_seen, self._all_seen = 3, 0

    def times(self, mean: int, other: int) -> int:
        """The one mean times how much larger the other is than that of all."""
        return min(mean * (other + 6) // (self.all + 6), _MOST)

    def begin(self, at: _Spot) -> None:
        """A mean starts as that of all; that of a kernel as that of the row."""
        if at.column == 0:
            self.row, self._row_seen = self.all, 3
        if at.row == 0:
            self.columns[at.column] = self.all
            if at.place == 0:
                self.channels[at.channel] = self.all
            if at.channel == 0:
                self.places[at.place] = self.all
        if at.place == 0:
            self.part = self.row

    def add(self, at: _Spot, value: int) -> None:
        """One more magnitude, in units of 2^-8."""
        channels, kernel = self._shape.channels, self._shape.kernel
        self.row = moved(self.row, value, min(self._row_seen, ROW_MEMORY))
        self.last = moved(self.last, value, _LAST)
        self.late = moved(self.late, value, _LATE)
        self.part = moved(self.part, value, min(at.place + 1, _PART))
        of = self.columns, at.column, at.row, _COLUMN
        _move(value, *of)
        of = self.channels, at.channel, at.row * kernel + at.place, _COLUMN * kernel
        _move(value, *of)
        of = self.places, at.place, at.row * channels + at.channel, ROW_MEMORY
        _move(value, *of)
        self.all = moved(self.all, value, min(self._all_seen, ROW_MEMORY))
        self._row_seen += 1
        self._all_seen += 1


def _move(value: int, means: list[int], at: int, seen: int, memory: int) -> None:
    means[at] = moved(means[at], value, min(seen, memory, ROW_MEMORY))


class _View:
    """All that is known of a value before it is coded."""

    def __init__(self, given: list[int], at: int, spot: _Spot, shape: Shape, past: _Past):
        kernel, row = shape.kernel, shape.channels * shape.kernel
        before = given[at - min(8, spot.column) : at][::-1]
        self.before = [*before, *[0] * (8 - len(before))]
        self.up = given[at - row] if spot.row > 0 else 0
        self.two_up = given[at - 2 * row] if spot.row > 1 else 0
        self.above = given[at - shape.width] if spot.place >= shape.width else 0
        self.beside = given[at - 1] if spot.place % shape.width else 0
        self.aside = given[at - kernel] if spot.channel > 0 else 0
        reach = spot.place if kernel > 1 else spot.column
        self.values = [x if i < reach else 0 for i, x in enumerate(self.before)]
        self.values += [self.aside if kernel > 1 else 0, self.up]
        place = past.places[spot.place]
        self.by_channel = past.times(past.row, past.channels[spot.channel])
        self.by_form = past.times(self.by_channel, place)
        self.by_column = past.times(past.row, past.columns[spot.column])
        self.magnitudes = [_size(x) << 8 for x in (*self.before, self.aside, self.up)]
        self.magnitudes += [past.times(past.row, place), self.by_form]
        self.magnitudes += [self.by_column, past.late]


class _Contexts:
    """The contexts of the bins of a value."""

    def __init__(self, view: _View, past: _Past, at: _Spot, guess: int, expected: int) -> None:
        self._octave, self._expected = _half(view.by_form) >> 1, expected
        near = _size(view.before[0]) + _size(view.up) << 8
        ratio = 8 * abs(guess) // ((8 * past.last + 6 * past.row + near >> 4) + 64)
        certain = ratio if ratio < 4 else min(4 + (ratio - 4) // 3, 11)
        self._guess = -certain if guess < 0 else certain
        channel = _half(past.channels[at.channel])
        around = 27 * _two(view.before[0]) + 9 * _two(view.before[1])
        around += 3 * _two(view.up) + _two(view.above)
        both = (
            27 * _half(past.part) + channel,
            6 * around + _half(view.by_channel) // 5,
        )
        first = 27 * _half(past.row) + _half(past.columns[at.column])
        self.zero = (first, 27 * channel + _half(past.last), *both, *self._guessed(certain))
        first = logarithm(view.by_form) - 20 >> 1
        self._magnitude = (first, 27 * _half(view.by_column) + _half(past.late), *both)
        in_kernel = 3 * sign(view.beside) + sign(view.above)
        self.sign = (
            in_kernel,
            9 * sign(view.up) + 3 * sign(view.two_up) + sign(view.aside),
            32 * in_kernel + min(at.place, 31),
            12 + self._guess,
            14 * (12 + self._guess) + self._octave,
        )

    def magnitude(self, positive: int) -> tuple[int, ...]:
        """Those of the magnitude, once the sign is known."""
        return (*self._magnitude, *self._guessed(self._guess if positive else -self._guess))

    def _guessed(self, guess: int) -> tuple[int, int, int]:
        return (
            14 * (12 + guess) + self._octave,
            logarithm(self._expected) - 20,
            24 * _half(self._expected) + 12 + guess,
        )


class _Model:
    """All statistics. They outlive a tensor: the next one starts with them."""

    def __init__(self, coder: Coder) -> None:
        self._coder = coder
        self._zero, self._signs = _Mixer(7), _Mixer(5)
        self._nodes = [_Mixer(7) for _ in range(BUCKETS)]
        self._places = [[Slot() for _ in range(64)] for _ in range(BUCKETS)]
        self._kernel, self._linear, self._sizes = 0, _Linear(), _Sizes()

    def values(self, shape: Shape, given: list[int]) -> Iterator[int]:
        """See `reference_adaptive.Model`."""
        if shape.kernel != self._kernel:
            self._kernel, self._linear, self._sizes = shape.kernel, _Linear(), _Sizes()
        past = _Past(shape)
        for at in range(shape.size):
            row, column = divmod(at, shape.channels * shape.kernel)
            spot = _Spot(row, column, *divmod(column, shape.kernel))
            past.begin(spot)
            view = _View(given, at, spot, shape, past)
            place = min(spot.place, _PLACES - 1)
            guess = self._linear.guess(place, view.values)
            expected = self._sizes.guess(place, view.magnitudes)
            contexts = _Contexts(view, past, spot, guess, expected)
            found = given[at] = self._value(given[at], contexts)
            magnitude = _size(found) << 8
            self._linear.learn(place, view.values, found, guess)
            self._sizes.learn(place, view.magnitudes, magnitude, expected)
            past.add(spot, magnitude)
            yield found

    def _value(self, value: int, contexts: _Contexts) -> int:
        if not self._zero.code(self._coder, contexts.zero, int(value != 0)):
            return 0
        positive = self._signs.code(self._coder, contexts.sign, int(value > 0))
        known = contexts.magnitude(positive)
        magnitude = self._magnitude(max(abs(value) - 1, 0), known) + 1
        return magnitude if positive else -magnitude

    def _magnitude(self, rest: int, contexts: Sequence[int]) -> int:
        wanted, node = bucket(rest), 1
        for bit in (3, 2, 1, 0):
            node = 2 * node + self._nodes[node].code(self._coder, contexts, wanted >> bit & 1)
        number = node - BUCKETS
        least, bits = bounds(number)
        inner = 1
        for bit in reversed(range(bits)):
            slot = self._places[number][inner]
            found = self._coder.code(slot.probability, max(rest - least, 0) >> bit & 1)
            slot.learn(found)
            inner = 2 * inner + found
        return least + inner - (1 << bits)
