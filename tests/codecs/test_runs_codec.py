"""The payload of runs of zeros: what released ones decode to, how short, what is refused."""

import numpy as np
import pytest

from tersor.codecs.rans import Rans
from tersor.codecs.runs import Runs
from tersor.errors import FormatError
from tersor.kernels.tables import BitWriter


def sparse(share, count=2**18):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 4, count).round().clip(-128, 127)
    return np.where(rng.random(count) < share, values, 0).astype(np.int8)


def test_payloads_of_0_1_0_are_read_and_written_again():
    text = bytes(600) + b"a" + bytes(3) + b"bb" + bytes(70)
    payload = "0aa9438587034301ffff5a0300c200616262"
    assert Runs().decode(bytes.fromhex(payload), len(text)) == text
    assert Runs().encode(text).hex() == payload


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1])
def test_sparse_bytes_come_near_their_entropy(share):
    data = sparse(share)
    counts = np.unique(data, return_counts=True)[1]
    bound = float((counts * np.log2(data.size / counts)).sum()) / 8
    assert len(Runs().encode(data.tobytes())) < 1.02 * bound + 320  # two tables of 256 levels


def test_zeros_take_a_few_bytes():
    assert len(Runs().encode(bytes(10**6))) < 50


def forge(size=4, gaps=b"\0\2", values=b"ab", n_gaps=None, coded=None, rest=b""):
    """By default, of b"a..b"."""
    first = Rans().encode(gaps)
    head = BitWriter()
    head.put_size(size)
    head.put_size(len(gaps) if n_gaps is None else n_gaps)
    head.put_size(len(values))
    head.put_size(len(first) if coded is None else coded)
    return head.to_bytes() + first + Rans().encode(values) + rest


def test_what_is_forged_well_is_read():
    assert Runs().decode(forge(), 4) == b"a\0\0b"


@pytest.mark.parametrize(
    ("problem", "payload"),
    [
        ("payload of 5 bytes where 4 belong", forge(size=5)),
        ("payload ends too early", forge()[:1]),
        ("9223372036854775807 gaps and 2 values for 4 bytes", forge(n_gaps=2**63 - 1)),
        ("2 gaps and 5 values for 4 bytes", forge(values=b"abcde")),
        ("payload of 2 bytes where 1 belong", forge(n_gaps=1)),
        ("gaps do not fill 4 bytes", forge(gaps=b"\0\3")),
        ("gaps do not fill 4 bytes", forge(gaps=b"\0\2", values=b"a")),
        ("gaps do not fill 4 bytes", forge(values=b"a\0")),
        ("planes end at byte", forge(rest=b"!")),
        ("payload ends too early", forge(coded=0)),
    ],
    ids=range(10),
)
def test_forged_payloads_are_refused(problem, payload):
    with pytest.raises(FormatError, match=problem):
        Runs().decode(payload, 4)
