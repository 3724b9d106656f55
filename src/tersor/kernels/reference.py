"""The kernels in numpy: what each of them is.

Words and numbers are little-endian. Nothing here is fast; everything is exact.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tersor.errors import InputError

Bytes = NDArray[np.uint8]
Counts = NDArray[np.uint64]
States = NDArray[np.uint32]
Words = NDArray[np.uint16]

LEAST_BITS, MOST_BITS = 12, 15  # of the frequencies of rANS
MOST_LANES = 64
MOST_CODE_BITS = 12  # of a Huffman code
LOG_FRACTION = 16  # bits behind the point of a logarithm
LOWEST = 1 << 16  # a state of rANS lies in [LOWEST, 2^32)
_WORDS = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_NO_VALUE = 255  # a gap that only passes 255 zeros


def no_code() -> InputError:
    """The error for a symbol that the model leaves out."""
    return InputError("symbols", got="one that is not", allowed="all in the model")


def histogram(symbols: NDArray[np.uint8] | NDArray[np.uint16]) -> Counts:
    """How often each value occurs, of shape (256,) or (65536,)."""
    most = 256**symbols.dtype.itemsize
    return np.bincount(symbols, minlength=most).astype(np.uint64)


def pack_bits(codes: NDArray[np.uint16], bits: int) -> Bytes:
    """Codes below 2^bits, packed from the low bit of each byte up; unused bits are 0."""
    each = codes[:, None] >> np.arange(bits, dtype=np.uint16) & 1
    return np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little")


def unpack_bits(packed: Bytes, bits: int, count: int) -> NDArray[np.uint16]:
    """The reverse of `pack_bits`."""
    each = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    weights = np.left_shift(1, np.arange(bits)).astype(np.uint32)
    return (each.astype(np.uint32) @ weights).astype(np.uint16)


def split_planes(data: Bytes, width: int, *, rotate: bool) -> Bytes:
    """Elements of `width` bytes, turned left by one bit if `rotate`, as (width, n) planes."""
    words = data.view(_WORDS[width])
    if rotate:
        words = words << 1 | words >> (8 * width - 1)
    planes = words.astype(words.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, width)
    return np.ascontiguousarray(planes[:, ::-1].T)


def join_planes(planes: Bytes, target: Bytes, *, rotate: bool) -> None:
    """The reverse of `split_planes`."""
    width = len(planes)
    words = np.ascontiguousarray(planes[::-1].T).reshape(-1).view(_WORDS[width])
    if rotate:
        words = words >> 1 | words << (8 * width - 1)
    target[:] = words.view(np.uint8)


def find_gaps(data: Bytes) -> tuple[Bytes, Bytes]:
    """Zeros before each value that is not zero, and these values.

    A gap of g zeros is g // 255 times the byte 255, then g % 255. Zeros at the end that do not
    fill another 255 are not told.
    """
    places = np.flatnonzero(data)
    distances = np.diff(places, prepend=-1) - 1
    passed = distances // _NO_VALUE
    rest = (data.size - 1 - (int(places[-1]) if places.size else -1)) // _NO_VALUE
    gaps = np.full(int(passed.sum()) + places.size + rest, _NO_VALUE, np.uint8)
    gaps[np.cumsum(passed + 1) - 1] = distances % _NO_VALUE
    return gaps, data[places]


def fill_gaps(gaps: Bytes, values: Bytes, target: Bytes) -> bool:
    """The reverse of `find_gaps`; False if they are not what it gives for such a target."""
    target[:] = 0
    has_value = gaps != _NO_VALUE
    places = (np.cumsum(gaps.astype(np.int64) + has_value) - 1)[has_value]
    end = int(gaps.astype(np.int64).sum()) + int(has_value.sum())
    if places.size != values.size or not values.all():
        return False
    if not 0 <= target.size - end < _NO_VALUE:
        return False
    target[places] = values
    return True


def rans_encode(
    symbols: Bytes, frequencies: NDArray[np.uint32], bits: int, lanes: int
) -> tuple[States, Words, int]:
    """Interleaved range ANS. Symbol i belongs to lane i mod lanes, from last to first.

    Each lane has a state x, at first 2^16. A symbol of frequency f that starts at slot c:
    if x >= f * 2^(32 - bits), the low 16 bits of x are written as a word, and x is shifted
    right by 16; then x becomes (x // f) * 2^bits + x mod f + c. Words stand in the order in
    which the decoder takes them: the last one written first.

    The first state of a lane holds nothing, which would cost two bytes. So the last symbols
    are coded by the first lane alone, until there is a word for each of the other lanes, or
    no symbol is left; these words are not written, but added to the first states, in order.

    Args:
        symbols: Of shape (n,).
        frequencies: Of shape (256,), summing to 2^bits; 0 for symbols that do not occur.
        bits: 12 .. 15.
        lanes: A power of two up to 64.

    Returns:
        States, words, and how many symbols the first lane coded alone.

    Raises:
        InputError: A symbol has no frequency.

    Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540, the range variant; Giesen,
    "Interleaved entropy coders", arXiv:1402.3392.
    """
    f_of = frequencies.astype(np.uint64)
    start_of = np.cumsum(f_of) - f_of
    if not f_of[symbols].all():
        raise no_code()
    words: list[NDArray[np.uint16]] = [np.zeros(0, np.uint16)]

    def put(now: Bytes, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        f = f_of[now]
        large = x >= f << np.uint64(32 - bits)
        words.append((x[large] & 0xFFFF).astype(np.uint16))
        x = np.where(large, x >> np.uint64(16), x)
        after: NDArray[np.uint64] = (x // f << np.uint64(bits)) + x % f + start_of[now]
        return after

    states, rest = np.full(lanes, LOWEST, np.uint64), symbols.size
    while rest > 0 and sum(map(len, words)) < lanes - 1:
        rest -= 1
        states[:1] = put(symbols[rest : rest + 1], states[:1])
    held = np.concatenate(words[::-1])
    states[1 : 1 + held.size] += held
    words.clear()
    for part in reversed(list(_rounds(rest, lanes))):
        now = symbols[part]
        states[: now.size] = put(now, states[: now.size])
    written = np.concatenate([np.zeros(0, np.uint16), *words[::-1]])
    return states.astype(np.uint32), written, symbols.size - rest


def rans_decode(
    words: Bytes,
    states: States,
    frequencies: NDArray[np.uint32],
    bits: int,
    target: Bytes,
    alone: int,
) -> bool:
    """The reverse of `rans_encode`; False if it gives no such states and words.

    The symbol is the one whose slots hold x mod 2^bits. Then x becomes
    f * (x // 2^bits) + x mod 2^bits - c, and takes a word below itself if it is under 2^16.
    Behind the symbols of all lanes no word is left, and all lanes but the first hold a word
    above 2^16. Behind those of the first lane all states are 2^16, and no word is left; or
    only zeros, if it had all symbols. `alone` is at most the number of symbols; 0 of one lane.
    """
    given = words.view("<u2").astype(np.uint64)
    f_of = frequencies.astype(np.uint64)
    start_of = np.cumsum(f_of) - f_of
    symbol_at = np.repeat(np.arange(256, dtype=np.uint8), frequencies)
    if f_of.max() == 1 << bits:  # one symbol takes no bits and leaves each state as it is
        target[:] = symbol_at[0]
        fits = alone == (target.size if len(states) > 1 else 0)
        return bool(fits and given.size == 0 and (states == LOWEST).all())

    def take(x: NDArray[np.uint64], given: NDArray[np.uint64], out: Bytes) -> int:
        at = 0
        for part in _rounds(out.size, len(x)):
            now = x[: part.stop - part.start]
            slot = now & np.uint64((1 << bits) - 1)
            found = symbol_at[slot]
            out[part] = found
            now = f_of[found] * (now >> np.uint64(bits)) + slot - start_of[found]
            small = now < LOWEST
            taken = int(np.count_nonzero(small))
            if taken > given.size - at:
                return -1
            now[small] = now[small] << np.uint64(16) | given[at : at + taken]
            x[: now.size] = now
            at += taken
        return at

    x, most = states.astype(np.uint64), target.size - alone
    if x.size == 1 and alone:
        return False
    if take(x, given, target[:most]) != given.size or (x[1:] >> np.uint64(16) != 1).any():
        return False
    held = x[1:] - np.uint64(LOWEST)
    at = take(x[:1], held, target[most:])
    left = held[at:]
    return bool(
        at >= 0 and x[0] == LOWEST and (left.size == 0 or (most == 0 and not left.any()))
    )


def _rounds(count: int, lanes: int) -> Iterator[slice]:
    return (slice(at, min(at + lanes, count)) for at in range(0, count, lanes))


def to_frequencies(weights: NDArray[np.int64], bits: int) -> NDArray[np.uint32]:
    """Frequencies that sum to 2^bits: see `rans_payload.py`; some weight is not 0."""
    total, whole = 1 << bits, int(weights.sum())
    rare = (weights > 0) & (weights * total < 2 * whole)
    others = np.cumsum(np.where(rare, 0, weights))
    upper = others * (total - np.count_nonzero(rare)) // others[-1]
    found: NDArray[np.uint32] = (np.diff(upper, prepend=0) + rare).astype(np.uint32)
    return found


@cache
def log2_table() -> NDArray[np.int64]:
    """log2 of 0 .. 2^16 in units of 2^-16, by squaring: whole numbers are the same anywhere.

    Of 0, which does not occur, 0. The rest is at most two units too small.
    """
    numbers = np.arange((1 << LOG_FRACTION) + 1, dtype=np.uint64)
    length = np.zeros(numbers.size, np.int64)
    for bit in range(1, LOG_FRACTION + 1):
        length += numbers >> np.uint64(bit) > 0
    mantissa = numbers << (31 - length).astype(np.uint64)
    result = length
    for _ in range(LOG_FRACTION):
        mantissa = mantissa * mantissa >> np.uint64(31)
        carry = mantissa >> np.uint64(32)
        mantissa >>= carry
        result = result * 2 + carry.astype(np.int64)
    return result


def canonical_codes(lengths: Bytes) -> NDArray[np.uint16]:
    """The canonical code of each symbol, its first bit in the lowest place.

    Shorter codes come first, and among equally long ones those of smaller symbols; each
    code is the one before, plus one, lengthened by zeros.
    """
    codes = np.zeros(256, np.uint16)
    code, last = -1, 0
    for symbol in np.lexsort((np.arange(256), lengths))[np.count_nonzero(lengths == 0) :]:
        length = int(lengths[symbol])
        code = (code + 1) << (length - last) if last else 0
        codes[symbol], last = int(f"{code:0{length}b}"[::-1], 2), length
    return codes


def huffman_encode(symbols: Bytes, lengths: Bytes) -> Bytes:
    """The canonical codes of the symbols, one after the other, from the low bits up.

    Args:
        symbols: Of shape (n,).
        lengths: Bits of each symbol's code, at most 12, of shape (256,); 0 for none.

    Raises:
        InputError: A symbol has no code.
    """
    if not lengths[symbols].all():
        raise no_code()
    codes = canonical_codes(lengths)[symbols]
    each = codes[:, None] >> np.arange(MOST_CODE_BITS, dtype=np.uint16) & 1
    used = np.arange(MOST_CODE_BITS) < lengths[symbols][:, None]
    return np.packbits(each[used].astype(np.uint8), bitorder="little")


def huffman_decode(data: Bytes, lengths: Bytes, target: Bytes) -> bool:
    """The reverse of `huffman_encode`; False if it gives no such bytes for such a target.

    Less than a byte may be left over, of zeros.
    """
    codes = canonical_codes(lengths)
    meaning = {
        (int(lengths[symbol]), int(codes[symbol])): symbol
        for symbol in np.flatnonzero(lengths).tolist()
    }
    each = np.unpackbits(data, bitorder="little").tolist()
    at = 0
    for place in range(target.size):
        code, length = 0, 0
        while (length, code) not in meaning:
            if at == len(each) or length == MOST_CODE_BITS:
                return False
            code, length, at = code | each[at] << length, length + 1, at + 1
        target[place] = meaning[length, code]
    return len(each) - at < 8 and not any(each[at:])
