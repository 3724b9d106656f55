"""The lanes codec: its payloads are frozen, and it uses what it is told of forms."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.codecs.codec import Part
from tersor.codecs.context import Context
from tersor.codecs.lanes import Lanes
from tersor.codecs.rans import Rans
from tersor.errors import FormatError
from tersor.kernels import as_bytes, choose, integers, lanes_decode

CODEC = Lanes()
GOLDEN = "05ee1f09121516a0f7ffffffff1f30fe03d14a950adc4100b5e6300044"
LARGE = "053f36b6ec317235ea0ae61448073af7"  # the first half of its SHA-256


def weights(shape, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, shape).round().clip(-127, 127).astype(np.int8)


def mixed():
    """200 rows of 9 channels: some are hardly used, and of every other value four fifths."""
    i = np.arange(200 * 9 * 9, dtype=np.int64)
    values = (i * i % 251) * (i % 7) // 50 - 15
    return np.where(i // 9 % 3 == 0, values, values // 9 * (i % 5 == 0)).astype(np.int8)


def parts_of(*arrays):
    return [Part(a.size, 8, a.shape) for a in arrays]


def test_golden_payload():
    array = weights((3, 2, 2, 2))
    payload = CODEC.encode(array.tobytes(), parts_of(array))
    assert payload.hex() == GOLDEN
    assert CODEC.decode(bytes.fromhex(GOLDEN), 24) == array.tobytes()


def test_golden_payload_of_eight_lanes():
    array = np.concatenate([mixed(), np.zeros(800, np.int8)])
    parts = [Part(16_200, 8, (200, 9, 3, 3)), Part(800, 8, (8, 100))]
    payload = CODEC.encode(array.tobytes(), parts)
    assert hashlib.sha256(payload).hexdigest()[:32] == LARGE
    assert CODEC.decode(payload, array.size) == array.tobytes()


def test_several_tensors_share_one_head():
    arrays = [weights((16, 16), seed=seed) for seed in range(4)]
    data = b"".join(a.tobytes() for a in arrays)
    together = CODEC.encode(data, parts_of(*arrays))
    assert CODEC.decode(together, len(data)) == data
    alone = sum(len(CODEC.encode(a.tobytes(), parts_of(a))) for a in arrays)
    assert len(together) < alone - 30


def test_a_form_that_is_known_saves_bytes():
    """Channels of which some are hardly used."""
    scale = np.tile([4.0, 0.3, 0.3, 0.3], 8)[:, None, None]
    array = (weights((64, 32, 3, 3), 1.0) * scale).round().astype(np.int8)
    known = CODEC.encode(array.tobytes(), parts_of(array))
    assert len(known) < 0.97 * len(CODEC.encode(array.tobytes()))


def test_it_takes_about_as_many_bytes_as_context_and_fewer_than_rans():
    """A network that was pruned: rows and channels of very different density."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 0.7, (64, 1, 1, 1)) + rng.normal(0, 0.5, (1, 64, 1, 1)))
    array = (rng.laplace(0, 0.5, (64, 64, 3, 3)) * scale).round().clip(-15, 15)
    data, parts = array.astype(np.int8).tobytes(), [Part(array.size, 8, array.shape)]
    size = len(CODEC.encode(data, parts))
    assert size < 1.005 * len(Context().encode(data, parts))
    assert size < 0.92 * len(Rans().encode(data, parts))


@pytest.mark.parametrize("count", [1, 2, 100_000, 2**21])
def test_zeros_take_next_to_nothing_and_are_believed(count):
    """Fewer values than `integers` allows a byte to stand for: 2^14."""
    payload = CODEC.encode(bytes(count))
    assert len(payload) < 60 + count / 11_000
    assert CODEC.decode(payload, count) == bytes(count)


def nibbles():
    values = (
        np.random.default_rng(0).normal(0, 1, 2000).round().clip(-8, 7).astype(np.int64) & 15
    )
    return (values[::2] | values[1::2] << 4).astype(np.uint8).tobytes()


EXAMPLES = {
    "tensors": (
        weights((20, 6, 3, 3), 0.5).tobytes(),
        [Part(700, 8, (20, 35)), Part(380, 8, (380,))],
    ),
    "centred": ((weights((60, 40)).astype(np.int64) + 90).astype(np.uint8).tobytes(), []),
    "nibbles": (nibbles(), [Part(1000, 4, (50, 40))]),
    "noise": (np.random.default_rng(0).bytes(300), []),
    "eight lanes": (mixed().tobytes() + bytes(800), [Part(17_000, 8, (170, 100))]),
}


@pytest.mark.skipif(choose.module() is None, reason=choose.choice().why)
@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(EXAMPLES)),
    at=st.one_of(st.integers(0, 40), st.integers(0, 10**6)),
    flipped=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_damaged_payloads_are_refused_where_the_definition_refuses_them(
    name, at, flipped, cut
):
    """Whole payloads, read natively, mean what `integers` says that they mean."""
    data, parts = EXAMPLES[name]
    payload = bytearray(CODEC.encode(data, parts))
    payload[at % len(payload)] ^= flipped
    payload = bytes(payload[: len(payload) - cut])
    wanted, found = bytearray(len(data)), bytearray(len(data))
    try:
        integers.decode_into(payload, memoryview(wanted), lanes_decode)
    except FormatError:
        wanted = None
    native = choose.module()
    fine = native.lanes_read(as_bytes(payload), as_bytes(found), choose.level())
    assert fine == (wanted is not None)
    assert not fine or found == wanted
    assert native.lanes_bytes(as_bytes(payload), len(data), choose.level()) == wanted


def test_a_promise_that_a_payload_cannot_keep_takes_no_memory():
    native = choose.module()
    if native is None:
        pytest.skip(choose.choice().why)
    payload = bytes.fromhex(GOLDEN)
    for count in (0, 23, 25, 2**62):
        assert native.lanes_bytes(as_bytes(payload), count, choose.level()) is None
