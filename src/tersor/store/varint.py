"""Whole numbers of any size in few bytes: seven bits a byte, the lowest first (LEB128)."""

from tersor.errors import FormatError

_MOST_BYTES = 9  # 63 bits: every number fits a signed 64-bit integer


def varint(number: int) -> bytes:
    """The bytes of a number in [0, 2^63).

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class Cursor:
    """Reads fields one after the other, and never beyond the end.

    Attributes:
        at: The next byte to be read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes not read so far."""
        return len(self._data) - self.at

    def varint(self) -> int:
        """Read a number.

        Raises:
            FormatError: It is cut, longer than needed, or has more than 63 bits.
        """
        if self.at < len(self._data) and self._data[self.at] < 0x80:
            self.at += 1
            return self._data[self.at - 1]
        number = 0
        for index in range(_MOST_BYTES):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index:
                    raise FormatError("a number has needless bytes", offset=self.at)
                return number
        raise FormatError("a number has more than 63 bits", offset=self.at)

    def varints(self, count: int) -> list[int]:
        """Read `count` numbers; errors as `varint`."""
        if self._data[self.at : self.at + count].isascii() and count <= self.left:
            return list(self.take(count))
        return [self.varint() for _ in range(count)]

    def count(self, most: int, what: str) -> int:
        """Read how many `what` there are: at most `most`, and at most one per byte left.

        Raises:
            FormatError: There are more.
        """
        number = self.varint()
        if number > min(most, self.left):
            allowed = min(most, self.left)
            raise FormatError(f"{number} {what}, at most {allowed} can be", offset=self.at)
        return number

    def take(self, count: int) -> bytes:
        """Read `count` bytes.

        Raises:
            FormatError: There are fewer.
        """
        if count > self.left:
            raise FormatError(f"{count} bytes wanted, {self.left} left", offset=self.at)
        self.at += count
        return self._data[self.at - count : self.at]

    def text(self) -> str:
        """Read a length and that many bytes of UTF-8.

        Raises:
            FormatError: They are not UTF-8.
        """
        raw = self.take(self.varint())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("a name is not UTF-8", offset=self.at - len(raw)) from None

    def end(self) -> None:
        """Be at the end.

        Raises:
            FormatError: Bytes are left over.
        """
        if self.left:
            raise FormatError(f"{self.left} bytes left over", offset=self.at)


def text(value: str) -> bytes:
    """What `Cursor.text` reads."""
    raw = value.encode("utf-8")
    return varint(len(raw)) + raw
