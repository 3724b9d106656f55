"""Bytes as small integers in rows: what is refused, for each codec that is made of it."""

import numpy as np
import pytest

import tersor.kernels as kernels
from tersor.codecs.codec import Part
from tersor.codecs.context import Context
from tersor.codecs.lanes import Lanes
from tersor.codecs.mixing import Mixing
from tersor.errors import FormatError
from tersor.kernels import Shape
from tersor.kernels.tables import BitWriter

CODECS = {"context": Context(), "mixing": Mixing(), "lanes": Lanes()}
ENCODERS = {
    "context": kernels.context_encode,
    "mixing": kernels.mixing_encode,
    "lanes": kernels.lanes_encode,
}


@pytest.fixture(params=CODECS)
def codec(request):
    return CODECS[request.param]


def weights(shape, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, shape).round().clip(-127, 127).astype(np.int8)


def head(size, *fields):
    writer = BitWriter()
    writer.put_size(size)
    for value, bits in fields:
        if bits is None:
            writer.put_gamma(value)
        elif bits == "size":
            writer.put_size(value)
        else:
            writer.put(value, bits)
    return writer.to_bytes()


def tensors(*given):
    """The head for ten bytes of tensors, each of a size and of channels."""
    fields = [(1, 1), (0, 2), (128, 9), (len(given) + 1, None)]
    for size, channels in given:
        fields += [] if size is None else [(size, "size")]
        fields += [(channels, "size"), (1, None), (1, None)]
    return head(10, *fields)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes_are_taken_as_what_makes_them_small(codec, dtype):
    values = weights((40, 40)).astype(np.int64) + (128 if dtype == np.uint8 else 0)
    data = values.astype(dtype).tobytes()
    payload = codec.encode(data, [Part(1600, 8, (40, 40))])
    assert codec.decode(payload, 1600) == data
    assert len(payload) < 700  # a bell of this spread has 3.05 bits


def test_values_of_four_bits_are_coded_one_by_one(codec):
    rng = np.random.default_rng(0)
    nibbles = rng.normal(0, 1, 2001).round().clip(-8, 7).astype(np.int64) & 15
    padded = np.append(nibbles, 0)
    data = (padded[::2] | padded[1::2] << 4).astype(np.uint8).tobytes()
    payload = codec.encode(data, [Part(len(data), 4, (2001,))])
    assert codec.decode(payload, len(data)) == data
    assert len(payload) < 0.56 * len(data)  # 2.1 bits of 4


def test_noise_stands_as_it_is(codec):
    data = np.random.default_rng(0).bytes(1000)
    assert len(codec.encode(data)) <= 1004


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (head(10, (0, 1)) + bytes(9), "9 bytes as they are"),
        (head(2**20, (1, 1)), "where 1048576 belong"),
        (head(10, (1, 1), (0, 2), (128, 9), (2**14, None)), "16383 tensors"),
        (tensors((None, 0)), "rows"),
        (tensors((None, 11)), "rows"),
        (tensors((11, 1), (None, 1)), "rows"),
        (tensors((10, 1), (None, 1)), "rows"),
        (
            head(10, (1, 1), (0, 2), (128, 9), (1, None), (40, "size")) + b"\xff" * 40,
            "damaged",
        ),
        (head(10, (1, 1), (0, 2), (128, 9), (1, None), (3, "size")), "0 bytes where 3"),
    ],
)
def test_a_head_that_lies_is_refused(codec, payload, problem):
    with pytest.raises(FormatError, match=problem):
        codec.decode(payload, 2**20 if "1048576" in problem else 10)


def test_a_value_that_the_elements_cannot_have_is_refused(codec):
    body = ENCODERS[codec.name](np.array([5], np.int16), [Shape(1, 1, 1, 1)], 10)
    fine = head(1, (1, 1), (0, 2), (128 + 250, 9), (1, None), (len(body), "size")) + body
    assert codec.decode(fine, 1) == bytes([255])
    wrong = head(1, (1, 1), (0, 2), (128 + 251, 9), (1, None), (len(body), "size")) + body
    with pytest.raises(FormatError, match="out of range"):
        codec.decode(wrong, 1)
