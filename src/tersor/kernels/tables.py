"""Small tables in few bits: what the codecs write before the symbols.

Bits are written from the low bit of each byte up. A number is written in one of three ways:
`put`, in a given number of bits; `put_size`, any number below 2^63: six bits for its length,
then that many; `put_gamma`, small numbers from 1 up, in Elias' gamma code: a number of n bits
is n - 1 zeros, a one, and its n - 1 lower bits.

Levels, one for each of the 256 symbols, 0 for those that do not occur: after a 0 (and at the
start) the length of the run of zeros that follows, plus 1, in gamma code; then, unless the
table ends there, the level less 1 in as many bits as the most needs. After any other level,
the difference d of the next one, as 2 |d|, less 1 if d > 0, plus 1, in gamma code.

Source: Elias, "Universal codeword sets and representations of the integers", IEEE
Transactions on Information Theory 21, 1975.
"""

from collections.abc import Sequence

import numpy as np

from tersor.errors import FormatError
from tersor.kernels import choose

SYMBOLS = 256
_SIZE_BITS = 6
_AHEAD = 8  # bytes looked at for a number of up to 31 bits and a level of up to 16
_WINDOW = 16  # bytes looked at for one number: 63 bits at any place


class BitWriter:
    """Numbers in few bits, one after the other."""

    def __init__(self) -> None:
        self._value, self._bits = 0, 0

    def put(self, value: int, bits: int) -> None:
        """A number below 2^bits."""
        self._value |= value << self._bits
        self._bits += bits

    def put_size(self, value: int) -> None:
        """A number below 2^63."""
        self.put(value.bit_length(), _SIZE_BITS)
        self.put(value, value.bit_length())

    def put_gamma(self, value: int) -> None:
        """A number from 1 up."""
        rest = value.bit_length() - 1
        self.put(1 << rest, rest + 1)
        self.put(value - (1 << rest), rest)

    def put_levels(self, levels: Sequence[int], most: int) -> None:
        """One level in 0 .. most for each symbol."""
        last, at = 0, 0
        while at < SYMBOLS:
            if last == 0:
                run = _zeros(levels, at)
                self.put_gamma(run + 1)
                at += run
                if at == SYMBOLS:
                    return
                self.put(levels[at] - 1, (most - 1).bit_length())
            else:
                step = levels[at] - last
                self.put_gamma(2 * abs(step) - (step > 0) + 1)
            last, at = levels[at], at + 1

    def to_bytes(self) -> bytes:
        """All of it, up to a whole byte.

        >>> writer = BitWriter()
        >>> writer.put_gamma(5), writer.put_size(9), writer.to_bytes().hex()
        (None, None, '8c48')
        """
        return self._value.to_bytes((self._bits + 7) // 8, "little")


def _zeros(levels: Sequence[int], at: int) -> int:
    end = at
    while end < len(levels) and levels[end] == 0:
        end += 1
    return end - at


class BitReader:
    """The reverse of BitWriter; every method raises FormatError where bits end too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _peek(self) -> int:
        return self._window(_WINDOW)

    def _skip(self, bits: int) -> None:
        self._at += bits
        if self._at > 8 * len(self._data):
            raise FormatError("payload ends too early", offset=len(self._data))

    def get(self, bits: int) -> int:
        """See `BitWriter.put`; up to 63 bits."""
        value = self._peek() & (1 << bits) - 1
        self._skip(bits)
        return value

    def get_size(self) -> int:
        """See `BitWriter.put_size`."""
        bits = self.get(_SIZE_BITS)
        value = self.get(bits)
        if value.bit_length() != bits:
            raise FormatError(f"number {value} in {bits} bits", offset=self._at // 8)
        return value

    def get_gamma(self) -> int:
        """See `BitWriter.put_gamma`; numbers of up to 16 bits."""
        ahead = self._peek()
        rest = (ahead & -ahead).bit_length() - 1
        if not 0 <= rest < 16:
            raise FormatError("number out of range", offset=self._at // 8)
        self._skip(2 * rest + 1)
        mask = (1 << rest) - 1
        return 1 << rest | ahead >> (rest + 1) & mask

    def get_each(self, widths: Sequence[int]) -> list[int]:
        """Numbers of so many bits each, written by `BitWriter.put`, one after the other."""
        total = sum(widths)
        window = self._window((total + 7) // 8 + 1)
        self._skip(total)
        found = []
        for bits in widths:
            found.append(window & (1 << bits) - 1)
            window >>= bits
        return found

    def get_levels(self, most: int) -> list[int]:
        """See `BitWriter.put_levels`; `most` is below 2^8."""
        native = choose.module()
        if native is not None:
            levels, data = np.empty(SYMBOLS, np.uint8), np.frombuffer(self._data, np.uint8)
            end = native.read_levels(data, self._at, most, levels)
            if end >= 0:
                self._at = end
                return levels.tolist()
        return self._levels(most)  # which says what is wrong, too

    def _levels(self, most: int) -> list[int]:
        data, at, bits = self._data, self._at, (most - 1).bit_length()
        levels: list[int] = []
        last = 0
        while len(levels) < SYMBOLS:
            ahead = int.from_bytes(data[at >> 3 : (at >> 3) + _AHEAD], "little") >> (at & 7)
            rest = (ahead & -ahead).bit_length() - 1
            if not 0 <= rest < 16:
                raise FormatError("number out of range", offset=at // 8)
            ahead >>= rest + 1
            code = (1 << rest | ahead & (1 << rest) - 1) - 1
            at += 2 * rest + 1
            if last == 0:
                levels += [0] * code
                if len(levels) == SYMBOLS:
                    break
                last = (ahead >> rest & (1 << bits) - 1) + 1
                at += bits
            else:
                last += (code + 1) // 2 if code % 2 else -(code // 2)
            if at > 8 * len(data):
                break
            if not 0 <= last <= most or len(levels) > SYMBOLS:
                raise FormatError("table out of range", offset=at // 8)
            levels.append(last)
        self._skip(at - self._at)
        return levels

    def _window(self, size: int) -> int:
        start = self._at // 8
        return int.from_bytes(self._data[start : start + size], "little") >> self._at % 8

    def end(self) -> int:
        """The next whole byte; what is left of this one must be zeros."""
        if self.get(-self._at % 8):
            raise FormatError("bits set where none belong", offset=self._at // 8)
        return self._at // 8


def sized(payload: bytes, count: int) -> BitReader | None:
    """The reader behind the number of bytes that a payload begins with; None for nothing.

    Raises:
        FormatError: The number is not `count`.
    """
    if not payload and count == 0:
        return None
    head = BitReader(payload)
    found = head.get_size()
    if found != count or count == 0:
        raise FormatError(f"payload of {found} bytes where {count} belong", offset=0)
    return head
