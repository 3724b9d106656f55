"""Damaged and forged .tsr files are refused, cheaply, and never with another exception."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.codecs.zstd import Zstd
from tersor.errors import FormatError
from tersor.store.container import Reader, encode
from tersor.store.directory import Limits
from tersor.store.varint import varint


def read_all(data):
    """All that a file holds, or None if anything is refused."""
    try:
        with Reader(data) as reader:
            tensors = {name: reader.tensor(name) for name in reader.names}
            sections = {name: reader.section(name) for name in reader.sections}
    except FormatError:
        return None
    return {n: (a.dtype, a.shape, a.tobytes()) for n, a in tensors.items()}, sections


def small_files():
    """One file of plain blocks, one in which a block and the directory are coded."""
    few = {"w": np.array([[1, -2, 3]], np.int8), "none": np.zeros((0, 2), np.float16)}
    many = {f"layer{i}.weight": np.full((4, 100), i, np.int8) for i in range(8)}
    return [encode(few, {"note": b"hello"}), encode(many, {})]


SMALL_FILES = small_files()


@pytest.mark.parametrize("data", SMALL_FILES, ids=["raw", "zstd"])
def test_every_cut_is_found(data):
    assert read_all(data) is not None
    assert [size for size in range(len(data)) if read_all(data[:size]) is not None] == []


@pytest.mark.parametrize("data", SMALL_FILES, ids=["raw", "zstd"])
def test_every_flipped_bit_is_found_or_harmless(data):
    whole, found = read_all(data), 0
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            content = read_all(bytes(flipped))
            assert content in (None, whole), (place, bit)
            found += content is None
    assert found > 7.9 * len(data)


@pytest.mark.parametrize("data", SMALL_FILES, ids=["raw", "zstd"])
def test_grown_files_are_refused(data):
    assert read_all(data + b"\0") is None
    assert read_all(data + data) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(data):
    read_all(data)
    read_all(b"\x89TSR\x01\x00" + data)


def forge(directory, blocks="", *, kind=0, stored=None, length=None, version=1):
    """A file whose checksum is right, whatever its directory says."""
    header = b"\x89TSR" + bytes([version, kind])
    plain = bytes.fromhex(directory)
    stored = plain if stored is None else stored
    lengths = struct.pack("<II", len(plain) if length is None else length, len(stored))
    checksum = zlib.crc32(header + stored + lengths)
    return header + bytes.fromhex(blocks) + stored + lengths + struct.pack("<I", checksum)


@given(st.binary(max_size=120), st.binary(max_size=30))
def test_any_directory_is_refused_or_read(directory, blocks):
    read_all(forge(directory.hex(), blocks.hex()))


BLOCK = "01 03726177 01 00 02 02"  # one raw block of two bytes, its checksum to follow
CHECKSUM = zlib.crc32(b"\1\2").to_bytes(4, "little").hex()
ENTRY = "01 0177 02 01 02"  # int8 w of shape (2,)
GOOD = f"00 {BLOCK} {CHECKSUM} {ENTRY}"


def test_the_forge_makes_good_files():
    assert Reader(forge(GOOD, "0102")).tensor("w").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("problem", "data"),
    [
        ("not a .tsr file, at byte 0", b""),
        ("not a .tsr file, at byte 0", b"\x89TS"),
        ("not a .tsr file, at byte 0", b"PK\3\4" + bytes(40)),
        ("the file is cut, at byte 17", forge(GOOD, "0102")[:17]),
        ("version 2, this release reads 1, at byte 4", forge(GOOD, "0102", version=2)),
        ("its end is damaged", forge(GOOD, "0102")[:-12] + b"\xff" * 12),
        ("unknown kind 9, at byte 5", forge(GOOD, "0102", kind=9)),
        ("directory of 8388609 bytes", forge(GOOD, "0102", length=2**23 + 1)),
        ("no zstd frame", forge("", stored=b"\xff\xff", length=1000)),
        ("3 bytes do not reach the directory", forge(GOOD.replace("02 02", "02 03"), "0102")),
        ("2 bytes do not reach the directory", forge(GOOD, "010203")),
        ("200 sections, at most 1 can be", forge("c801 00")),
        ("5 bytes wanted, 3 left", forge("01 0161 05 000000")),
        ("two sections have the same name", forge("02 0161 0161 00 00 00 00 00")),
        ("two tensors have the same name", forge("00 00 00 02 0177 0177 0202 0101 00 00")),
        ("codec 1 of 1", forge("00 01 03726177 01 01 02 02 00000000 00", "0102")),
        ("a block is empty", forge("00 01 03726177 01 00 00 00 00000000 00")),
        ("unknown element code 99", forge("00 00 00 01 0177 63 00")),
        ("section 'w' has rank 2", forge("00 00 00 01 0177 00 02 0101")),
        ("17 dimensions, at most 16", forge("00 00 00 01 0177 02 11" + "01" * 17)),
        ("has 18014398509481984 bytes", forge("00 00 00 01 0177 02 01 8080808080808020")),
        ("3 bytes of entries do not fill the blocks", forge(GOOD[:-2] + "03", "0102")),
        ("1 bytes left over", forge(GOOD + "00", "0102")),
    ],
)  # fmt: skip
def test_forged_file_is_refused(problem, data):
    with pytest.raises(FormatError, match=problem):
        Reader(data)


def test_total_and_tensor_limits_are_the_callers():
    data = forge(GOOD, "0102")
    with pytest.raises(FormatError, match="2 bytes, limit 1"):
        Reader(data, Limits(total_bytes=1))
    with pytest.raises(FormatError, match="'w' has 2 bytes, limit 1"):
        Reader(data, Limits(tensor_bytes=1))
    with pytest.raises(FormatError, match="1 entries, at most 0"):
        Reader(forge("00 00 00 01 0177 02 01 00"), Limits(entries=0))
    with pytest.raises(FormatError, match=r"directory of \d+ bytes, too long"):
        Reader(data, Limits(directory_bytes=5))


def test_a_forged_checksum_and_codec_are_refused_when_read():
    with pytest.raises(FormatError, match="tensor data is damaged, at byte 6"):
        Reader(forge(GOOD, "0103")).tensor("w")
    with pytest.raises(FormatError, match="codec 'raz' is not in this release"):
        Reader(forge(GOOD.replace("03726177", "0372617a"), "0102")).tensor("w")
    with pytest.raises(FormatError, match="codec 'codec' is not in this release"):
        Reader(forge(GOOD.replace("03726177", "05636f646563"), "0102")).tensor("w")


def peak_of_refusal(data):
    """Bytes held at most until a file, or its tensor, is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            Reader(data).tensor("w")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMB = Zstd().encode(bytes(2**24))
WIDE = "01 0177 02 01 80808040"  # int8 w of 2^27 elements


@pytest.mark.parametrize(
    "data",
    [
        forge("", stored=BOMB, length=2**23),
        forge("", stored=BOMB, length=2**24),
        forge(f"00 {BLOCK.replace('02 02', '80808040 02')} {CHECKSUM} {WIDE}", "0102"),
        forge(
            f"00 01 047a737464 01 00 80808040 02 {CHECKSUM} {WIDE}",
            "0102",
        ),
        forge("00 00 00 ffffffff07" + "00" * 1000),
        forge("ffffffffffffffff7f" + "00" * 1000),
    ],
    ids=["directory", "long_directory", "raw_tensor", "zstd_tensor", "entries", "sections"],
)
def test_a_bomb_is_refused_before_memory_is_taken(data):
    assert peak_of_refusal(data) < 2**20


@pytest.mark.parametrize("last", [b"", b"\xff"], ids=["whole", "damaged"])
def test_the_largest_directory_is_read_or_refused_in_bounded_memory(last):
    names = b"".join(b"\x06%06d" % index for index in range(16384))
    plain = b"\0\0\0" + varint(16384) + names + b"\2" * 16384 + b"\x10" * 16384
    plain += b"\0" * (16 * 16384) + last
    tracemalloc.start()
    read_all_names(
        forge("", stored=Zstd().encode(plain), length=len(plain)), refused=bool(last)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def read_all_names(data, *, refused):
    if refused:
        with pytest.raises(FormatError, match="1 bytes left over"):
            Reader(data)
    else:
        assert len(Reader(data).names) == 16384
