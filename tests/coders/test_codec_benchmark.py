"""The benchmark of the codecs: what is coded, how it is counted and what the table says."""

import numpy as np
import pytest
import torch
from benchmarks import codecs, codecs_table, records
from benchmarks.codecs import Once


def test_what_is_pruned_is_four_fifths_of_all_weights():
    torch.manual_seed(0)
    weights = [torch.randn(40, 50), 3 * torch.randn(30, 20, 3, 3)]
    found = codecs.pruned(weights)
    assert [a.shape for a in found] == [(40, 50), (30, 20, 3, 3)]
    kept = sum(int((a != 0).sum()) for a in found) / sum(a.size for a in found)
    assert kept == pytest.approx(0.2, abs=0.001)
    assert max(int(np.abs(a).max()) for a in found) <= 16


def test_entropy_is_that_of_each_array_by_itself():
    arrays = [np.array([1, 1, 2, 2], np.int8), np.zeros(100, np.int8), np.arange(8)]
    assert codecs.entropy_bytes(arrays) == pytest.approx((4 * 1 + 0 + 8 * 3) / 8)


def test_unsigned_numbers_are_taken_less_their_most_frequent():
    given = np.array([7, 7, 7, 0, 255], np.uint8)
    np.testing.assert_array_equal(codecs.centred(given), [0, 0, 0, -7, 248])
    np.testing.assert_array_equal(codecs.centred(np.array([-3, 5], np.int8)), [-3, 5])


def test_blocks_hold_every_array_once():
    rng = np.random.default_rng(0)
    shapes = [(200, 400), (4, 5), (8, 8), (100, 100)]
    arrays = [rng.integers(-3, 4, shape).astype(np.int8) for shape in shapes]
    found = codecs.blocks("rans", arrays)
    assert sorted(a.shape for block in found for a in block) == sorted(shapes)
    assert len(found) < 4  # the small ones share their tables


def test_coders_take_turns_and_every_other_round_backwards():
    order = []

    def coder(name):
        return lambda arrays: order.append(name) or Once(len(arrays), 1.0, 2.0)

    runs = codecs.race({"a": coder("a"), "b": coder("b")}, [np.zeros(1)], 2)
    assert order == ["b", "a", "a", "b"]
    assert runs["a"] == [Once(1, 1.0, 2.0)] * 2


def row(coder, size, speed):
    ratio = {"median": speed, "q1": speed - 1, "q3": speed + 1}
    way = {"mb_s": 10 * speed, "over_nncodec": ratio, "over_zstd": ratio}
    return {
        "set": codecs.DEEP,
        "coder": coder,
        "bytes": size,
        "entropy_bytes": 1000.0,
        "speed": {"encode": way, "decode": way},
        "file_bytes": 4000,
        "tsr_bytes": 3000,
        "rounds": 3,
        "others_share": 0.25,
        "machine": {"cpu": "X"},
    }


def test_the_table_sets_bytes_beside_entropy_and_peer(monkeypatch):
    rows = [row("nncodec", 1100, 1.0), row("mixing", 990, 2.0), row("raw", 9999, 3.0)]
    monkeypatch.setattr(records, "read", lambda _: rows)
    lines = codecs_table.codecs().splitlines()
    assert len(lines) == 4
    assert "| mixing | 990 | -1.0 % | -10.0 % | 20 | 2 (1 to 3) |" in lines[2]
    assert "| nncodec | 1,100 | +10.0 % | +0.0 % |" in lines[3]
    assert "4,000 bytes: 3,000 bytes" in codecs_table.recoded()
    assert "-25.0 %" in codecs_table.recoded()
    assert codecs_table.measured().startswith("X, one thread, 3 rounds")


def test_the_page_says_where_nothing_was_measured(monkeypatch):
    monkeypatch.setattr(records, "read", lambda _: [])
    assert codecs_table.recoded() == codecs_table.measured() == "Not measured."
    assert len(codecs_table.codecs().splitlines()) == 2


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
def test_a_network_is_coded_and_compared():
    arrays = codecs.tensors("resnet44 pruned")
    own = codecs._own("context", arrays)(arrays)
    assert own.size < codecs.entropy_bytes(arrays)
    assert codecs._own("lanes", arrays)(arrays).size < 1.01 * own.size
    assert min(own.encode_s, own.decode_s) > 0
    assert codecs._zstd(arrays).size > own.size
    assert sum(a.size for a in arrays) == 655_408
