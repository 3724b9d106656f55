"""The chances of the lanes coder: how they are written, and chosen, in plain Python.

Chances of kinds, of sum 2^15. A chance is a step q in 0 .. 92: that something occurs is a to
b, a = (4 + q mod 4) 2^(q // 4) and b = 2^14, about a quarter of an octave apart. There is one
for a value to be 0, for each level and class (whether the values above and beside are 0), and
one for it to be positive, if it is not 0, for each pair of their signs.

Frequencies of magnitudes, of sum 2^12. Neighbouring levels may share a table. It has weights
in 0 .. 63 for buckets of magnitudes (1, 2, ..., 8, then four an octave): the frequency of the
magnitude in the middle is (4 + w mod 4) 2^(w // 4), those between two middles lie on the line
between them, all relative to their sum: see `reference.to_frequencies`.

Head (numbers as in `tables.py`; steps as their difference d from what is expected: 2 |d|, less
1 if d > 0, plus 1, in gamma code)
    2 bits   log2 of the number of lanes
    5 bits   the least level
    5 bits   the largest level; those outside are taken as these two
    per class, per level
      step   that a value is 0; expected: that of the level below, or of the first class, or 48
    per pair of signs
      step   that a value is positive; expected: what mirrors the opposite pair, or 48
    per level but the least
      1 bit  1: a table of magnitudes begins with it
    per table
      5 bits number of buckets, less 1
      6 bits weight of the first
      steps  the others' weights; expected: the one before
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from tersor.errors import FormatError
from tersor.kernels.reference import LOG_FRACTION, log2_table, to_frequencies
from tersor.kernels.reference_adaptive import sign
from tersor.kernels.tables import BitReader, BitWriter

KIND_BITS, MAGNITUDE_BITS = 15, 12
LEVELS, BUCKETS = 24, 28
_SIGN_PAIRS, _CLASSES = 9, 4
_STEPS, _EVEN, _WEIGHTS = 93, 48, 64
_MAGNITUDES = 256
_LEVEL_BITS, _BUCKET_BITS, _WEIGHT_BITS = 5, 5, 6
_TABLE_BITS, _BITS_A_BUCKET = 10, 4  # that a table takes, about
_BEND = 22713  # ln 2 / 2 in units of 2^-16


def bucket(rest: int) -> int:
    """The bucket of a magnitude less 1."""
    if rest < 8:
        return rest
    length = rest.bit_length() - 1
    return 4 * (length - 1) + (rest >> (length - 2) & 3)


def bounds(number: int) -> tuple[int, int]:
    """The least of a bucket, and how many it holds."""
    if number < 8:
        return number, 1
    shift = number // 4 - 1
    return (4 + number % 4) << shift, 1 << shift


class Counts:
    """How often each kind occurred, by level and signs, and each bucket, by level."""

    def __init__(self) -> None:
        self.kinds = np.zeros((LEVELS, _SIGN_PAIRS, 3), np.int64)
        self.buckets = np.zeros((LEVELS, BUCKETS), np.int64)

    def add(self, level: int, signs: int, value: int) -> None:
        """One more value."""
        self.kinds[level, signs, sign(value)] += 1
        if value:
            self.buckets[level, bucket(abs(value) - 1)] += 1


@dataclass
class Choices:
    """What a head says; see the module's text.

    Attributes:
        first: The least level.
        last: The largest one.
        zeros: Steps that a value is 0, of shape (classes, levels).
        signs: Steps that it is positive.
        tables: The least level of each table of magnitudes.
        weights: Of the buckets of each table.
    """

    first: int
    last: int
    zeros: list[list[int]]
    signs: list[int]
    tables: list[int]
    weights: list[list[int]]


class Chances:
    """What choices mean.

    Attributes:
        kinds: Where 0, positive and negative begin, and the end, by level and signs.
        magnitudes: The same for magnitudes less 1, by level.
    """

    def __init__(self, choices: Choices) -> None:
        self.kinds: dict[int, list[tuple[int, ...]]] = {}
        self.magnitudes: dict[int, list[int]] = {}
        starts = [_magnitudes(weights) for weights in choices.weights]
        for level in range(choices.first, choices.last + 1):
            self.kinds[level] = [_kinds(choices, level, signs) for signs in range(_SIGN_PAIRS)]
            table = sum(first <= level for first in choices.tables) - 1
            self.magnitudes[level] = starts[table]


def _class(signs: int) -> int:
    return 2 * (signs % 3 > 0) + (signs // 3 > 0)


def _chance(step: int) -> int:
    yes, no = (4 + step % 4) << (step // 4), 4 << (_EVEN // 4)
    return (yes << KIND_BITS) // (yes + no)


def _kinds(choices: Choices, level: int, signs: int) -> tuple[int, ...]:
    total = 1 << KIND_BITS
    zero = _chance(choices.zeros[_class(signs)][level])
    positive = (total - zero) * _chance(choices.signs[signs]) >> KIND_BITS
    return 0, zero, min(max(zero + positive, zero + 1), total - 1), total


def _density(weight: int) -> int:
    return (4 + weight % 4) << (weight // 4)


def _magnitudes(weights: Sequence[int]) -> list[int]:
    """Where each magnitude less 1 begins, and the end."""
    found = np.zeros(_MAGNITUDES, np.int64)
    for number, weight in enumerate(weights):
        first, size = bounds(number)
        for place in range(size):
            side = 2 * place + 1 - size  # of the middle, in halves
            beside, away = number + (1 if side > 0 else -1), abs(side)
            found[first + place] = _density(weight)
            if side and beside < len(weights):
                whole = size + bounds(beside)[1]
                line = _density(weight) * (whole - away) + _density(weights[beside]) * away
                found[first + place] = line // whole
    frequencies: list[int] = to_frequencies(found, MAGNITUDE_BITS).tolist()
    return [0, *accumulate(frequencies)]


def _expected_zero(zeros: list[list[int]], kind: int, level: int, first: int) -> int:
    if level > first:
        return zeros[kind][level - 1]
    return zeros[0][level] if kind else _EVEN


def _expected_sign(signs: list[int], pair: int) -> int:
    other = 3 * (-(pair // 3) % 3) + -pair % 3
    return min(2 * _EVEN - signs[other], _STEPS - 1) if other < pair else _EVEN


def put_choices(choices: Choices, head: BitWriter) -> None:
    """Write all but the number of lanes."""
    first, last = choices.first, choices.last
    head.put(first, _LEVEL_BITS)
    head.put(last, _LEVEL_BITS)
    for kind in range(_CLASSES):
        for level in range(first, last + 1):
            expected = _expected_zero(choices.zeros, kind, level, first)
            head.put_gamma(_folded(choices.zeros[kind][level] - expected))
    for pair, step in enumerate(choices.signs):
        head.put_gamma(_folded(step - _expected_sign(choices.signs, pair)))
    for level in range(first + 1, last + 1):
        head.put(int(level in choices.tables), 1)
    for weights in choices.weights:
        head.put(len(weights) - 1, _BUCKET_BITS)
        head.put(weights[0], _WEIGHT_BITS)
        for before, weight in pairwise(weights):
            head.put_gamma(_folded(weight - before))


def get_choices(head: BitReader) -> Choices:
    """The reverse.

    Raises:
        FormatError: Something is out of range.
    """
    first, last = head.get(_LEVEL_BITS), head.get(_LEVEL_BITS)
    if not first <= last < LEVELS:
        raise FormatError(f"levels {first} to {last}", offset=0)
    zeros = [[_EVEN] * LEVELS for _ in range(_CLASSES)]
    for kind in range(_CLASSES):
        for level in range(first, last + 1):
            expected = _expected_zero(zeros, kind, level, first)
            zeros[kind][level] = _get_step(head, expected, _STEPS)
    signs: list[int] = []
    for pair in range(_SIGN_PAIRS):
        signs.append(_get_step(head, _expected_sign(signs, pair), _STEPS))
    tables = [first, *(level for level in range(first + 1, last + 1) if head.get(1))]
    weights = []
    for _ in tables:
        buckets = head.get(_BUCKET_BITS) + 1
        if buckets > BUCKETS:
            raise FormatError(f"{buckets} buckets", offset=0)
        each = [head.get(_WEIGHT_BITS)]
        for _ in range(1, buckets):
            each.append(_get_step(head, each[-1], _WEIGHTS))
        weights.append(each)
    return Choices(first, last, zeros, signs, tables, weights)


def _folded(step: int) -> int:
    return 2 * abs(step) - (step > 0) + 1


def _get_step(head: BitReader, expected: int, limit: int) -> int:
    code = head.get_gamma()
    found = expected + (-(code // 2) if code % 2 else code // 2)
    if not 0 <= found < limit:
        raise FormatError(f"step {found}", offset=0)
    return found


def choose(counts: Counts) -> Choices:
    """What takes few bytes."""
    occurring = np.flatnonzero(counts.kinds.sum((1, 2))).tolist()
    first, last = occurring[0], occurring[-1]
    zeros = [[_EVEN] * LEVELS for _ in range(_CLASSES)]
    classes = np.array([_class(pair) for pair in range(_SIGN_PAIRS)])
    for kind in range(_CLASSES):
        for level in range(first, last + 1):
            found = counts.kinds[level, classes == kind].sum(0).tolist()
            expected = _expected_zero(zeros, kind, level, first)
            zeros[kind][level] = _choose_step(found[0], found[1] + found[2], expected)
    signs: list[int] = []
    for pair in range(_SIGN_PAIRS):
        _, positive, negative = counts.kinds[:, pair].sum(0).tolist()
        signs.append(_choose_step(positive, negative, _expected_sign(signs, pair)))
    groups = _groups(counts, first, last)
    weights = [_choose_weights(group) for group in groups.values()]
    return Choices(first, last, zeros, signs, list(groups), weights)


def _log2(number: int) -> int:
    """In units of 2^-16."""
    over = max(number.bit_length() - LOG_FRACTION, 0)
    return int(log2_table()[number >> over]) + (over << LOG_FRACTION)


def _gamma_cost(step: int) -> int:
    return (2 * _folded(step).bit_length() - 1) << LOG_FRACTION


def _choose_step(yes: int, no: int, expected: int) -> int:
    """The step that takes the fewest bits; among equals the least."""
    costs = []
    for step in range(_STEPS):
        chance, all_ = _chance(step), KIND_BITS << LOG_FRACTION
        cost = yes * (all_ - _log2(chance)) + no * (all_ - _log2((1 << KIND_BITS) - chance))
        costs.append(cost + _gamma_cost(step - expected))
    return costs.index(min(costs))


Buckets = list[int]


def _cost(found: Buckets) -> int:
    """Bits that magnitudes take in a table of their own, and the table, about."""
    if not any(found):
        return 0
    whole = _log2(sum(found))
    used = max(number for number, n in enumerate(found) if n) + 1
    cost = sum(n * (whole - _log2(n)) for n in found if n)
    return cost + ((_TABLE_BITS + _BITS_A_BUCKET * used) << LOG_FRACTION)


def _groups(counts: Counts, first: int, last: int) -> dict[int, Buckets]:
    """Levels that share a table, by their least: neighbours are joined where that saves."""
    groups = [(level, counts.buckets[level].tolist()) for level in range(first, last + 1)]
    while len(groups) > 1:
        gains = []
        for (_, low), (_, high) in pairwise(groups):
            both = [a + b for a, b in zip(low, high, strict=True)]
            gains.append(_cost(low) + _cost(high) - _cost(both))
        best = gains.index(max(gains))
        if gains[best] < 0:
            break
        level, low = groups[best]
        both = [a + b for a, b in zip(low, groups.pop(best + 1)[1], strict=True)]
        groups[best] = (level, both)
    return dict(groups)


def _choose_weights(found: Buckets) -> list[int]:
    """Weights near to how many values there are in each bucket; the fewer, the cheaper."""
    used = max((number for number, n in enumerate(found) if n), default=0) + 1
    wanted = [_wanted(n, number) for number, n in enumerate(found[:used])]
    most = max((want for want, n in zip(wanted, found, strict=False) if n), default=0)
    lift = _log2(_density(_WEIGHTS - 1)) - most
    weights: list[int] = []
    for want, n in zip(wanted, found, strict=False):
        costs = []
        for weight in range(_WEIGHTS):
            off = _log2(_density(weight)) - want - lift
            loss = (n * (off * off >> LOG_FRACTION) >> LOG_FRACTION) * _BEND
            costs.append(loss + (_gamma_cost(weight - weights[-1]) if weights else abs(off)))
        weights.append(costs.index(min(costs)))
    return weights


def _wanted(count: int, number: int) -> int:
    """The logarithm of how many values there are for each magnitude of the bucket."""
    width = _log2(bounds(number)[1])
    return (_log2(count) if count else -(1 << LOG_FRACTION)) - width
