"""Payloads of static interleaved range ANS, over bytes or the byte planes of wider elements.

Model
    Each plane has one table. The count of a symbol, relative to the largest, is held in four
    significant bits: a weight w in 1 .. 245760. Frequencies follow from the weights, so that
    a table cannot lie about its sum T = 2^bits. With W the sum of all weights, the m symbols
    of w T < 2 W have frequency 1; the others, of weights C summed up to V, share U = T - m:
    symbol i has floor(C[i + 1] U / V) - floor(C[i] U / V). That is 1 at least, because
    w U / V >= (2 W / T) (T - 255) / W > 1, and there are others, because T > 2 * 256.

Payload (numbers as in `kernels/tables.py`; nothing for no bytes)
    size     number of bytes
    3 bits   form: an index into FORMS, width of an element and whether it is turned by a bit
    per plane, the highest byte of the elements first:
      1 bit    0: the plane stands as it is; the next three, and its table, are left out
      2 bits   bits of the frequencies, less 12
      3 bits   log2 of the number of lanes, at most 6
      size     number of words
      size     symbols that the first lane codes alone; left out if it is the only one
    per plane
      table    levels 0 .. 18: bits of each weight; then, for each weight of b > 1 bits, the
               min(b - 1, 3) bits below its highest, of which the others are zero
      states   of each lane: how many bits it has, less 17, in 4 bits; then the bits below its
               highest
    zeros up to a whole byte
    per plane: its bytes; or words of 16 bits

States and words are those of `kernels.reference.rans_encode`: a damaged payload ends in wrong
states or with words left over or missing; the container's checksum finds the rest.

Native kernels write and read whole payloads. The private functions here define both, bit by
bit, and say what is wrong with a payload that was refused.

Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen, "Interleaved entropy
coders", arXiv:1402.3392.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import tersor.kernels as kernels
from tersor.errors import FormatError
from tersor.kernels import choose
from tersor.kernels.reference import (
    LEAST_BITS,
    LOG_FRACTION,
    LOWEST,
    MOST_BITS,
    MOST_LANES,
    Bytes,
    Counts,
    States,
    log2_table,
    to_frequencies,
)
from tersor.kernels.tables import BitReader, BitWriter, sized

FORMS = ((1, False), (2, False), (2, True), (4, False), (4, True), (8, False), (8, True))
_FORM_BITS = 3
_LEVELS = 18  # most bits of a weight
_KEPT = 3  # bits of a weight below its highest
_HEAVIEST = 15 << 14  # the largest weight of 18 bits and four significant ones
_SAMPLE, _SAMPLES = 2**11, 8  # bytes of a sample, and how many of them choose the form
_NOISE_SAMPLE, _NOISE_LEAST = 2**11, 2**16  # symbols of a sample, and of a plane that has some
_NOISE = (
    1000  # units of 2^-16 bits that samples of noise lack: 736 expected, with a spread of 65
)
_PER_LANES = 4  # n lanes, of about half a byte each, are worth it for 4 n^2 bytes of words
_LOWEST_BITS = LOWEST.bit_length() - 1  # that a state has below its highest, at least
_STATE_BITS = 4  # of how many more it has
_SYMBOL_BITS = 5  # that a symbol takes in a table, about
_WORTH = 400  # the part of the size that more bits, which are slower, must save

Weights = NDArray[np.int64]


def encode(data: bytes | memoryview, *, single: bool = False) -> bytes:
    """The payload of some bytes.

    Args:
        data: The bytes.
        single: Whether elements are known to be single bytes; else a form is chosen.
    """
    if not data:
        return b""
    given, native = kernels.as_bytes(data), choose.module()
    if native is not None:
        found: bytes = native.rans_write(given, log2_table(), single, choose.level())
        return found
    return _encode(given, single=single)


def decode(payload: bytes, count: int) -> bytes:
    """Exactly `count` bytes; errors as `decode_into`."""
    native = choose.module()
    if native is not None:
        found: bytes | None = native.rans_bytes(
            kernels.as_bytes(payload), count, choose.level()
        )
        if found is not None:
            return found
    sized(payload, count)
    target = bytearray(count)
    _decode(payload, memoryview(target))
    return bytes(target)


def decode_into(payload: bytes, target: memoryview) -> None:
    """Decode a whole payload into what it fills.

    Raises:
        FormatError: `encode` writes no such payload for so many bytes.
    """
    native = choose.module()
    if native is not None:
        given, out = kernels.as_bytes(payload), kernels.as_bytes(target)
        if native.rans_read(given, out, choose.level()):
            return
    _decode(payload, target)


def _encode(given: Bytes, *, single: bool) -> bytes:
    """The payload of one byte or more; in the first form if they are known to be `single`."""
    form = 0 if single else _form(given)
    width, turned = FORMS[form]
    head = BitWriter()
    head.put_size(given.size)
    head.put(form, _FORM_BITS)
    planes = kernels.split_planes(given, width, rotate=turned)
    coded = [_encode_plane(plane, head) for plane in planes]
    for plane in coded:
        _put_model(plane, head)
    return b"".join([head.to_bytes(), *(plane.body for plane in coded)])


def _decode(payload: bytes, target: memoryview) -> None:
    """Decode, or say what is wrong."""
    head = sized(payload, len(target))
    if head is None:
        return
    width, turned = _read_form(head, len(target))
    length = len(target) // width
    coded = [_read_plane(head, length) for _ in range(width)]
    stored = sum(plane.size for plane in coded)
    if stored > len(payload):  # before tables are read in vain
        raise FormatError(f"planes of {stored} bytes", offset=len(payload))
    models = [_read_model(head, plane) if plane.lanes else None for plane in coded]
    at = head.end()
    if at + stored != len(payload):
        problem = f"planes end at byte {at + stored} of {len(payload)}"
        raise FormatError(problem, offset=min(at + stored, len(payload)))
    given, out = kernels.as_bytes(payload), kernels.as_bytes(target)
    planes = out.reshape(1, -1) if width == 1 else np.empty((width, length), np.uint8)
    for plane, model, into in zip(coded, models, planes, strict=True):
        body, at = given[at : at + plane.size], at + plane.size
        if model is None:
            into[:] = body
        else:
            weights, states = model
            frequencies = to_frequencies(weights, plane.bits)
            kernels.rans_decode(body, states, frequencies, plane.bits, into, plane.alone)
    if width > 1:
        kernels.join_planes(planes, out, rotate=turned)


@dataclass(frozen=True, slots=True)
class _Plane:
    """How a plane is coded: see the module's text; no lanes: as it is."""

    bits: int
    lanes: int
    size: int
    alone: int = 0


@dataclass(frozen=True, slots=True)
class _Coded:
    """What a plane became; without weights the plane itself."""

    body: bytes
    weights: Weights | None = None
    states: Sequence[int] = ()


def _read_form(head: BitReader, count: int) -> tuple[int, bool]:
    form = head.get(_FORM_BITS)
    if form >= len(FORMS) or count % FORMS[form][0]:
        raise FormatError(f"form {form} for {count} bytes", offset=0)
    return FORMS[form]


def _read_plane(head: BitReader, length: int) -> _Plane:
    """How a plane of that many symbols is coded."""
    if not head.get(1):
        return _Plane(0, 0, length)
    bits, lanes = LEAST_BITS + head.get(2), 1 << head.get(3)
    if lanes > MOST_LANES:
        raise FormatError(f"{lanes} lanes", offset=0)
    words, alone = head.get_size(), head.get_size() if lanes > 1 else 0
    if alone > length:
        raise FormatError(f"{alone} of {length} symbols in one lane", offset=0)
    return _Plane(bits, lanes, 2 * words, alone)


def _encode_plane(plane: Bytes, head: BitWriter) -> _Coded:
    """Write how a plane is coded into the head."""
    if _is_noise(plane):
        head.put(0, 1)
        return _Coded(plane.tobytes())
    counts = kernels.histogram(plane)
    weights = _weights(counts)
    bits, cost = _precision(counts, weights)
    lanes = 1
    while lanes < MOST_LANES and _PER_LANES * (2 * lanes) ** 2 <= cost // 8:
        lanes *= 2
    table = _SYMBOL_BITS * int(np.count_nonzero(weights))
    if table + cost + 12 * lanes + 16 >= 8 * plane.size:
        head.put(0, 1)
        return _Coded(plane.tobytes())
    frequencies = to_frequencies(weights, bits)
    states, words, alone = kernels.rans_encode(plane, frequencies, bits, lanes)
    head.put(1, 1)
    head.put(bits - LEAST_BITS, 2)
    head.put(lanes.bit_length() - 1, 3)
    head.put_size(words.size)
    if lanes > 1:
        head.put_size(alone)
    return _Coded(words.astype("<u2").tobytes(), weights, states.tolist())


def _put_model(plane: _Coded, head: BitWriter) -> None:
    if plane.weights is None:
        return
    given = plane.weights.tolist()
    levels = [weight.bit_length() for weight in given]
    head.put_levels(levels, _LEVELS)
    for weight, level in zip(given, levels, strict=True):
        if level > 1:
            kept = min(level - 1, _KEPT)
            head.put(weight >> (level - 1 - kept) & ((1 << kept) - 1), kept)
    for state in plane.states:
        below = state.bit_length() - 1
        head.put(below - _LOWEST_BITS, _STATE_BITS)
        head.put(state - (1 << below), below)


def _read_model(head: BitReader, plane: _Plane) -> tuple[Weights, States]:
    """Weights and states."""
    weights = _read_weights(head)
    states = []
    for _ in range(plane.lanes):
        below = _LOWEST_BITS + head.get(_STATE_BITS)
        states.append(1 << below | head.get(below))
    return weights, np.array(states, np.uint32)


def _read_weights(head: BitReader) -> Weights:
    levels = head.get_levels(_LEVELS)
    if not any(levels):
        raise FormatError("table without symbols", offset=0)
    kept = [min(max(level - 1, 0), _KEPT) for level in levels]
    level, lower = np.array(levels, np.int64), np.array(head.get_each(kept), np.int64)
    weights: Weights = (1 << np.array(kept) | lower) << np.maximum(level - 1 - kept, 0)
    return np.where(level > 0, weights, 0)


def _form(data: Bytes) -> int:
    """The form in which samples of the data take the fewest bits; among equals the first."""
    length = data.size // 8 * 8
    step = max(_SAMPLE, length // _SAMPLES // 8 * 8)
    starts = range(0, data.size, step)[:_SAMPLES]
    sample = np.concatenate([data[at : at + _SAMPLE] for at in starts])
    sample = sample if data.size <= _SAMPLE else sample[: sample.size // 8 * 8]
    costs = []
    for width, turned in FORMS:
        if data.size % width:
            continue
        planes = kernels.split_planes(sample, width, rotate=turned)
        costs.append((sum(map(_cost, planes)), FORMS.index((width, turned))))
    return min(costs)[1]


def _cost(plane: Bytes) -> int:
    """Bits that a plane takes, about."""
    counts = kernels.histogram(plane).astype(np.int64)
    table = _SYMBOL_BITS * int(np.count_nonzero(counts))
    return min(8 * plane.size, table + (_entropy(counts) >> LOG_FRACTION))


def _entropy(counts: NDArray[np.int64]) -> int:
    """Bits that up to 2^16 symbols take at least, in units of 2^-16."""
    log2 = log2_table()
    return int((counts * (log2[counts.sum()] - log2[counts])).sum())


def _is_noise(plane: Bytes) -> bool:
    """Whether samples of a large plane look like noise: it is kept as it is."""
    if plane.size < _NOISE_LEAST:
        return False
    starts = [plane.size // _SAMPLES * i for i in range(_SAMPLES)]
    sample = np.concatenate([plane[at : at + _NOISE_SAMPLE] for at in starts])
    counts = kernels.histogram(sample).astype(np.int64)
    return _entropy(counts) >= ((8 << LOG_FRACTION) - _NOISE) * sample.size


def _weights(counts: Counts) -> Weights:
    """Counts relative to the largest, in four significant bits; 1 at least where one is."""
    given = counts.astype(np.int64)
    most = int(given.max())
    weights = np.maximum((given * _HEAVIEST + most // 2) // most, given > 0)
    length = np.zeros_like(weights)
    for bit in range(_LEVELS):
        length += weights >> bit > 0
    drop = np.maximum(length - 1 - _KEPT, 0)
    half = (1 << drop) >> 1
    rounded: Weights = (weights + half) >> drop << drop
    return rounded


def _precision(counts: Counts, weights: Weights) -> tuple[int, int]:
    """Bits of the frequencies, and bits that all symbols then take.

    The least that costs no more than a four hundredth above the best: short tables are fast.
    """
    given, costs = counts.astype(np.int64), []
    for bits in range(LEAST_BITS, MOST_BITS + 1):
        each = (bits << LOG_FRACTION) - log2_table()[to_frequencies(weights, bits)]
        costs.append(int((given * each).sum()) >> LOG_FRACTION)
    limit = min(costs) + min(costs) // _WORTH
    chosen = next(i for i, cost in enumerate(costs) if cost <= limit)
    return LEAST_BITS + chosen, costs[chosen]
