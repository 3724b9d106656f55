"""The payload of rANS: what released ones decode to, how short it is, what is refused."""

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.codecs.codec import Part
from tersor.codecs.rans import Rans
from tersor.errors import FormatError
from tersor.kernels import as_bytes, choose, rans_payload, reference
from tersor.kernels.rans_payload import FORMS
from tersor.kernels.tables import BitWriter


def numbers(count):
    return np.arange(count, dtype=np.int64)


def mixed():
    i = numbers(200_000)
    return ((i * i % 251) * (i % 7) // 5 % 64).astype(np.uint8)


def floats(kind, count=30_000):
    return ((numbers(count) * 7919 % 10007 - 5000) / 1000).astype(kind)


def integers():
    return (numbers(20_000) * 7919 % 10007 - 5000).astype(np.int32)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        (b"a" * 1000, "0afa0800a018c102e839000000"),
        (
            b"abracadabra" * 6,
            "8710c960028162b483010bc101d83849f6d058e3cdea3c1d82088cbd23747a9890e9699e",
        ),
    ],
    ids=["one_symbol", "five_symbols"],
)
def test_payloads_of_0_1_0_are_read_and_written_again(text, payload):
    assert Rans().decode(bytes.fromhex(payload), len(text)) == text
    assert Rans().encode(text).hex() == payload


@pytest.mark.parametrize(
    ("data", "size", "digest"),
    [
        (mixed(), 139_746, "eedddd2fb9aca9f7"),
        (floats(np.float32), 91_574, "14dfa0038c7c2011"),
        (floats(np.float16), 48_579, "d16961086d35ffaa"),
        (floats(np.float64), 190_333, "e55232b4a3f6fd1d"),
        (integers(), 38_374, "9ba0ab7d8416466a"),
    ],
    ids=["uint8", "float32", "float16", "float64", "int32"],
)
def test_the_bits_are_those_of_0_1_0(data, size, digest):
    payload = Rans().encode(data.tobytes())
    assert (len(payload), hashlib.sha256(payload).hexdigest()[:16]) == (size, digest)
    assert Rans().decode(payload, data.nbytes) == data.tobytes()


@pytest.mark.parametrize("spread", [1, 3, 25, 60])
def test_bytes_come_within_half_a_percent_of_their_entropy(spread):
    values = np.random.default_rng(0).normal(0, spread, 2**16).round().clip(-128, 127)
    counts = np.unique(values, return_counts=True)[1]
    bound = float((counts * np.log2(values.size / counts)).sum()) / 8
    payload = Rans().encode(values.astype(np.int8).tobytes())
    assert bound < len(payload) < 1.005 * bound


@pytest.mark.parametrize(
    ("kind", "share"), [(np.float32, 0.84), (np.float16, 0.86)], ids=["float32", "float16"]
)
def test_floats_are_coded_by_planes(kind, share):
    """A bell has 2.4 bits of exponent where 8 (5) are stored; the rest is noise."""
    values = np.random.default_rng(0).normal(0, 0.02, 2**15).astype(kind)
    assert FORMS[rans_payload._form(as_bytes(values.tobytes()))][0] == values.itemsize
    assert len(Rans().encode(values.tobytes())) < share * values.nbytes


def test_where_elements_are_known_to_be_bytes_no_wider_form_is_tried():
    """Every second byte is a zero: planes of two bytes are shorter."""
    data = np.arange(4000, dtype="<u2").astype("<u2").tobytes()
    free, told = Rans().encode(data), Rans().encode(data, [Part(len(data), 8, (8000,))])
    assert len(free) < 0.8 * len(told)
    assert Rans().decode(told, len(data)) == data


def test_noise_takes_few_bytes_more_than_it_is():
    noise = np.random.default_rng(0).bytes(10_000)
    assert len(Rans().encode(noise)) <= len(noise) + 5


needs_native = pytest.mark.skipif(choose.module() is None, reason=choose.choice().why)
KINDS = ["u1", "i2", "f2", "i4", "f4", "f8"]


def assert_as_the_twin(data):
    payload = Rans().encode(data)
    assert payload == rans_payload._encode(as_bytes(data), single=False)
    target = bytearray(len(data))
    rans_payload._decode(payload, memoryview(target))
    assert target == data
    assert Rans().decode(payload, len(data)) == data
    single = Rans().encode(data, [Part(len(data), 8, (len(data),))])
    assert single == rans_payload._encode(as_bytes(data), single=True)


@needs_native
@given(st.binary(min_size=1, max_size=300))
def test_payloads_of_any_bytes_are_those_of_the_twin(data):
    assert_as_the_twin(data)


@needs_native
@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    count=st.sampled_from([1, 2, 7, 8, 1023, 1025, 8191, 8193, 9000, 65_535, 65_537, 80_001]),
    spread=st.sampled_from([0, 0.01, 1, 30, 1000]),
    seed=st.integers(0, 99),
)
def test_payloads_of_numbers_are_those_of_the_twin(kind, count, spread, seed):
    values = np.random.default_rng(seed).normal(0, spread, count)
    limits = np.iinfo(kind) if kind[0] in "ui" else None
    if limits is not None:
        values = values.clip(limits.min, limits.max)
    assert_as_the_twin(values.astype(kind).tobytes())


@needs_native
@settings(max_examples=200, deadline=None)
@given(
    data=st.sampled_from([b"abracadabra" * 60, floats("f4", 50).tobytes(), bytes(range(200))]),
    at=st.integers(0, 10**6),
    flipped=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_damaged_payloads_are_refused_where_the_twin_refuses_them(data, at, flipped, cut):
    payload = bytearray(Rans().encode(data))
    payload[at % len(payload)] ^= flipped
    payload = bytes(payload[: len(payload) - cut])
    wanted, found = bytearray(len(data)), bytearray(len(data))
    try:
        rans_payload._decode(payload, memoryview(wanted))
    except FormatError:
        wanted = None
    fine = choose.module().rans_read(as_bytes(payload), as_bytes(found), choose.level())
    assert fine == (wanted is not None)
    assert not fine or found == wanted


weights = hnp.arrays(np.int64, 256, elements=st.sampled_from([0, 0, 1, 2, 7, 500, 245760]))


@settings(max_examples=50, deadline=None)
@given(given_weights=weights, bits=st.integers(12, 15))
def test_frequencies_sum_up_whatever_the_table_says(given_weights, bits):
    given_weights[3] = max(1, given_weights[3])
    found = reference.to_frequencies(given_weights, bits)
    assert int(found.sum()) == 2**bits
    assert ((found > 0) == (given_weights > 0)).all()


def test_logarithms_are_at_most_two_units_too_small():
    table = reference.log2_table()
    assert table[[1, 2, 4, 2**15]].tolist() == [0, 1 << 16, 2 << 16, 15 << 16]
    missing = np.log2(np.arange(1, 2**16 + 1)) * 2**16 - table[1:]
    assert missing.min() > -1e-6
    assert missing.max() < 2


# Forged payloads


LEVELS = [0] * 97 + [1] + [0] * 158  # of "a" alone
ONE, TWO = (2**16,), (2**16, 2**16)


def forge(  # one for each field
    *, size=4, form=0, coded=True, lanes=0, words=0, alone=0, levels=None, states=ONE, tail=b""
):
    """A payload of one plane; by default, of four equal bytes."""
    head = BitWriter()
    head.put_size(size)
    head.put(form, 3)
    if coded:
        head.put(1, 1)
        head.put(0, 2)
        head.put(lanes, 3)
        head.put_size(words)
        if lanes:
            head.put_size(alone)
        head.put_levels(levels or LEVELS, 18)
        for state in states:
            below = state.bit_length() - 1
            head.put(below - 16, 4)
            head.put(state - 2**below, below)
    else:
        head.put(0, 1)
    return head.to_bytes() + tail


def test_what_is_forged_below_is_well_formed_but_for_one_field():
    assert Rans().decode(forge(), 4) == b"aaaa"
    assert Rans().decode(forge(lanes=1, alone=4, states=TWO), 4) == b"aaaa"
    assert Rans().decode(forge(coded=False, tail=b"abcd"), 4) == b"abcd"


def test_a_state_takes_four_bits_and_those_below_its_highest():
    without = len(forge(levels=LEVELS, states=()))
    assert len(forge(levels=LEVELS, states=4 * TWO)) - without == 8 * 20 // 8
    assert len(forge(levels=LEVELS, states=8 * (2**31 + 5,))) - without == 8 * 35 // 8


@pytest.mark.parametrize(
    ("problem", "payload", "count"),
    [
        ("ends too early", b"", 4),
        ("payload of 4 bytes where 5 belong", forge(), 5),
        ("payload of 0 bytes where 0 belong", forge(size=0), 0),
        ("number 0 in 63 bits", bytes([63]) + bytes(20), 4),
        ("form 7 for 4 bytes", forge(form=7), 4),
        ("form 1 for 5 bytes", forge(size=5, form=1), 5),
        ("128 lanes", forge(lanes=7, states=64 * TWO), 4),
        ("5 of 4 symbols in one lane", forge(lanes=1, alone=5, states=TWO), 4),
        ("rANS are damaged", forge(lanes=1, alone=3, states=TWO), 4),
        ("planes of 18446744073709551606 bytes", forge(words=2**63 - 5), 4),
        ("table without symbols", forge(levels=[0] * 256), 4),
        ("ends too early", forge(states=()), 4),
        ("ends too early", forge(lanes=6, alone=4, states=TWO), 4),
        ("planes end at byte", forge(tail=b"\0"), 4),
        ("planes end at byte", forge(words=1), 4),
        ("planes end at byte", forge(coded=False, tail=b"abc"), 4),
        ("rANS are damaged", forge(states=(2**16 + 1,)), 4),
        ("rANS are damaged", forge(words=1, tail=b"ab"), 4),
    ],
)
def test_forged_payload_is_refused(problem, payload, count):
    with pytest.raises(FormatError, match=problem):
        Rans().decode(payload, count)


def test_a_refusal_takes_little_memory():
    payload = forge(size=2**40, words=2**40)
    target = bytearray(10)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="1099511627776 bytes where 10 belong"):
            Rans().decode_into(payload, memoryview(target))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**16
