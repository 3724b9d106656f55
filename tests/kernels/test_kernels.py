"""Each kernel at each level equals its numpy twin bit by bit; the twins keep their laws."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor import kernels
from tersor.errors import FormatError, InputError
from tersor.kernels import reference

pytestmark = pytest.mark.usefixtures("level")
SIZES = (0, 1, 7, 8, 9, 63, 64, 65, 254, 255, 256, 510, 1000)
data_of = st.one_of(
    hnp.arrays(np.uint8, st.integers(0, 700), elements=st.integers(0, 255)),
    hnp.arrays(np.uint8, st.integers(0, 700), elements=st.sampled_from([0, 0, 0, 1, 200])),
)


def bell(size, spread=9.0, seed=0):
    values = np.random.default_rng(seed).normal(0, spread, size)
    return values.round().astype(np.int8).view(np.uint8)


@pytest.mark.parametrize("size", [*SIZES, 5003])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_histogram_counts(kind, size):
    symbols = np.random.default_rng(size).integers(0, 256**2, size).astype(kind)
    wanted = [0] * 256**symbols.dtype.itemsize
    for symbol in symbols.tolist():
        wanted[symbol] += 1
    counts = kernels.histogram(symbols)
    assert counts.dtype == np.uint64
    assert counts.tolist() == wanted


@pytest.mark.parametrize("size", [0, 1, 15, 1023, 1024, 1039, 1087, 1088, 1151, 5003])
def test_checksums_are_those_of_zlib(size):
    data = np.random.default_rng(size).bytes(size)
    for before in (0, 1, 2**32 - 1):
        assert kernels.crc32(data, before) == zlib.crc32(data, before)
    assert kernels.crc32(memoryview(data)[size // 3 :]) == zlib.crc32(data[size // 3 :])


@pytest.mark.parametrize("bits", range(1, 17))
def test_bits_stand_from_the_low_end_up(bits):
    for size in SIZES:
        codes = np.random.default_rng(size).integers(0, 2**bits, size).astype(np.uint16)
        number = sum(code << (bits * i) for i, code in enumerate(codes.tolist()))
        wanted = number.to_bytes((size * bits + 7) // 8, "little")
        packed = kernels.pack_bits(codes, bits)
        assert packed.tobytes() == wanted
        assert kernels.unpack_bits(packed, bits, size).tolist() == codes.tolist()


@pytest.mark.parametrize(("bits", "code"), [(0, 0), (17, 0), (3, 8), (15, 65535)])
def test_codes_that_do_not_fit_are_refused(bits, code):
    with pytest.raises(InputError, match=f"bits must be in 1 .. 16 and enough for {code}"):
        kernels.pack_bits(np.array([code], np.uint16), bits)


@pytest.mark.parametrize(
    ("size", "bits", "count"), [(1, 8, 2), (3, 8, 2), (1, 0, 0), (0, 17, 0)]
)
def test_a_wrong_number_of_packed_bytes_is_refused(size, bits, count):
    with pytest.raises(FormatError, match=f"{size} bytes for {count} codes of {bits} bits"):
        kernels.unpack_bits(np.zeros(size, np.uint8), bits, count)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_planes_hold_the_bytes_from_the_highest_down(width, rotate):
    for count in SIZES:
        data = np.random.default_rng(count).integers(0, 256, count * width).astype(np.uint8)
        planes = kernels.split_planes(data, width, rotate=rotate)
        assert planes.shape == (width, count)
        for i in range(count):
            word = int.from_bytes(data[i * width : (i + 1) * width].tobytes(), "little")
            top = word >> (8 * width - 1)
            if rotate:
                word = (word << 1 | top) % 256**width
            assert planes[:, i].tobytes() == word.to_bytes(width, "big")
        back = np.full_like(data, 165)
        kernels.join_planes(planes, back, rotate=rotate)
        assert back.tobytes() == data.tobytes()


def test_the_highest_plane_of_turned_floats_is_the_exponent():
    floats = np.array([1.0, -2.0, 0.5], np.float32)
    planes = kernels.split_planes(floats.view(np.uint8), 4, rotate=True)
    assert planes[0].tolist() == [127, 128, 126]
    assert planes[3].tolist() == [0, 1, 0]


@settings(max_examples=20, deadline=None)
@given(data=data_of)
def test_gaps_are_those_of_the_definition(data):
    gaps, values = kernels.find_gaps(data)
    wanted, passed = [], 0
    for byte in data.tolist():
        if byte:
            wanted += [passed]
            passed = 0
        elif passed == 254:
            wanted += [255]
            passed = 0
        else:
            passed += 1
    assert gaps.tolist() == wanted
    assert values.tolist() == [byte for byte in data.tolist() if byte]
    target = np.full_like(data, 165)
    kernels.fill_gaps(gaps, values, target)
    assert target.tobytes() == data.tobytes()


@pytest.mark.parametrize(
    ("gaps", "values", "size"),
    [
        ([0, 1], [7], 3),
        ([0], [7, 7], 3),
        ([0], [0], 3),
        ([4], [7], 4),
        ([255], [], 254),
        ([], [], 255),
        ([254], [7], 0),
    ],
    ids=["no_value", "value_left", "zero", "behind", "too_long", "too_short", "nowhere"],
)
def test_forged_gaps_are_refused(gaps, values, size):
    arrays = np.array(gaps, np.uint8), np.array(values, np.uint8)
    with pytest.raises(FormatError, match=f"gaps do not fill {size} bytes"):
        kernels.fill_gaps(*arrays, np.zeros(size, np.uint8))


@settings(max_examples=20, deadline=None)
@given(data=data_of, forged=st.binary(max_size=9), size=st.integers(0, 700))
def test_any_gaps_fill_as_the_twin_fills_or_are_refused(data, forged, size):
    gaps = np.concatenate([kernels.find_gaps(data)[0], kernels.as_bytes(forged)])
    values = kernels.find_gaps(data)[1]
    target, wanted = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    if reference.fill_gaps(gaps, values, wanted):
        kernels.fill_gaps(gaps, values, target)
        assert target.tobytes() == wanted.tobytes()
    else:
        with pytest.raises(FormatError):
            kernels.fill_gaps(gaps, values, target)


# Huffman


def lengths_of(**lengths):
    found = np.zeros(256, np.uint8)
    for symbol, length in lengths.items():
        found[ord(symbol)] = length
    return found


def test_canonical_codes_are_written_from_the_low_bit_up():
    """Worked by hand: b 0, a 10, c 110, d 111; "abcd" is 10 0 110 111."""
    lengths = lengths_of(a=2, b=1, c=3, d=3)
    coded = kernels.huffman_encode(kernels.as_bytes(b"abcd"), lengths)
    assert coded.tolist() == [0b11011001, 0b1]
    target = np.zeros(4, np.uint8)
    kernels.huffman_decode(coded, lengths, target)
    assert target.tobytes() == b"abcd"


def full_lengths(data):
    """Lengths that serve all of the data, whatever it is: at most 4 / 16 + 252 / 512."""
    lengths = np.zeros(256, np.uint8)
    used = np.unique(data)
    lengths[used] = 9
    lengths[used[:4]] = 4
    return lengths


@settings(max_examples=20, deadline=None)
@given(data=data_of)
def test_huffman_equals_its_twin_and_comes_back(data):
    lengths = full_lengths(data)
    coded = kernels.huffman_encode(data, lengths)
    assert coded.tobytes() == reference.huffman_encode(data, lengths).tobytes()
    target = np.zeros_like(data)
    kernels.huffman_decode(coded, lengths, target)
    assert target.tobytes() == data.tobytes()


@settings(max_examples=20, deadline=None)
@given(bits=st.binary(max_size=40), size=st.integers(0, 60))
def test_any_bits_decode_as_the_twin_decodes_or_are_refused(bits, size):
    lengths = lengths_of(a=2, b=1, c=3)  # the code 111 has no meaning
    target, wanted = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    coded = kernels.as_bytes(bits)
    if reference.huffman_decode(coded, lengths, wanted):
        kernels.huffman_decode(coded, lengths, target)
        assert target.tobytes() == wanted.tobytes()
    else:
        with pytest.raises(FormatError, match=f"no {size} symbols"):
            kernels.huffman_decode(coded, lengths, target)


def test_symbols_without_code_are_refused():
    with pytest.raises(InputError, match="symbols must be all in the model"):
        kernels.huffman_encode(kernels.as_bytes(b"ae"), lengths_of(a=1, b=1))


# rANS


def frequencies_of(data, bits):
    """Some frequencies that serve the data, summing to 2^bits."""
    used, counts = np.unique(data, return_counts=True)
    result = np.zeros(256, np.uint32)
    if used.size == 0:
        used, counts = np.array([7]), np.array([1])
    result[used] = 1 + counts * (2**bits - used.size) // counts.sum()
    result[used[-1]] += 2**bits - result.sum()
    return result


def test_rans_of_two_symbols_is_as_worked_by_hand():
    """Frequencies 1/4 and 3/4 of 4096; one lane, "ab" from the last symbol to the first."""
    frequencies = np.zeros(256, np.uint32)
    frequencies[[97, 98]] = 1024, 3072
    state = 65536
    state = (state // 3072) * 4096 + state % 3072 + 1024  # b; 87040
    state = (state // 1024) * 4096 + state % 1024  # a; 348160
    states, words, alone = kernels.rans_encode(kernels.as_bytes(b"ab"), frequencies, 12, 1)
    assert (states.tolist(), words.tolist(), alone) == ([state], [], 0)
    target = np.zeros(2, np.uint8)
    kernels.rans_decode(words.view(np.uint8), states, frequencies, 12, target, 0)
    assert target.tobytes() == b"ab"


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("bits", [12, 13, 15])
@pytest.mark.parametrize("spread", [0.2, 60.0])
def test_rans_equals_its_twin_and_comes_back(bits, lanes, spread):
    for size in (0, 1, 31, 32, 33, 63, 64, 65, 129, 1011):
        data = bell(size, spread)
        frequencies = frequencies_of(data, bits)
        states, words, alone = kernels.rans_encode(data, frequencies, bits, lanes)
        if size < 200:
            wanted = reference.rans_encode(data, frequencies, bits, lanes)
            assert states.tolist() == wanted[0].tolist()
            assert words.tolist() == wanted[1].tolist()
            assert alone == wanted[2]
        target = np.full_like(data, 165)
        kernels.rans_decode(words.view(np.uint8), states, frequencies, bits, target, alone)
        assert target.tobytes() == data.tobytes()


@settings(max_examples=20, deadline=None)
@given(data=data_of, bits=st.integers(12, 15), lanes=st.sampled_from([1, 8, 32, 64]))
def test_rans_of_any_bytes_equals_its_twin(data, bits, lanes):
    frequencies = frequencies_of(data, bits)
    states, words, alone = kernels.rans_encode(data, frequencies, bits, lanes)
    wanted = reference.rans_encode(data, frequencies, bits, lanes)
    assert (states.tolist(), words.tolist()) == (wanted[0].tolist(), wanted[1].tolist())
    assert alone == wanted[2]
    target = np.full_like(data, 165)
    kernels.rans_decode(words.view(np.uint8), states, frequencies, bits, target, alone)
    assert target.tobytes() == data.tobytes()


@pytest.mark.parametrize("lanes", [2, 64])
def test_all_lanes_but_the_first_begin_with_words(lanes):
    """Worked by the definition: what one lane alone makes of the last symbols."""
    data = bell(900, 25.0)
    frequencies = frequencies_of(data, 12)
    alone = kernels.rans_encode(data, frequencies, 12, lanes)[2]
    _, tail, _ = kernels.rans_encode(data[data.size - alone :], frequencies, 12, 1)
    assert tail.size == lanes - 1
    _, shorter, _ = kernels.rans_encode(data[data.size - alone + 1 :], frequencies, 12, 1)
    assert shorter.size == lanes - 2


@settings(max_examples=20, deadline=None)
@given(
    words=st.binary(max_size=300).map(lambda b: b[: len(b) // 2 * 2]),
    lanes=st.sampled_from([1, 8, 32, 64]),
    bits=st.integers(12, 15),
    size=st.integers(0, 300),
    seed=st.integers(0, 9),
)
def test_any_words_decode_as_the_twin_decodes_or_are_refused(words, lanes, bits, size, seed):
    frequencies = frequencies_of(bell(200, 20.0), bits)
    states = np.random.default_rng(seed).integers(0, 2**32, lanes).astype(np.uint32)
    alone = seed * size // 9
    target, wanted = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    given_words = kernels.as_bytes(words)
    before = states.copy()
    if reference.rans_decode(given_words, states, frequencies, bits, wanted, alone):
        kernels.rans_decode(given_words, states, frequencies, bits, target, alone)
        assert target.tobytes() == wanted.tobytes()
    else:
        with pytest.raises(FormatError, match=f"words of rANS are damaged: no {size} symbols"):
            kernels.rans_decode(given_words, states, frequencies, bits, target, alone)
    assert states.tolist() == before.tolist()


@pytest.mark.parametrize("lanes", [1, 16, 32, 64])
@pytest.mark.parametrize("bits", [12, 15])
def test_a_changed_state_a_cut_and_what_is_left_over_are_found(bits, lanes):
    data = bell(700, 3.0)
    frequencies = frequencies_of(data, bits)
    states, words, alone = kernels.rans_encode(data, frequencies, bits, lanes)
    coded, target = words.view(np.uint8), np.zeros_like(data)
    other, last = states.copy(), states.copy()
    other[0] ^= 1 << 20
    last[-1] ^= 1 << 20
    longer = np.concatenate([coded, [0, 0]]).astype(np.uint8)
    forged = [
        *((coded, other, alone), (coded, last, alone), (coded[:-2], states, alone)),
        *((longer, states, alone), (coded[:0], states, alone), (coded, states, alone + 1)),
    ]
    for now, start, count in forged:
        with pytest.raises(FormatError):
            kernels.rans_decode(now, start, frequencies, bits, target, count)


def test_a_few_symbols_are_all_the_first_lane_s_and_zeros_are_left():
    data = bell(9, 3.0)
    frequencies = frequencies_of(data, 12)
    states, words, alone = kernels.rans_encode(data, frequencies, 12, 64)
    assert (words.size, alone) == (0, 9)
    assert set(states[9:].tolist()) == {65536}
    target = np.zeros_like(data)
    kernels.rans_decode(words.view(np.uint8), states, frequencies, 12, target, alone)
    assert target.tobytes() == data.tobytes()
    states[-1] += 1
    with pytest.raises(FormatError):
        kernels.rans_decode(words.view(np.uint8), states, frequencies, 12, target, alone)


@pytest.mark.parametrize(("lanes", "alone"), [(1, 0), (8, 500)])
def test_a_single_symbol_takes_no_words(lanes, alone):
    frequencies = np.zeros(256, np.uint32)
    frequencies[9] = 4096
    found = kernels.rans_encode(np.full(500, 9, np.uint8), frequencies, 12, lanes)
    states, words = found[:2]
    assert (states.tolist(), words.tolist(), found[2]) == ([65536] * lanes, [], alone)
    target = np.zeros(500, np.uint8)
    kernels.rans_decode(words.view(np.uint8), states, frequencies, 12, target, alone)
    assert set(target.tolist()) == {9}
    for start, count in ((states + 1, alone), (states, abs(alone - 1))):
        with pytest.raises(FormatError):
            kernels.rans_decode(words.view(np.uint8), start, frequencies, 12, target, count)


def test_symbols_without_frequency_are_refused():
    frequencies = np.zeros(256, np.uint32)
    frequencies[9] = 4096
    with pytest.raises(InputError, match="symbols must be all in the model"):
        kernels.rans_encode(np.array([9, 8], np.uint8), frequencies, 12, 1)
