"""Numbers in few bits come back; forged ones are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.errors import FormatError
from tersor.kernels.choose import choice, module
from tersor.kernels.tables import BitReader, BitWriter

native_only = pytest.mark.skipif(module() is None, reason=choice().why)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 2**63 - 1), max_size=5),
    st.lists(st.integers(1, 2**16 - 1), max_size=5),
    st.lists(st.sampled_from([0, 0, 0, 1, 7, 18]), min_size=256, max_size=256),
)
def test_what_is_put_is_got(sizes, small, levels):
    writer = BitWriter()
    for value in sizes:
        writer.put_size(value)
    for value in small:
        writer.put_gamma(value)
    writer.put_levels(levels, 18)
    data = writer.to_bytes()
    reader = BitReader(data)
    assert [reader.get_size() for _ in sizes] == sizes
    assert [reader.get_gamma() for _ in small] == small
    assert reader.get_levels(18) == levels
    assert reader.end() == len(data)


def bits(text):
    """Bits as they are written, the first one first."""
    text = text.replace(" ", "")
    return int(text[::-1], 2).to_bytes((len(text) + 7) // 8, "little")


def test_levels_are_written_as_told():
    """Worked by hand: no run, 2 in two bits; d = 1, -1, -2; a run of 252."""
    writer = BitWriter()
    writer.put_levels([2, 3, 2, 0] + [0] * 252, 4)
    assert writer.to_bytes() == bits("1 10 010 011 00110 00000001 1011111")


@pytest.mark.parametrize(
    ("problem", "data"),
    [
        ("ends too early", bytes([0, 128])),
        ("number out of range", bytes(3)),
        ("table out of range", bits("1 00000 00111")),  # 1 less 3
    ],
)
def test_forged_tables_are_refused(problem, data):
    with pytest.raises(FormatError, match=problem):
        BitReader(data).get_levels(18)


def test_a_run_over_the_end_is_refused():
    writer = BitWriter()
    writer.put_gamma(258)
    writer.put(0, 5)
    with pytest.raises(FormatError, match="table out of range"):
        BitReader(writer.to_bytes()).get_levels(18)


def test_numbers_of_given_widths_are_got_at_once():
    writer = BitWriter()
    for value, width in [(1, 3), (5, 3), (0, 0), (9, 4), (1, 1)]:
        writer.put(value, width)
    reader = BitReader(writer.to_bytes())
    assert reader.get(3) == 1
    assert reader.get_each([3, 0, 4, 1]) == [5, 0, 9, 1]
    with pytest.raises(FormatError, match="ends too early"):
        reader.get_each([3, 3])


def levels_or_problem(read, reader, most):
    """What is read and where that ends, or what is wrong."""
    try:
        return read(reader, most), reader._at
    except FormatError as error:
        return str(error)


@native_only
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 20), st.sampled_from([1, 12, 18, 255]))
def test_native_levels_are_those_of_the_twin(data, skipped, most):
    for ended in (data, data + bytes([128, 128, 255])):
        native, twin = BitReader(ended), BitReader(ended)
        native._at = twin._at = min(skipped, 8 * len(ended))
        found = levels_or_problem(BitReader.get_levels, native, most)
        assert found == levels_or_problem(BitReader._levels, twin, most)
