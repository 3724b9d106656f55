"""What the adaptive coders share, in plain Python: statistics of bins, the arithmetic coder.

A coder describes a value by bins and asks a statistic for the probability of each. A statistic
is two probabilities, one that soon forgets and one that hardly does; their mean counts. Bins
are coded by a binary arithmetic coder whose interval has 32 bits.

Source: Marpe, Schwarz, Wiegand, "Context-based adaptive binary arithmetic coding", IEEE
Transactions on Circuits and Systems for Video Technology 13, 2003.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int16]

MOST_MAGNITUDE = 255
ONE = 1 << 16  # of probabilities
LEAST = 24  # of a probability: more certain is nothing
ROW_MEMORY = 1000
BUCKETS = 16
_SLOW, _FAST = 255, 20  # values that the two probabilities remember
_BYTE = 0xFF
_TOP = 0xFFFFFFFF


class Shape(NamedTuple):
    """How the values of a tensor lie: in rows of `channels` times `kernel`, the last one cut.

    Attributes:
        size: Number of values.
        channels: Groups in a row.
        kernel: Values of a group.
        width: How far the value above in the kernel is; at least 1.
    """

    size: int
    channels: int
    kernel: int
    width: int


def rate(seen: int) -> int:
    """What the next one counts in a mean of so many, in units of 2^-14."""
    return (2 * ONE // (2 * seen + 3)) >> 2


def logarithm(mean: int) -> int:
    """8 log2(mean + 4), about."""
    mean += 4
    length = mean.bit_length() - 1
    return 8 * length + ((mean >> max(length - 3, 0)) & 7)


def bucket(rest: int) -> int:
    """The bucket of a magnitude less 1: 0, 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, 12 to 15, ..."""
    if rest < 4:
        return rest
    length = rest.bit_length() - 1
    return 2 * length + (rest >> (length - 1) & 1)


def bounds(number: int) -> tuple[int, int]:
    """The least of a bucket, and the bits that tell its others."""
    if number < 4:
        return number, 0
    length = number // 2
    return (2 + number % 2) << (length - 1), length - 1


def moved(mean: int, value: int, seen: int) -> int:
    """The mean of so many, with one more value."""
    return mean + ((value - mean) * rate(seen) >> 14)


def sign(value: int) -> int:
    """0, 1 for more, 2 for less."""
    return 1 if value > 0 else 2 if value < 0 else 0


class Slot:
    """A statistic of one bin."""

    def __init__(self, probability: int = ONE // 2, seen: int = 0) -> None:
        self.slow = self.fast = probability
        self.seen = seen

    @property
    def probability(self) -> int:
        """That the bin is 1."""
        return min(max(self.slow + self.fast >> 1, LEAST), ONE - 1 - LEAST)

    def learn(self, bin_: int) -> None:
        """One more bin is known."""
        wanted = bin_ * (ONE - 1)
        self.slow = moved(self.slow, wanted, self.seen)
        self.fast = moved(self.fast, wanted, min(self.seen, _FAST))
        self.seen = min(self.seen + 1, _SLOW)


class Encoder:
    """Writes bins."""

    def __init__(self) -> None:
        self._low, self._high, self._out = 0, _TOP, bytearray()

    def code(self, probability: int, bin_: int) -> int:
        """Write a bin that is 1 with that probability."""
        middle = self._low + ((self._high - self._low) * probability >> 16)
        if bin_:
            self._high = middle
        else:
            self._low = middle + 1
        while (self._low ^ self._high) >> 24 == 0:
            self._out.append(self._high >> 24)
            self._low = self._low << 8 & _TOP
            self._high = self._high << 8 & _TOP | _BYTE
        return bin_

    def end(self) -> bytes:
        """All bytes."""
        value, count = shortest(self._low, self._high)
        return bytes(self._out) + value.to_bytes(4, "big")[:count]


class Decoder:
    """Reads bins; behind the payload stand zeros."""

    def __init__(self, payload: bytes) -> None:
        self._low, self._high, self._payload = 0, _TOP, payload
        self._value = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")
        self._shifted = 0

    def code(self, probability: int, _: int) -> int:
        """Read a bin that is 1 with that probability."""
        middle = self._low + ((self._high - self._low) * probability >> 16)
        bin_ = int(self._value <= middle)
        if bin_:
            self._high = middle
        else:
            self._low = middle + 1
        while (self._low ^ self._high) >> 24 == 0:
            self._low = self._low << 8 & _TOP
            self._high = self._high << 8 & _TOP | _BYTE
            place = self._shifted + 4
            following = self._payload[place] if place < len(self._payload) else 0
            self._value = self._value << 8 & _TOP | following
            self._shifted += 1
        return bin_

    def overrun(self) -> bool:
        """Whether bins were read that no byte tells of."""
        return self._shifted > len(self._payload)

    def ended(self) -> bool:
        """Whether what is left is what the encoder writes at its end."""
        value, count = shortest(self._low, self._high)
        return self._value == value and self._shifted + count == len(self._payload)


def shortest(low: int, high: int) -> tuple[int, int]:
    """The number in low .. high with the fewest bytes that are not zeros at its end."""
    for count in range(5):
        unit = 1 << (32 - 8 * count)
        value = -(-low // unit) * unit
        if value <= high:
            return value, count
    raise AssertionError(low, high)


Coder = Encoder | Decoder


class Model(Protocol):
    """The bins of the values of tensors, one tensor after the other."""

    def values(self, shape: Shape, given: list[int]) -> Iterator[int]:
        """Code the values of a tensor; what the decoder finds replaces what was given."""
        ...


def encode(make: Callable[[Coder], Model], values: Values, shapes: Sequence[Shape]) -> bytes:
    """The payload for the values of some tensors, whose magnitudes are at most 255."""
    coder = Encoder()
    model = make(coder)
    given = values.tolist()
    at = 0
    for shape in shapes:
        for _ in model.values(shape, given[at : at + shape.size]):
            pass
        at += shape.size
    return coder.end()


def decode(
    make: Callable[[Coder], Model],
    payload: bytes,
    shapes: Sequence[Shape],
    target: Values,
) -> bool:
    """The reverse; False if the payload is not what the encoder writes for these shapes."""
    coder = Decoder(payload)
    model = make(coder)
    at = 0
    for shape in shapes:
        for value in model.values(shape, [0] * shape.size):
            if coder.overrun():
                return False
            target[at] = value
            at += 1
    return coder.ended()
