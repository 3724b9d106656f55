"""The payload of Huffman codes: what released ones decode to, how short, what is refused."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.codecs.huffman import Huffman, code_lengths
from tersor.errors import FormatError
from tersor.kernels.tables import BitWriter


def test_payloads_of_0_1_0_are_read_and_written_again():
    text = b"abracadabra" * 6
    payload = "87102802996385033600723539b99a9c5c4d4eae2627579393abc901"
    assert Huffman().decode(bytes.fromhex(payload), len(text)) == text
    assert Huffman().encode(text).hex() == payload


def test_the_bits_are_those_of_0_1_0():
    i = np.arange(200_000, dtype=np.int64)
    data = ((i * i % 251) * (i % 7) // 5 % 64).astype(np.uint8).tobytes()
    payload = Huffman().encode(data)
    assert len(payload) == 140_387
    assert hashlib.sha256(payload).hexdigest()[:16] == "6651f8225708d2d9"
    assert Huffman().decode(payload, len(data)) == data


def best(counts, most):
    """Bits of the best code, by trying all lengths."""
    return min(
        sum(c * n for c, n in zip(counts, lengths, strict=True))
        for lengths in itertools.product(range(1, most + 1), repeat=len(counts))
        if sum(2.0**-length for length in lengths) <= 1
    )


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=5), most=st.integers(3, 4))
def test_no_code_within_the_limit_is_shorter(counts, most):
    lengths = code_lengths(counts, most)
    assert max(lengths) <= most
    assert sum(2.0**-length for length in lengths) == 1
    assert sum(c * n for c, n in zip(counts, lengths, strict=True)) == best(counts, most)


def test_the_limit_holds_where_the_best_code_is_longer():
    counts = [2**i for i in range(30)]  # without a limit: 29 bits for the first two
    lengths = code_lengths(counts, 12)
    assert max(lengths) == 12
    assert sum(2.0**-length for length in lengths) == 1


def forge(levels, codes, size=4, padding=0):
    head = BitWriter()
    head.put_size(size)
    head.put_levels(levels, 12)
    head.put(padding, 1)
    return head.to_bytes() + codes


ONE = [0] * 97 + [1] + [0] * 158  # "a" alone, code 0
PAIR = [0] * 97 + [1, 1] + [0] * 157


def test_what_is_forged_below_is_well_formed_but_for_one_field():
    assert Huffman().decode(forge(ONE, b"\0"), 4) == b"aaaa"
    assert Huffman().decode(forge(PAIR, b"\5"), 4) == b"baba"


@pytest.mark.parametrize(
    ("problem", "payload", "count"),
    [
        ("ends too early", b"", 4),
        ("bytes for 4 where 5 belong", forge(ONE, b"\0"), 5),
        ("for 0 where 0 belong", forge(ONE, b"\0", size=0), 0),
        ("for 999 where 999 belong", forge(ONE, b"\0", size=999), 999),
        ("code lengths do not fit", forge([0] * 256, b"\0"), 4),
        ("code lengths do not fit", forge([2, *ONE[1:]], b"\0"), 4),
        ("code lengths do not fit", forge([1, 1, *ONE[2:]], b"\0"), 4),
        ("code lengths do not fit", forge([0] * 97 + [2] + [0] * 158, b"\0"), 4),
        ("table out of range", forge([0] * 97 + [12, 13] + [0] * 157, b"\0"), 4),
        ("bits set where none belong", forge(ONE, b"\0", padding=1), 4),
        ("codes are damaged: no 4 symbols", forge(ONE, b"\1"), 4),
        ("codes are damaged: no 4 symbols", forge(PAIR, b"\x10"), 4),
        ("codes are damaged: no 4 symbols", forge(PAIR, b"\0\0"), 4),
        ("codes are damaged: no 4 symbols", forge(PAIR, b""), 4),
    ],
)
def test_forged_payload_is_refused(problem, payload, count):
    with pytest.raises(FormatError, match=problem):
        Huffman().decode(payload, count)
