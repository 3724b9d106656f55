"""The context codec: its payloads are frozen, and what lies in them is checked."""

import numpy as np
import pytest

import tersor.kernels as kernels
from tersor.codecs.codec import Part
from tersor.codecs.context import Context
from tersor.errors import FormatError
from tersor.kernels import Shape
from tersor.kernels.tables import BitWriter

CODEC = Context()
GOLDEN = "05ee1f0912110b1c2461ff0b56356a2e93d6"


def weights(shape, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, shape).round().clip(-127, 127).astype(np.int8)


def parts_of(*arrays):
    return [Part(a.size, 8, a.shape) for a in arrays]


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


def test_golden_payload():
    array = weights((3, 2, 2, 2))
    payload = CODEC.encode(array.tobytes(), parts_of(array))
    assert payload.hex() == GOLDEN
    assert CODEC.decode(bytes.fromhex(GOLDEN), 24) == array.tobytes()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes_are_taken_as_what_makes_them_small(dtype):
    values = weights((40, 40)).astype(np.int64) + (128 if dtype == np.uint8 else 0)
    data = values.astype(dtype).tobytes()
    payload = CODEC.encode(data, [Part(1600, 8, (40, 40))])
    assert CODEC.decode(payload, 1600) == data
    assert len(payload) < 700  # a bell of this spread has 3.05 bits


def test_values_of_four_bits_are_coded_one_by_one():
    rng = np.random.default_rng(0)
    nibbles = rng.normal(0, 1, 2001).round().clip(-8, 7).astype(np.int64) & 15
    padded = np.append(nibbles, 0)
    data = (padded[::2] | padded[1::2] << 4).astype(np.uint8).tobytes()
    payload = CODEC.encode(data, [Part(len(data), 4, (2001,))])
    assert CODEC.decode(payload, len(data)) == data
    assert len(payload) < 0.56 * len(data)  # 2.1 bits of 4


def test_several_tensors_teach_each_other():
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


def test_noise_stands_as_it_is():
    data = np.random.default_rng(0).bytes(1000)
    assert len(CODEC.encode(data)) <= 1004


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
def test_a_head_that_lies_is_refused(payload, problem):
    with pytest.raises(FormatError, match=problem):
        CODEC.decode(payload, 2**20 if "1048576" in problem else 10)


def test_a_value_that_the_elements_cannot_have_is_refused():
    body = kernels.context_encode(np.array([5], np.int16), [Shape(1, 1, 1, 1)], 10)
    fine = head(1, (1, 1), (0, 2), (128 + 250, 9), (1, None), (len(body), "size")) + body
    assert CODEC.decode(fine, 1) == bytes([255])
    wrong = head(1, (1, 1), (0, 2), (128 + 251, 9), (1, None), (len(body), "size")) + body
    with pytest.raises(FormatError, match="out of range"):
        CODEC.decode(wrong, 1)
