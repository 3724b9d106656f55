import pytest

from tersor.errors import FormatError
from tersor.store.varint import Cursor, text, varint

NUMBERS = {0: "00", 1: "01", 127: "7f", 128: "8001", 16383: "ff7f", 2**63 - 1: "ff" * 8 + "7f"}


@pytest.mark.parametrize(("number", "hexed"), NUMBERS.items())
def test_numbers_are_leb128(number, hexed):
    assert varint(number).hex() == hexed
    cursor = Cursor(bytes.fromhex(hexed))
    assert cursor.varint() == number
    cursor.end()


@pytest.mark.parametrize(
    ("problem", "hexed"),
    [
        ("1 bytes wanted, 0 left, at byte 0", ""),
        ("1 bytes wanted, 0 left, at byte 1", "80"),
        ("needless bytes", "8000"),
        ("more than 63 bits", "80" * 9 + "01"),
    ],
)
def test_forged_number_is_refused(problem, hexed):
    with pytest.raises(FormatError, match=problem):
        Cursor(bytes.fromhex(hexed)).varint()


def test_text_comes_back():
    assert text("fc.größe").hex() == "0a66632e6772c3b6c39f65"
    assert Cursor(text("fc.größe")).text() == "fc.größe"


def test_text_that_is_no_utf8_is_refused():
    with pytest.raises(FormatError, match="a name is not UTF-8, at byte 1"):
        Cursor(b"\x02\xc3\x28").text()


def test_text_beyond_the_end_is_refused_before_it_is_read():
    with pytest.raises(FormatError, match="1000 bytes wanted, 1 left"):
        Cursor(varint(1000) + b"a").text()


def test_counts_are_bounded_by_the_caller_and_by_the_bytes_left():
    assert Cursor(b"\x02ab").count(2, "names") == 2
    with pytest.raises(FormatError, match="2 names, at most 1 can be"):
        Cursor(b"\x02ab").count(1, "names")
    with pytest.raises(FormatError, match="3 names, at most 2 can be"):
        Cursor(b"\x03ab").count(9, "names")


def test_left_over_bytes_are_refused():
    with pytest.raises(FormatError, match="1 bytes left over, at byte 0"):
        Cursor(b"a").end()


@pytest.mark.parametrize("numbers", [[], [1, 2, 3], [1, 300, 2], [127, 128]], ids=str)
def test_columns_come_back(numbers):
    cursor = Cursor(b"".join(map(varint, numbers)) + b"end")
    assert cursor.varints(len(numbers)) == numbers
    assert cursor.take(3) == b"end"


def test_a_column_beyond_the_end_is_refused():
    with pytest.raises(FormatError, match="1 bytes wanted, 0 left, at byte 2"):
        Cursor(b"ab").varints(3)
