"""Canonical Huffman codes over bytes, of at most 12 bits.

Payload (numbers as in `kernels/tables.py`; nothing for no bytes)
    size     number of bytes
    table    levels 0 .. 12: bits of the code of each symbol; 0 if it does not occur
    zeros up to a whole byte
    codes    of all symbols in turn, the first bit of a code in the lowest place; then zeros up
             to a whole byte

The codes are canonical: shorter ones first, and among equally long ones those of smaller
symbols; they leave no bit string without meaning, unless there is but one symbol, of code 0.

Source: Huffman, "A method for the construction of minimum-redundancy codes", Proceedings of
the IRE 40, 1952; the limit: Larmore and Hirschberg, "A fast algorithm for optimal
length-limited Huffman codes", Journal of the ACM 37, 1990 (package-merge).
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

import tersor.kernels as kernels
from tersor.codecs.codec import Part
from tersor.errors import FormatError
from tersor.kernels import MOST_CODE_BITS
from tersor.kernels.tables import BitReader, BitWriter


class Huffman:
    """The classic: small tables, whole bits."""

    name: ClassVar[str] = "huffman"

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """See `Codec.encode`.

        >>> Huffman().encode(b"abracadabra").hex()
        'c402452073ac70c006723539'
        """
        if not data:
            return b""
        given = kernels.as_bytes(data)
        lengths = code_lengths(kernels.histogram(given).tolist(), MOST_CODE_BITS)
        head = BitWriter()
        head.put_size(given.size)
        head.put_levels(lengths, MOST_CODE_BITS)
        codes = kernels.huffman_encode(given, np.array(lengths, np.uint8))
        return head.to_bytes() + codes.tobytes()

    def decode(self, payload: bytes, count: int) -> bytes:
        """See `Codec.decode`."""
        _check(payload, count)
        target = bytearray(count)
        self.decode_into(payload, memoryview(target))
        return bytes(target)

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """See `Codec.decode_into`."""
        head = _check(payload, len(target))
        if head is None:
            return
        lengths = head.get_levels(MOST_CODE_BITS)
        room = sum(1 << (MOST_CODE_BITS - length) for length in lengths if length)
        lonely = sorted(lengths)[-2:] == [0, 1]
        if room != 1 << MOST_CODE_BITS and not lonely:
            raise FormatError("code lengths do not fit together", offset=0)
        codes = kernels.as_bytes(payload)[head.end() :]
        kernels.huffman_decode(codes, np.array(lengths, np.uint8), kernels.as_bytes(target))


def code_lengths(counts: Sequence[int], most: int) -> list[int]:
    """Lengths of the shortest code whose words have at most `most` bits; 0 where no count is.

    Of a coin of each length 1 .. most for each symbol, package-merge takes the cheapest that
    make a code: pairs of the cheapest coins of one length are packages among those of one bit
    less.

    Args:
        counts: How often each symbol occurs; at most 2^most of them do.
        most: Bits.

    >>> code_lengths([1, 1, 2, 5, 0], 3), code_lengths([1, 1, 2, 5, 0], 2)
    ([3, 3, 2, 1, 0], [2, 2, 2, 2, 0])
    """
    coins = sorted((count, [symbol]) for symbol, count in enumerate(counts) if count)
    lengths = [0] * len(counts)
    if len(coins) == 1:
        lengths[coins[0][1][0]] = 1
        return lengths
    row = coins
    for _ in range(most - 1):
        pairs = zip(row[::2], row[1::2], strict=False)
        packages = [(a[0] + b[0], a[1] + b[1]) for a, b in pairs]
        row = sorted(coins + packages, key=lambda coin: coin[0])
    for _, symbols in row[: 2 * len(coins) - 2]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def _check(payload: bytes, count: int) -> BitReader | None:
    """The reader behind the number of bytes, which must be `count`; None for nothing."""
    if not payload and count == 0:
        return None
    head = BitReader(payload)
    found = head.get_size()
    if found != count or count == 0 or count > 8 * len(payload):
        problem = f"payload of {len(payload)} bytes for {found} where {count} belong"
        raise FormatError(problem, offset=0)
    return head


CODEC = Huffman
