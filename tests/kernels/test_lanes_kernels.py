"""The lanes coder: equal to its twin at each level, for any number of lanes; forgeries."""

import numpy as np
import pytest

import tersor.kernels as kernels
from tersor.errors import FormatError
from tersor.kernels import reference_lanes, reference_lanes_tables
from tersor.kernels.reference import log2_table
from tersor.kernels.reference_adaptive import Shape
from tersor.kernels.reference_lanes_tables import Counts, bounds, bucket
from tersor.kernels.tables import BitReader, BitWriter

FORMS = {
    "kernels": [Shape(2160, 5, 9, 3), Shape(2000, 2, 25, 5), Shape(900, 1, 9, 3)],
    "rows": [Shape(2500, 70, 1, 1), Shape(1500, 300, 1, 1), Shape(1000, 1000, 1, 1)],
    "odd": [Shape(1003, 4, 3, 1), Shape(1999, 7, 2, 3), Shape(2000, 1, 1, 1)],
}


def values_of(shapes, spread, seed=0):
    rng = np.random.default_rng(seed)
    size = sum(shape.size for shape in shapes)
    scale = np.exp(rng.normal(0, 1, size // 50 + 1)).repeat(50)[:size]
    return (rng.laplace(0, spread, size) * scale).round().clip(-255, 255).astype(np.int16)


def decoded(payload, shapes):
    target = np.full(sum(shape.size for shape in shapes), 99, np.int16)
    kernels.lanes_decode(np.frombuffer(payload, np.uint8), shapes, target)
    return target


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("times", "lanes"), [(0.5, 1), (1, 2), (2, 4), (4, 8)])
def test_every_number_of_lanes_is_that_of_the_twin(form, times, lanes):
    rows = [(s, s.channels * s.kernel) for s in FORMS[form]]
    shapes = [s._replace(size=max(row, int(s.size * times))) for s, row in rows]
    values = values_of(shapes, 0.4 if times > 1 else 20)
    payload = kernels.lanes_encode(values, shapes, 10**6)
    assert BitReader(payload).get(2) == lanes.bit_length() - 1
    np.testing.assert_array_equal(decoded(payload, shapes), values)
    if times < 4 or form == "kernels":
        assert payload == reference_lanes.lanes_encode(values, shapes)
        target = np.full(values.size, 99, np.int16)
        assert reference_lanes.lanes_decode(payload, shapes, target)
        np.testing.assert_array_equal(target, values)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spread", [0.05, 0.4, 5, 80])
def test_each_level_gives_the_values_back(level, form, spread):
    if level == "reference":
        pytest.skip("compared with the others above")
    shapes = [s._replace(size=8 * s.size) for s in FORMS[form]]
    values = values_of(shapes, spread)
    payload = kernels.lanes_encode(values, shapes, 10**6)
    np.testing.assert_array_equal(decoded(payload, shapes), values)


def test_rows_of_any_length_are_the_same_at_each_level(level):
    """What is in the longest of these rows does not fit into 32 bits."""
    if level == "reference":
        pytest.skip("takes seconds")
    shapes = [Shape(8 * 70_000, 70_000, 1, 1), Shape(8 * 4000, 4000, 1, 1)]
    values = values_of(shapes, 80)
    values[: 8 * 70_000] = np.where(values[: 8 * 70_000] > 0, 255, -255)
    payload = kernels.lanes_encode(values, shapes, 10**6)
    np.testing.assert_array_equal(decoded(payload, shapes), values)


def test_words_that_end_early_are_refused_before_the_next_ones_are_asked_for(level):
    """A million values are left then: whoever reads on leaves the memory of the process."""
    if level == "reference":
        pytest.skip("takes seconds")
    shapes = [Shape(2**20, 1024, 1, 1)]
    payload = kernels.lanes_encode(values_of(shapes, 20), shapes, 2**21)
    target = np.zeros(2**20, np.int16)
    for size in (400, 401, 1000, 1001):
        with pytest.raises(FormatError, match="no 1048576 values"):
            kernels.lanes_decode(kernels.as_bytes(payload[:size]), shapes, target)


def test_damage_means_the_same_at_each_level(level):
    """What a level makes of a payload that was changed, the portable one does, too."""
    if level in {"reference", "portable"}:
        pytest.skip("this is what the others are compared with")
    shapes = [Shape(16_500, 10, 9, 3)]
    payload = kernels.lanes_encode(values_of(shapes, 1.5), shapes, 10**6)
    rng, same = np.random.default_rng(0), 0
    native = kernels.choose.module()
    flat = np.array(shapes, np.int64).reshape(-1)
    for _ in range(60):
        changed = bytearray(payload)
        changed[rng.integers(len(changed) - 4000 * rng.integers(2))] ^= 1 << rng.integers(8)
        data, found = np.frombuffer(bytes(changed), np.uint8), []
        for one in (0, kernels.choose.level()):
            target = np.full(16_500, 99, np.int16)
            fine = native.lanes_decode(one, data, flat, target)
            found.append(target.tobytes() if fine else None)
        assert found[0] == found[1]
        same += found[0] is not None
    assert same < 60


# Forged payloads: one value in one lane, by the module's table.


def forge(
    *,
    lanes=0,
    levels=(5, 5),
    zeros=(0,) * 4,
    signs=(0,) * 9,
    starts=(),
    tables=((0, 63),),
    states=(2**16,),
    words=(),
    tail=b"",
):
    head = BitWriter()
    head.put(lanes, 2)
    for level in levels:
        head.put(level, 5)
    for step in (*zeros, *signs):
        head.put_gamma(2 * abs(step) - (step > 0) + 1)
    for start in starts:
        head.put(start, 1)
    for buckets, weight, *steps in tables:
        head.put(buckets, 5)
        head.put(weight, 6)
        for step in steps:
            head.put_gamma(2 * abs(step) - (step > 0) + 1)
    body = np.array(states, "<u4").tobytes() + np.array(words, "<u2").tobytes()
    return head.to_bytes() + body + tail


ONE = [Shape(1, 1, 1, 1)]


def test_a_forgery_that_is_none_is_read():
    """A 0 of chance one half, in slot 0: the state halves."""
    payload = forge(states=(2**17,))
    target = np.full(1, 99, np.int16)
    assert reference_lanes.lanes_decode(payload, ONE, target)
    assert target.tolist() == decoded(payload, ONE).tolist() == [0]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        forge()[:3],
        forge(levels=(6, 5)),
        forge(levels=(24, 24)),
        forge(levels=(5, 24), zeros=(0,) * 80, starts=(0,) * 19),
        forge(zeros=(45, 0, 0, 0), states=(2**17,)),
        forge(zeros=(-49, 0, 0, 0), states=(2**17,)),
        forge(signs=(45, *(0,) * 8), states=(2**17,)),
        forge(tables=((28, 63, *(0,) * 28),), states=(2**17,)),
        forge(tables=((1, 63, 1),), states=(2**17,)),
        forge(tables=((1, 0, -1),), states=(2**17,)),
        forge(lanes=1, states=(2**17,)),
        forge(states=(2**16 - 1,)),
        forge(states=(2**16,)),
        forge(states=(2**17,), tail=b"\0"),
        forge(states=(2**17,), words=(0,)),
        forge(states=(2**17 + 2,)),
    ],
    ids=[
        "nothing",
        "cut",
        "levels_reversed",
        "level_too_large",
        "last_level_too_large",
        "zero_above",
        "zero_below",
        "sign_above",
        "buckets",
        "weight_above",
        "weight_below",
        "state_missing",
        "state_too_small",
        "word_missing",
        "odd",
        "word_left",
        "state_left",
    ],
)
def test_forged_payload_is_refused(payload):
    assert not reference_lanes.lanes_decode(payload, ONE, np.zeros(1, np.int16))
    with pytest.raises(FormatError, match="adaptively coded bytes are damaged: no 1 values"):
        decoded(payload, ONE)


def test_bits_behind_the_head_must_be_zeros():
    payload = bytearray(forge(states=(2**17,)))
    payload[-5] |= 0x80
    assert not reference_lanes.lanes_decode(bytes(payload), ONE, np.zeros(1, np.int16))
    with pytest.raises(FormatError, match="damaged"):
        decoded(bytes(payload), ONE)


def test_a_column_that_no_row_reaches_costs_nothing():
    """The last row is cut before whole chunks, and is the only one of its group."""
    shapes = [Shape(30 * 8 + 3, 30, 1, 1), Shape(16_400, 30, 1, 1)]
    values = values_of(shapes, 3)
    np.testing.assert_array_equal(
        decoded(kernels.lanes_encode(values, shapes, 10**6), shapes), values
    )


# Chances.


def test_buckets_cover_every_magnitude_once():
    for rest in range(256):
        least, size = bounds(bucket(rest))
        assert least <= rest < least + size
    assert [bucket(rest) for rest in (0, 7, 8, 9, 10, 16, 255)] == [0, 7, 8, 8, 9, 12, 27]


def test_chances_are_a_quarter_of_an_octave_apart():
    steps = np.array([reference_lanes_tables._chance(step) for step in range(93)])
    odds = steps / (2**15 - steps)
    assert odds[48] == 1
    np.testing.assert_allclose(np.log2(odds[12:80:4]), np.arange(-9, 8), atol=0.02)
    assert (np.diff(steps) > 0).all()


def test_a_chance_is_near_what_was_counted():
    """To half a step, of at most log2(5 / 4), where values count more than the head."""
    for yes, no in [(1000, 1000), (9000, 1000), (30, 90_000)]:
        chance = reference_lanes_tables._chance(
            reference_lanes_tables._choose_step(yes, no, expected=48)
        )
        away = np.log2(chance / (2**15 - chance)) - np.log2(yes / no)
        assert abs(away) < np.log2(5 / 4) / 2 + 0.02


def test_magnitudes_lie_on_lines_between_the_middles_of_buckets():
    """By hand: weights 63, 63 (7 * 2^15) for 1 to 8, then 55 (7 * 2^13) for 9 and 10."""
    starts = reference_lanes_tables._magnitudes([63] * 8 + [55])
    counts = np.diff(starts)
    total = 8 * 28 + (7 * 2 + 28) // 3 + 7  # in units of 2^13: a third of the way, and flat
    np.testing.assert_allclose(
        counts[:10] / 4096, [28 / total] * 8 + [14 / total, 7 / total], atol=3e-4
    )
    assert counts[10:].sum() == 0


def test_levels_with_alike_magnitudes_share_a_table():
    counts = Counts()
    rng = np.random.default_rng(0)
    for level, spread in [(3, 1.0), (4, 1.0), (9, 30.0), (10, 30.0)]:
        for value in rng.normal(0, spread, 2000).round().clip(-255, 255).astype(int).tolist():
            counts.add(level, 0, value)
    found = reference_lanes_tables.choose(counts)
    assert (found.first, found.last, len(found.tables)) == (3, 10, 2)
    assert len(found.weights[0]) < 8 < len(found.weights[1])


def test_arguments_that_do_harm_are_refused():
    native = kernels.choose.module()
    if native is None:
        pytest.skip(kernels.choose.choice().why)
    out, flat = np.empty(99, np.uint8), np.array([1, 1, 1, 1])
    with pytest.raises(ValueError, match="magnitude"):
        native.lanes_encode(log2_table(), np.array([256], np.int16), flat, out)
    with pytest.raises(ValueError, match="log2"):
        native.lanes_encode(log2_table()[:9].copy(), np.array([1], np.int16), flat, out)
    with pytest.raises(ValueError, match="values"):
        native.lanes_encode(log2_table(), np.zeros(0, np.int16), flat[:0], out)
    with pytest.raises(ValueError, match="level"):
        native.lanes_decode(9, out, flat, np.zeros(1, np.int16))
