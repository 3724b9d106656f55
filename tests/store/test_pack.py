"""Packed files come back byte for byte, whatever they hold."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tersor.errors import FileError, FormatError, InputError
from tersor.store.container import Reader, write
from tersor.store.model import list_tensors, load_tensor, save_model
from tersor.store.pack import pack, unpack
from tersor.store.safetensors_header import find


def onnx_bytes():
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 1, (50, 60)).astype(np.float32), "w")
    steps = helper.make_tensor("steps", TensorProto.INT64, [3], [1, 2, 300])
    graph = helper.make_graph([], "g", [], [], [weight, steps])
    return helper.make_model(graph).SerializeToString()


def safetensors_bytes():
    rng = np.random.default_rng(0)
    tensors = {
        "fc.weight": rng.normal(0, 1, (30, 40)).astype(np.float32),
        "ids": np.arange(1000),
        "flags": rng.random(9) > 0.5,
        "empty": np.zeros((0, 2), np.float16),
    }
    return safetensors.numpy.save(tensors, {"made": "by hand"})


def forged(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def there_and_back(folder, name, data):
    (folder / name).write_bytes(data)
    packed = pack(folder / name, folder / "packed.tsr")
    unpacked = unpack(folder / "packed.tsr", folder / f"again_{name}")
    assert (folder / f"again_{name}").read_bytes() == data
    return packed, unpacked


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.onnx", onnx_bytes()),
        ("m.safetensors", safetensors_bytes()),
        ("M.ONNX", b"\x08\x08"),
    ],
    ids=["onnx", "safetensors", "almost_nothing"],
)
def test_bytes_come_back(tmp_path, name, data):
    packed, unpacked = there_and_back(tmp_path, name, data)
    stored = (tmp_path / "packed.tsr").stat().st_size
    assert (packed.original_bytes, packed.stored_bytes) == (len(data), stored)
    assert (unpacked.original_bytes, unpacked.stored_bytes) == (len(data), stored)
    assert packed.tensors == unpacked.tensors == list_tensors(tmp_path / "packed.tsr")
    assert packed.seconds > 0


def test_packing_makes_smaller(tmp_path):
    packed, _ = there_and_back(tmp_path, "m.safetensors", safetensors_bytes())
    assert packed.stored_bytes < 0.6 * packed.original_bytes
    assert list(packed.tensors) == ["ids", "fc.weight", "flags"]
    assert packed.tensors["ids"].dtype == "int64"


def test_tensors_of_a_packed_file_can_be_read(tmp_path):
    there_and_back(tmp_path, "m.safetensors", safetensors_bytes())
    assert np.array_equal(load_tensor(tmp_path / "packed.tsr", "ids"), np.arange(1000))


def test_kinds_are_noted(tmp_path):
    for name, data, kind in (
        ("m.onnx", onnx_bytes(), "packed onnx"),
        ("m.safetensors", safetensors_bytes(), "packed safetensors"),
    ):
        there_and_back(tmp_path, name, data)
        with Reader(tmp_path / "packed.tsr") as reader:
            assert reader.kind == kind


def test_same_file_packs_to_the_same_bytes(tmp_path):
    (tmp_path / "m.onnx").write_bytes(onnx_bytes())
    for target in ("a.tsr", "b.tsr"):
        pack(tmp_path / "m.onnx", tmp_path / target)
    assert (tmp_path / "a.tsr").read_bytes() == (tmp_path / "b.tsr").read_bytes()


def test_gaps_and_strange_tensors_come_back(tmp_path):
    header = {
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [10, 14]},
        "a": {"dtype": "F6_E3M2", "shape": [4], "data_offsets": [0, 3]},
        "wrong": {"dtype": "I8", "shape": [9], "data_offsets": [4, 6]},
        "shapeless": {"dtype": "I8", "data_offsets": [6, 7]},
        "deep": {"dtype": "I8", "shape": [1] * 17, "data_offsets": [7, 8]},
    }
    packed, _ = there_and_back(tmp_path, "m.safetensors", forged(header, bytes(range(20))))
    kinds = {name: (info.dtype, info.shape) for name, info in packed.tensors.items()}
    assert kinds == {
        "a": ("uint8", (3,)),
        "wrong": ("uint8", (2,)),
        "shapeless": ("uint8", (1,)),
        "deep": ("uint8", (1,)),
        "b": ("float32", (1,)),
    }


def test_every_safetensors_type_is_known():
    sizes = {"BOOL": 1, "I8": 1, "U8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8}
    sizes |= {"U64": 8, "F16": 2, "F32": 4, "F64": 8, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
    sizes["C64"] = 8
    for name, size in sizes.items():
        header = {"w": {"dtype": name, "shape": [3], "data_offsets": [0, 3 * size]}}
        (hole,) = find(forged(header, bytes(3 * size)))
        assert hole.entry.shape == (3,), name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.binary(min_size=1, max_size=200), st.sampled_from(["m.onnx", "m.safetensors"]))
def test_any_bytes_come_back_or_are_refused(tmp_path, data, name):
    try:
        there_and_back(tmp_path, name, data)
    except FileError:
        assert not (tmp_path / "again").exists()


W = {"dtype": "I8", "shape": [2]}


@pytest.mark.parametrize(
    ("problem", "data"),
    [
        ("a header of 5 bytes cannot be", struct.pack("<Q", 5) + b"{}"),
        ("a header of 100000001 bytes cannot be", struct.pack("<Q", 100_000_001)),
        ("a header of 98 bytes cannot be", b"b"),
        ("not JSON", forged(b"{")),
        ("not JSON", forged(b"\xff")),
        ("not JSON", forged(b"[" * 50_000)),
        ("not a JSON object", forged([])),
        ("'w' has no place", forged({"w": 1})),
        ("'w' has no place", forged({"w": W})),
        ("'w' has no place", forged({"w": {**W, "data_offsets": [0]}})),
        ("'w' has no place", forged({"w": {**W, "data_offsets": [0, -1]}})),
        ("'w' has no place", forged({"w": {**W, "data_offsets": [0, True]}})),
        ("'w' ends at .*, the file at", forged({"w": {**W, "data_offsets": [0, 2]}}, b"a")),
        ("'w' ends at", forged({"w": {**W, "data_offsets": [2, 0]}}, b"ab")),
        (
            "'w' and 'v' overlap",
            forged(
                {"w": {**W, "data_offsets": [0, 2]}, "v": {**W, "data_offsets": [1, 3]}},
                b"abc",
            ),
        ),
    ],
)
def test_forged_header_is_refused(tmp_path, problem, data):
    with pytest.raises(FormatError, match=problem):
        find(data)
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(FileError, match=rf"m\.safetensors cannot be packed: .*{problem}"):
        pack(tmp_path / "m.safetensors", tmp_path / "m.tsr")
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("m.onnx", onnx_bytes()[:-3], "cannot be packed: a protobuf number is cut"),
        ("m.onnx", b"", "is empty"),
        ("m.txt", b"abc", r"Give one of these: \.onnx, \.safetensors, \.npz"),
    ],
    ids=["cut", "empty", "other_format"],
)
def test_what_cannot_be_packed_is_refused(tmp_path, name, data, problem):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError, match=problem):
        pack(tmp_path / name, tmp_path / "m.tsr")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_model_with_external_data_is_not_saved(tmp_path):
    outside = TensorProto(name="fc.weight", data_type=1, dims=[1], data_location=1)
    model = helper.make_model(helper.make_graph([], "g", [], [], [outside]))
    with pytest.raises(FormatError, match=r"'fc\.weight' keeps its data in another file"):
        save_model(tmp_path / "m.tsr", model.SerializeToString(), {})


def test_paths_that_cannot_be_used_are_file_errors(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        pack(tmp_path / "m.onnx", tmp_path / "m.tsr")
    (tmp_path / "m.onnx").write_bytes(onnx_bytes())
    with pytest.raises(FileError, match="cannot be written"):
        pack(tmp_path / "m.onnx", tmp_path / "no" / "m.tsr")
    with pytest.raises(InputError, match="codec must be one of fast, auto"):
        pack(tmp_path / "m.onnx", tmp_path / "m.tsr", codec="zip")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_model_is_not_unpacked(tmp_path):
    save_model(tmp_path / "m.tsr", onnx_bytes(), {})
    with pytest.raises(FileError, match=r"holds 'model', not a packed file.*tersor export"):
        unpack(tmp_path / "m.tsr", tmp_path / "m.onnx")
    write(tmp_path / "t.tsr", {}, {})
    with pytest.raises(FileError, match="holds 'tensors'"):
        unpack(tmp_path / "t.tsr", tmp_path / "m.onnx")


def test_damage_leaves_no_file(tmp_path):
    (tmp_path / "m.onnx").write_bytes(onnx_bytes())
    pack(tmp_path / "m.onnx", tmp_path / "m.tsr")
    data = bytearray((tmp_path / "m.tsr").read_bytes())
    data[1000] ^= 1
    (tmp_path / "m.tsr").write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        unpack(tmp_path / "m.tsr", tmp_path / "again.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.tsr"]


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([b"\x08\x09"], "reads back differently, at byte 0"),
        ([b"\x08"], "1 bytes of a file are missing, at byte 1"),
        ([b"\x08\x08", b"\x08"], "reads back longer, at byte 2"),
    ],
    ids=["other", "cut", "grown"],
)
def test_a_packed_file_that_reads_back_differently_is_refused(
    tmp_path, monkeypatch, pieces, problem
):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    monkeypatch.setattr("tersor.store.pack.join", lambda _: iter(pieces))
    with pytest.raises(FormatError, match=problem):
        pack(tmp_path / "m.onnx", tmp_path / "m.tsr")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_an_unpacked_file_that_reads_back_differently_is_refused(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(onnx_bytes())
    pack(tmp_path / "m.onnx", tmp_path / "m.tsr")
    monkeypatch.setattr("tersor.store.pack._checksum", lambda _: -1)
    with pytest.raises(FileError, match="reads back differently"):
        unpack(tmp_path / "m.tsr", tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_a_file_can_be_replaced_by_its_packed_self(tmp_path):
    (tmp_path / "m.onnx").write_bytes(onnx_bytes())
    pack(tmp_path / "m.onnx", tmp_path / "m.onnx")
    unpack(tmp_path / "m.onnx", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == onnx_bytes()
