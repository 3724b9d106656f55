"""The payload of sparse elements: what released ones decode to, how short, what is refused."""

import numpy as np
import pytest

from tersor.codecs.codec import Part
from tersor.codecs.rans import Rans
from tersor.codecs.sparse import Sparse
from tersor.errors import FormatError
from tersor.kernels.tables import BitWriter


def pruned(share, dtype=np.float32, count=2**17):
    rng = np.random.default_rng(0)
    return np.where(rng.random(count) < share, rng.normal(size=count), 0).astype(dtype)


def coded(array):
    bits = 8 * array.itemsize
    return Sparse().encode(array.tobytes(), [Part(array.nbytes, bits, array.shape)])


def test_a_payload_of_0_1_0_is_read_and_written_again():
    array = np.array([0, 0, 1.5, 0, -2.25, -0.0, 0], np.float32)
    payload = coded(array)
    assert (
        payload.hex()
        == "0557587828c2000201000423088e60c13f3080ee8101083c30801f8203fc4f92ea86508077"
    )
    assert Sparse().decode(payload, array.nbytes) == array.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("tail", [b"", b"\0", b"abc"])
def test_elements_of_any_width_come_back_bit_by_bit(dtype, share, tail):
    array = pruned(share, dtype, 3000)
    array[:3] = (0, array[2], array[1])
    data = array.tobytes() + tail
    payload = Sparse().encode(data, [Part(len(data), 8 * array.itemsize, array.shape)])
    assert Sparse().decode(payload, len(data)) == data


def test_elements_of_several_widths_are_taken_as_bytes():
    parts = [Part(4, 32, (1,)), Part(2, 16, (1,))]
    assert Sparse().decode(Sparse().encode(b"\0\0\0ab\0", parts), 6) == b"\0\0\0ab\0"


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_pruned_floats_take_the_entropy_of_their_places_and_what_the_others_take(share):
    array = pruned(share)
    others = array[array != 0]
    share = others.size / array.size
    places = -array.size * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    alone = len(Rans().encode(others.tobytes()))
    # gaps are coded by frequencies of four significant bits, after a table of 256 levels
    assert len(coded(array)) < 1.01 * places + alone + 200


def test_zeros_take_a_few_bytes():
    assert len(coded(np.zeros(10**6, np.float32))) < 60


def forge(size=12, gaps=b"\1\0", others=b"abcdefgh", rest=b"", **told):
    """By default, of the elements 0, b"abcd", b"efgh"; `told` are numbers that may lie."""
    first = Rans().encode(gaps)
    head = BitWriter()
    head.put_size(size)
    head.put(2, 2)
    head.put_size(told.get("n_gaps", len(gaps)))
    head.put_size(told.get("n_others", len(others) // 4))
    head.put_size(told.get("coded", len(first)))
    return head.to_bytes() + first + b"!" * (size % 4) + Rans().encode(others) + rest


def test_what_is_forged_well_is_read():
    assert Sparse().decode(forge(), 12) == b"\0\0\0\0abcdefgh"
    assert Sparse().decode(forge(size=13), 13) == b"\0\0\0\0abcdefgh!"


HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("problem", "payload"),
    [
        ("payload of 16 bytes where 12 belong", forge(size=16)),
        ("payload ends too early", forge()[:1]),
        (f"{HUGE} gaps and 2 others for 3 elements", forge(n_gaps=HUGE)),
        (f"2 gaps and {HUGE} others for 3 elements", forge(n_others=HUGE)),
        ("gaps do not fill 3 bytes", forge(gaps=b"\2\0")),
        ("gaps do not fill 3 bytes", forge(gaps=b"\1")),
        ("payload of 8 bytes where 4 belong", forge(gaps=b"\2", n_others=1)),
        ("a zero among what is not", forge(others=b"abcd\0\0\0\0")),
        ("planes end at byte", forge(rest=b"!")),
        ("payload ends too early", forge(coded=0)),
    ],
    ids=range(10),
)
def test_forged_payloads_are_refused(problem, payload):
    with pytest.raises(FormatError, match=problem):
        Sparse().decode(payload, 12)
