"""Every module in `tersor.codecs`, new ones too, must pass every law of the suite."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor import codecs
from tersor.codecs.raw import Raw
from tersor.codecs.zstd import Zstd
from tersor.errors import FormatError, InputError
from tersor.testing import codec_suite


def test_there_are_codecs():
    assert {"raw", "zstd"} <= set(codecs.names())


@pytest.mark.parametrize("law", codec_suite.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", codecs.names())
def test_codec_keeps_the_law(name, law):
    law(codecs.find(name).CODEC())


@pytest.mark.parametrize("name", codecs.names())
def test_name_is_that_of_the_module(name):
    assert codecs.find(name).CODEC.name == name


@pytest.mark.parametrize("name", codecs.names())
@settings(deadline=None)
@given(data=st.data())
def test_any_bytes_give_bytes_or_format_error(name, data):
    payload = data.draw(st.binary(max_size=200))
    count = data.draw(st.one_of(st.integers(0, 300), st.just(len(payload))))
    codec = codecs.find(name).CODEC()
    found = codec_suite.decode_or_refuse(codec, payload, count)
    assert found is None or len(found) == count
    assert codec_suite.decode_in_place_or_refuse(codec, payload, count) == found


def test_unknown_codec_lists_the_known():
    with pytest.raises(InputError, match=r"one of context, huffman, .*raw.*zstd.*Got 'zst'"):
        codecs.find("zst")


# Forged payloads. A frame: 60 (size in two bytes), size - 256, blocks of a 3-byte header.


@pytest.mark.parametrize(
    ("problem", "payload", "count"),
    [
        ("0 zstd bytes cannot stand for 131073", "", 131_073),
        (
            "13 zstd bytes cannot stand for 999999",
            "60e8024500000861010 0e42b20".replace(" ", ""),
            999_999,
        ),
        ("no zstd frame", "60", 1000),
        ("zstd frame of unknown size", "00 58 01 00 00", 0),
        ("zstd frame of 1000 bytes where 999 belong", "60e8024500000861 0100e42b2004", 999),
        ("zstd frame of 0 bytes where 0 belong", "20 00 01 00 00", 0),
        ("zstd frame is damaged", "60e8024500000861 0100e42b20", 1000),
        ("zstd frame is damaged .*1 bytes of unused", "60e8024500000861 0100e42b200400", 1000),
        ("zstd frame is damaged", "20 05 21 00 00 61 62 63 64", 5),
    ],
)
def test_forged_frame_is_refused(problem, payload, count):
    with pytest.raises(FormatError, match=problem):
        Zstd().decode(bytes.fromhex(payload), count)


@pytest.mark.parametrize(
    ("problem", "payload", "count"),
    [
        ("its blocks do not fill it", "60e8024500000861 0100e42b20", 1000),
        ("its blocks do not fill it", "60e8024500000861 0100e42b200400", 1000),
        ("its blocks do not fill it", "20 03 18 00 00 61 62 63", 3),  # no last block
        ("its blocks do not fill it", "20 03", 3),
        ("zstd frame is damaged", "20 05 21 00 00 61 62 63 64", 5),
        ("zstd frame is damaged", "20 03 11 00 00 61 62", 3),  # holds less than it promises
        ("zstd frame of 1000 bytes where 999 belong", "60e8024500000861 0100e42b2004", 999),
    ],
)
def test_forged_frame_is_refused_in_place(problem, payload, count):
    with pytest.raises(FormatError, match=problem):
        Zstd().decode_into(bytes.fromhex(payload), memoryview(bytearray(count)))


def test_frames_with_a_window_are_measured_rightly():
    """Not a single segment: a byte for the window stands before the size."""
    payload = bytes.fromhex("40 58 e802 43 1f00 61")  # worked by hand; size 1000
    target = bytearray(1000)
    Zstd().decode_into(payload, memoryview(target))
    assert target == b"a" * 1000


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        (b"", ""),
        (b"abc", "20 03 19 00 00 61 62 63"),  # worked by hand: one raw block, the last
        (b"a" * 1000, "60 e802 43 1f00 61"),  # worked by hand: one block that repeats
        (b"a" * 1000, "60e8024500000861 0100e42b2004"),  # written by libzstd 1.5.7
    ],
    ids=["nothing", "raw_block", "repeated_block", "compressed_block"],
)
def test_frames_of_old_releases_are_read(text, payload):
    assert Zstd().decode(bytes.fromhex(payload), len(text)) == text


def test_nothing_is_no_payload():
    assert Zstd().encode(b"") == b""


def test_raw_says_how_many_bytes_came():
    with pytest.raises(FormatError, match="2 raw bytes where 3 belong, at byte 2") as caught:
        Raw().decode(b"ab", 3)
    assert caught.value.offset == 2


def test_large_data_comes_back():
    data = np.random.default_rng(0).normal(0, 9, 2**19).astype(np.int8).tobytes()
    payload = Zstd().encode(data)
    assert Zstd().decode(payload, len(data)) == data
    assert len(payload) < 0.75 * len(data)  # the bell has 5.2 bits an element


# One offender for each law, so that each law has been seen to fail.


class Shouting(Raw):
    name = "RAW"


class Lossy(Raw):
    def decode(self, payload, count):
        return bytes(count) if len(payload) == count else super().decode(payload, count)


class Moody(Raw):
    mood = itertools.count()

    def encode(self, data):
        return data + bytes([next(Moody.mood) % 256])


class Generous(Raw):
    def decode(self, payload, count):
        return payload.ljust(count, b"\0")[:count]


class Careless(Raw):
    def decode(self, payload, count):
        return payload


class Crashing(Raw):
    def decode(self, payload, count):
        if payload[:1] == b"\x80":
            raise IndexError
        return super().decode(payload, count)


class Fragile(Raw):
    """Counts its zeros, and trusts the count."""

    def encode(self, data):
        return bytes([data[0]]) + data if data else b""

    def decode(self, payload, count):
        if count and payload[0] != payload[1]:
            raise KeyError
        return payload[1:]


class Forgetful(Raw):
    def decode_into(self, payload, target):
        if len(payload) == len(target):
            target[:-1] = payload[:-1]


class Bomb(Raw):
    def decode(self, payload, count):
        copy = bytes(bytearray(payload))
        return super().decode(copy, count)


OFFENDERS = {
    codec_suite.has_a_name_for_files: Shouting(),
    codec_suite.gives_the_data_back: Lossy(),
    codec_suite.gives_the_same_payload_twice: Moody(),
    codec_suite.finds_every_cut: Generous(),
    codec_suite.finds_what_is_left_over: Generous(),
    codec_suite.finds_a_wrong_count: Careless(),
    codec_suite.takes_or_refuses_any_bytes: Crashing(),
    codec_suite.takes_or_refuses_a_changed_byte: Fragile(),
    codec_suite.decodes_in_place_as_it_decodes: Forgetful(),
    codec_suite.is_no_bomb: Bomb(),
}


@pytest.mark.parametrize("law", codec_suite.LAWS, ids=lambda law: law.__name__)
def test_law_catches_its_offender(law):
    with pytest.raises((AssertionError, IndexError, KeyError)):
        law(OFFENDERS[law])
