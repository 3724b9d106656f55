"""Which codec a block gets, and what is coded together."""

import numpy as np
import pytest

from tersor.codecs import find
from tersor.codecs.mixing import Mixing
from tersor.codecs.raw import Raw
from tersor.codecs.sparse import Sparse
from tersor.kernels import choose
from tersor.store import container, layout
from tersor.store.container import Reader, encode
from tersor.store.directory import Entry
from tersor.store.elements import CODES


def test_auto_leaves_out_what_is_slow_without_native_kernels(monkeypatch):
    for name, wanted in [
        ("reference", ["raw", "zstd"]),
        (
            "portable",
            ["raw", "huffman", "rans", "runs", "sparse", "zstd", "lanes", "context"],
        ),
    ]:
        made = choose.Choice(name, "a test asks for it", choose.LEVELS)
        monkeypatch.setattr(layout, "choice", lambda made=made: made)
        assert [one.codec.name for one in layout.candidates("auto")] == wanted
        wanted = wanted if name == "reference" else [*wanted, "mixing"]
        assert [one.codec.name for one in layout.candidates("best")] == wanted
        wanted = wanted if name == "reference" else ["raw", "rans"]
        assert [one.codec.name for one in layout.candidates("fast")] == wanted
    assert [one.codec.name for one in layout.candidates("rans")] == ["rans"]


def test_integers_are_not_tried_as_wide_elements(monkeypatch):
    def refuse(*_):
        raise AssertionError

    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    monkeypatch.setattr(Sparse, "encode", refuse)
    assert encode({"integers": np.arange(500).astype(np.int8)}, {})
    with pytest.raises(AssertionError):
        encode({"floats": np.arange(500.0)}, {})


def test_pruned_floats_are_coded_as_places_and_values(monkeypatch):
    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    rng = np.random.default_rng(0)
    floats = np.where(rng.random(2**12) < 0.1, rng.normal(size=2**12), 0).astype(np.float32)
    reader = Reader(encode({"pruned": floats}, {}))
    assert reader.info("pruned").codec == "sparse"
    found = reader.tensor("pruned")
    assert found.dtype == floats.dtype
    assert found.tobytes() == floats.tobytes()


@pytest.mark.parametrize(
    ("size", "whole"), [(2**15 - 1, 5), (2**15, 1)], ids=["smaller", "larger"]
)
def test_samples_choose_the_codec_of_large_blocks_of_wide_elements(monkeypatch, size, whole):
    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    given = []
    for name in ("huffman", "rans", "runs", "sparse", "zstd"):
        codec = find(name).CODEC

        def encode_seen(self, data, parts=(), *, encode=codec.encode):
            given.append(len(data))
            return encode(self, data, parts)

        monkeypatch.setattr(codec, "encode", encode_seen)
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    reader = Reader(encode({"floats": values}, {}))
    assert reader.info("floats").codec == "rans"
    assert reader.tensor("floats").tobytes() == values.tobytes()
    assert [length for length in given if length == values.nbytes] == [values.nbytes] * whole
    assert sum(length == 2**15 for length in given) == (0 if whole > 1 else 5)


def test_a_tensor_of_few_values_in_each_row_takes_the_strong_level_of_zstd():
    """Rows of 1,000 floats that were quantized to 31 numbers, each row by its own scale."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 5, (100, 1000)).round().clip(-15, 15)
    values = (numbers * rng.uniform(1, 2, (100, 1))).astype(np.float32)
    reader = Reader(encode({"rows": values}, {}))
    assert reader.info("rows").codec == "zstd"
    assert reader.size < 0.27 * values.nbytes  # 0.31 at the quick one
    assert reader.tensor("rows").tobytes() == values.tobytes()


def test_auto_leaves_the_slow_coder_to_small_blocks_and_best_is_no_larger(monkeypatch):
    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    rng = np.random.default_rng(0)
    scale = np.repeat([20.0, 0.3], 64)  # columns that the coders tell apart
    given = {
        name: rng.normal(0, scale, (rows, 128)).round().astype(np.int8)
        for name, rows in (("small", 3), ("large", 800))
    }
    auto, best = (Reader(encode(given, {}, codec=codec)) for codec in ("auto", "best"))
    assert [auto.info(name).codec for name in given] == ["context", "lanes"]
    for name, array in given.items():
        assert best.info(name).stored <= auto.info(name).stored
        np.testing.assert_array_equal(auto.tensor(name), array)
        np.testing.assert_array_equal(best.tensor(name), array)


class Sized(Raw):
    """Writes as many bytes as it is told."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def encode(self, data, parts=()):
        return bytes(self.size)


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((100, 200, 100, 100), "first"),
        ((200, 199, 199, 198), "second"),  # slower ones save less than a hundredth
        ((200, 200, 197, 197), "third"),
        ((1000, 1000, 989, 980), "third"),  # the last saves less than another one
        ((1000, 1000, 989, 979), "last"),
    ],
)
def test_what_is_slower_must_save_a_hundredth(sizes, wanted):
    names = ["first", "second", "third", "last"]
    coders = [
        layout.Candidate(Sized(name, size), 10**6, int(i > 1))
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]
    piece = layout._Piece(bytes(1000), ())
    assert layout._code(piece, coders).block.codec == wanted


def test_only_auto_wants_slower_coders_to_save_something(monkeypatch):
    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    wants = {one.codec.name: (one.saves, one.most) for one in layout.candidates("auto")}
    assert (wants["rans"][0], wants["lanes"], wants["context"]) == (0, (1, 2**24), (1, 2**14))
    assert {one.saves for one in layout.candidates("best")} == {0}


def test_best_does_not_try_the_slowest_coder_on_floats(monkeypatch):
    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    tried = []
    monkeypatch.setattr(Mixing, "encode", lambda _, data, parts: tried.append(parts) or data)
    encode({"w": np.ones((64, 64), np.float32)}, {}, codec="best")
    assert tried == []
    encode({"w": np.ones((64, 64), np.int8)}, {}, codec="best")
    assert [part.shape for (part,) in tried] == [(64, 64)]


def test_large_tensors_are_cut_between_rows(monkeypatch):
    monkeypatch.setattr(layout, "_LARGEST", 1000)
    entry = Entry("w", CODES["int8"], (50, 300))
    pieces = list(layout._pieces([layout.Item(entry, bytes(15_000))]))
    assert [len(piece.data) for piece in pieces] == [900] * 16 + [600]
    assert all(part.shape == (50, 300) for piece in pieces for part in piece.parts)


def test_auto_takes_the_shortest_and_small_tensors_share(monkeypatch):
    made = choose.Choice("portable", "a test asks for it", choose.LEVELS)
    monkeypatch.setattr(layout, "choice", lambda: made)
    rng = np.random.default_rng(0)
    tensors = {"zeros": np.zeros(70_000, np.int8), "noise": rng.bytes(70_000)}
    tensors["noise"] = np.frombuffer(tensors["noise"], np.uint8)
    tensors |= {f"scale{i}": rng.random(16, np.float32) for i in range(20)}
    reader = Reader(encode(tensors, {}))
    assert reader.info("zeros") == container.Info("int8", (70_000,), "rans", 70_000, 12)
    assert reader.info("noise") == container.Info("uint8", (70_000,), "raw", 70_000, 70_000)
    assert len(reader._run.blocks) == 3
    assert reader.info("scale3").stored <= 64
