"""Sizes by tensor and stream add up to the file, and stand beside the order-0 entropy."""

import math
from collections import Counter

import ml_dtypes
import numpy as np
import pytest

from tersor.errors import FormatError, InputError
from tersor.store.container import Reader, encode
from tersor.store.directory import Entry
from tersor.store.elements import CODES, to_bytes
from tersor.store.sizes import order0, sizes, stream_of


def entropy(symbols):
    """Bytes by the definition, symbol by symbol."""
    counts, n = Counter(symbols), len(symbols)
    return sum(c * math.log2(n / c) for c in counts.values()) / 8


def bound(array):
    code = CODES[array.dtype.name]
    return order0(bytes(to_bytes(array, code)), Entry("w", code, array.shape))


def example():
    rng = np.random.default_rng(0)
    return {
        "fc.weight": rng.normal(0, 0.02, (200, 300)).astype(np.float32),
        "fc.codes": rng.binomial(6, 0.5, (300, 40)).astype(np.int8),
        "fc.scale": rng.random(40).astype(np.float32),
        "none": np.zeros((0, 3), np.int64),
    }


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "int4", "uint4"])
@pytest.mark.parametrize("n", [1, 7, 64, 1001])
def test_the_bound_of_small_elements_is_their_entropy(dtype, n):
    symbols = np.random.default_rng(n).integers(0, 2 if dtype == "bool" else 5, n)
    array = symbols.astype(ml_dtypes.int4 if dtype == "int4" else dtype)
    assert bound(array) == pytest.approx(entropy(symbols.tolist()), abs=1e-9)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_the_bound_of_wider_elements_is_that_of_their_bytes_turned_or_not(dtype):
    width = np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    array = (rng.integers(0, 50, 999) << (8 * width - 9)).astype(dtype)
    turned = array << 1 | array >> 8 * width - 1
    expected = [
        sum(entropy(a.view(np.uint8).reshape(-1, width)[:, i].tolist()) for i in range(width))
        for a in (array, turned.astype(dtype))
    ]
    assert expected[0] > expected[1]
    assert bound(array) == pytest.approx(expected[1], abs=1e-9)


def test_complex_numbers_count_as_their_parts():
    parts = np.random.default_rng(0).normal(0, 1, 500).astype(np.float32)
    assert bound(parts.view(np.complex64)) == bound(parts)


def test_data_longer_than_one_chunk_is_counted_as_one(monkeypatch):
    monkeypatch.setattr("tersor.store.sizes._CHUNK", 1000)
    array = np.arange(5000, dtype=np.uint32).view(np.uint8)
    assert bound(array) == pytest.approx(entropy(array.tolist()), rel=1e-12)


def test_streams_add_up_to_the_file():
    data = encode(example(), {"skeleton": b"ab" * 500, "meta": b"{}", "big": bytes(70_000)})
    found = sizes(data)
    assert math.fsum(s.stored for s in found.streams) == pytest.approx(len(data), abs=1e-6)
    assert found.file_bytes == len(data)
    assert [t.name for t in found.tensors] == list(example())
    by_name = {s.name: s for s in found.streams}
    assert set(by_name) == {
        *("weights", "codes", "scales", "integers", "graph", "notes", "headers")
    }
    assert by_name["graph"].size == 1000
    assert by_name["graph"].bound == 1000 / 8
    assert by_name["notes"].size == 70_002
    assert by_name["weights"].size == 240_000
    stored = [s.stored for s in found.streams]
    assert stored == sorted(stored, reverse=True)
    assert all(s.stored > 0 for s in found.streams if s.size)


def test_a_tensor_of_its_own_block_is_near_its_bound():
    found = {t.name: t for t in sizes(encode(example(), {}, codec="rans")).tensors}
    for name in ("fc.weight", "fc.codes"):
        tensor = found[name]
        assert tensor.codec == "rans"
        assert tensor.bound < tensor.stored < 1.02 * tensor.bound + 200


def test_a_tensor_shares_its_block_by_size():
    many = {f"t{i}": np.full((50 * (i + 1),), i, np.int8) for i in range(4)}
    with Reader(encode(many, {})) as reader:
        stored = [reader.stored(name) for name in many]
        assert reader.info("t3").stored == round(stored[3])
        assert sum(stored) == pytest.approx(reader.size - reader.overhead)
    assert stored[3] == pytest.approx(4 * stored[0])


def test_unknown_names_are_refused():
    with Reader(encode(example(), {})) as reader:
        with pytest.raises(InputError, match=r"one of fc\.weight"):
            reader.stored("fc")
        with pytest.raises(FormatError, match="section 'meta' is missing"):
            reader.section_stored("meta")


@pytest.mark.parametrize(
    ("name", "dtype", "stream"),
    [
        ("fc.weight", "float32", "weights"),
        ("fc.weight", "bfloat16", "weights"),
        ("fc.weight", "float8_e4m3fn", "weights"),
        ("fc.weight", "complex64", "weights"),
        ("fc.weight", "int8", "codes"),
        ("fc.weight", "uint4", "codes"),
        ("fc.weight.codes", "int32", "codes"),
        ("fc.weight.scale", "float32", "scales"),
        ("model/fc_scales_2", "float16", "scales"),
        ("fc.weight.zero_point", "int8", "zero points"),
        ("fc.codebook", "float32", "tables"),
        ("fc.indices", "uint8", "indices"),
        ("fc.positions", "uint8", "positions"),
        ("mask", "bool", "integers"),
        ("shape", "int64", "integers"),
        ("", "int64", "integers"),
        ("Autoscale", "float32", "weights"),
    ],
)
def test_streams_are_told_by_name_and_type(name, dtype, stream):
    assert stream_of(Entry(name, CODES[dtype], (2,))) == stream


def test_damage_is_found():
    data = bytearray(encode(example(), {}))
    data[5000] ^= 1
    with pytest.raises(FormatError):
        sizes(bytes(data))
