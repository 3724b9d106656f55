"""What every codec must keep, whatever it does. Use it on your own codecs too."""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np

from tersor.codecs.codec import Codec
from tersor.errors import FormatError

SIZES = (0, 1, 7, 8, 9, 63, 64, 65, 1000)
BOMB_BYTES = 2**22
SLACK_BYTES = 2**20  # what a refusal may hold, whatever the payload says


def samples() -> Iterator[bytes]:
    """Data of every size: one value, a ramp, a narrow bell, noise."""
    rng = np.random.default_rng(0)
    for size in SIZES:
        yield bytes(size)
        yield bytes(index % 256 for index in range(size))
        yield rng.normal(0, 3, size).round().astype(np.int8).tobytes()
        yield rng.bytes(size)


def decode_or_refuse(codec: Codec, payload: bytes, count: int) -> bytes | None:
    """What `decode` gives, or None for FormatError; any other exception passes."""
    try:
        return codec.decode(payload, count)
    except FormatError:
        return None


def has_a_name_for_files(codec: Codec) -> None:
    assert codec.name.isidentifier()
    assert codec.name.islower()
    assert codec.name.isascii()


def gives_the_data_back(codec: Codec) -> None:
    for data in samples():
        assert codec.decode(codec.encode(data), len(data)) == data


def gives_the_same_payload_twice(codec: Codec) -> None:
    for data in samples():
        payload = codec.encode(data)
        assert isinstance(payload, bytes)
        assert payload == codec.encode(data) == type(codec)().encode(data)


def finds_every_cut(codec: Codec) -> None:
    for data in samples():
        payload = codec.encode(data)
        for size in range(len(payload)):
            found = decode_or_refuse(codec, payload[:size], len(data))
            assert found is None, f"{size} of {len(payload)} bytes passed"


def finds_what_is_left_over(codec: Codec) -> None:
    for data in samples():
        assert decode_or_refuse(codec, codec.encode(data) + b"\0", len(data)) is None


def finds_a_wrong_count(codec: Codec) -> None:
    for data in samples():
        payload = codec.encode(data)
        for count in {len(data) - 1, len(data) + 1, 2**40, 2**62} - {-1}:
            assert decode_or_refuse(codec, payload, count) is None


def takes_or_refuses_any_bytes(codec: Codec) -> None:
    rng = np.random.default_rng(1)
    for size in range(200):
        count = int(rng.integers(0, 300))
        found = decode_or_refuse(codec, rng.bytes(size), count)
        assert found is None or len(found) == count


def takes_or_refuses_a_changed_byte(codec: Codec) -> None:
    rng = np.random.default_rng(2)
    for data in samples():
        payload = codec.encode(data)
        for place in range(0, len(payload), max(1, len(payload) // 50)):
            forged = bytearray(payload)
            forged[place] ^= int(rng.integers(1, 256))
            found = decode_or_refuse(codec, bytes(forged), len(data))
            assert found is None or len(found) == len(data)


def decodes_in_place_as_it_decodes(codec: Codec) -> None:
    """Whole payloads, cut ones, longer ones and changed ones."""
    rng = np.random.default_rng(3)
    for data in samples():
        payload = codec.encode(data)
        for forged in (payload, payload[:-1], payload + b"\0", *_changed(payload, rng)):
            wanted = decode_or_refuse(codec, forged, len(data))
            assert decode_in_place_or_refuse(codec, forged, len(data)) == wanted


def decode_in_place_or_refuse(codec: Codec, payload: bytes, count: int) -> bytes | None:
    """What `decode_into` writes, or None for FormatError; any other exception passes."""
    target = bytearray(b"\xa5" * count)
    try:
        codec.decode_into(payload, memoryview(target))
    except FormatError:
        return None
    return bytes(target)


def _changed(payload: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    for place in range(0, len(payload), max(1, len(payload) // 20)):
        forged = bytearray(payload)
        forged[place] ^= int(rng.integers(1, 256))
        yield bytes(forged)


def is_no_bomb(codec: Codec) -> None:
    """A payload for many bytes is refused where few belong, before memory is taken."""
    payload = codec.encode(bytes(BOMB_BYTES))
    tracemalloc.start()
    try:
        assert decode_or_refuse(codec, payload, 10) is None
        assert decode_or_refuse(codec, codec.encode(b"abc"), 2**33) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < SLACK_BYTES, f"{peak} bytes held"


LAWS: list[Callable[[Codec], None]] = [
    has_a_name_for_files,
    gives_the_data_back,
    gives_the_same_payload_twice,
    finds_every_cut,
    finds_what_is_left_over,
    finds_a_wrong_count,
    takes_or_refuses_any_bytes,
    takes_or_refuses_a_changed_byte,
    decodes_in_place_as_it_decodes,
    is_no_bomb,
]
