"""A model that was saved comes back byte for byte, without PyTorch and without onnx."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tersor.errors import FileError, FormatError, InputError
from tersor.store.container import Reader, encode, write
from tersor.store.model import (
    list_tensors,
    load_meta,
    load_model,
    load_tensor,
    packed_bytes,
    save_model,
)

NODE = helper.make_node
META = {"engine": "onnxruntime", "recipe": {"steps": ["quantize.static"]}, "größe": 1.5}


def port(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def small_model():
    """Int8 weights, a bias, and a Constant node."""
    rng = np.random.default_rng(0)
    arrays = {
        "fc.weight": rng.integers(-128, 128, (10, 20)).astype(np.int8),
        "fc.scale": np.float32(0.1),
        "fc.bias": rng.random(20, np.float32),
    }
    table = numpy_helper.from_array(rng.random(20, np.float32))
    nodes = [
        NODE("DequantizeLinear", ["fc.weight", "fc.scale"], ["w"]),
        NODE("Gemm", ["x", "w", "fc.bias"], ["g"]),
        NODE("Constant", [], ["table"], value=table),
        NODE("Add", ["g", "table"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    graph = helper.make_graph(
        nodes, "g", [port("x", ["b", 10])], [port("y", ["b", 20])], tensors
    )
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return made.SerializeToString(deterministic=True), arrays


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.tsr"
    save_model(path, small_model()[0], META)
    return path


def test_model_and_notes_come_back(saved):
    data, meta = load_model(saved)
    assert data == small_model()[0]
    assert meta == META
    assert load_meta(saved) == META
    onnx.checker.check_model(onnx.load_model_from_string(data))


def test_bytes_can_be_loaded_too(saved):
    assert load_model(saved.read_bytes()) == load_model(saved)


def test_the_size_is_that_of_the_file(tmp_path):
    size = save_model(tmp_path / "m.tsr", small_model()[0], META)
    assert size == (tmp_path / "m.tsr").stat().st_size


def test_the_size_is_known_beforehand(tmp_path):
    path, model = tmp_path / "m.tsr", small_model()[0]
    assert packed_bytes(model) == save_model(path, model, {})


def test_same_inputs_give_the_same_bytes(saved, tmp_path):
    save_model(tmp_path / "again.tsr", small_model()[0], dict(reversed(META.items())))
    assert (tmp_path / "again.tsr").read_bytes() == saved.read_bytes()


def test_every_weight_is_an_entry_of_its_own(saved):
    listed = list_tensors(saved)
    assert list(listed) == ["table", "fc.weight", "fc.scale", "fc.bias"]
    assert listed["fc.weight"].dtype == "int8"
    assert listed["fc.weight"].shape == (10, 20)
    for name, array in small_model()[1].items():
        assert np.array_equal(load_tensor(saved, name), array)


def test_the_skeleton_holds_no_weights(saved):
    """Names, types and shapes of initializers stand in the directory only."""
    with Reader(saved) as reader:
        skeleton = reader.section("skeleton")
    assert skeleton[:9].hex() == "04" + skeleton[1:5].hex() + "00010101"
    assert b"fc.bias" in skeleton  # as an input of a node
    assert skeleton.count(b"fc.bias") == 1


def test_what_json_cannot_hold_is_refused(tmp_path):
    for meta in ({"a": {1}}, {"a": float("nan")}, {1: 2, "b": 3}):
        with pytest.raises(InputError, match="meta must be what JSON can hold"):
            save_model(tmp_path / "m.tsr", small_model()[0], meta)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_onnx_file_is_refused(tmp_path):
    with pytest.raises(FormatError, match="protobuf"):
        save_model(tmp_path / "m.tsr", small_model()[0][:-1], {})
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_reads_back_differently_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.store.model.joined", lambda _: b"other")
    with pytest.raises(FormatError, match="the model reads back differently"):
        save_model(tmp_path / "m.tsr", small_model()[0], {})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_model(saved, monkeypatch):
    before = saved.read_bytes()
    for place in ("tersor.store.model.write_to", "tersor.store.model.load_model"):

        def interrupt(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(place, interrupt)
            with pytest.raises(KeyboardInterrupt):
                save_model(saved, small_model()[0], {})
        assert [p.name for p in saved.parent.iterdir()] == ["model.tsr"]
        assert saved.read_bytes() == before


@pytest.mark.parametrize("load", [load_model, load_meta])
def test_the_wrong_kind_is_named(tmp_path, load):
    write(tmp_path / "p.tsr", {}, {}, kind="packed onnx")
    with pytest.raises(FileError, match=r"p\.tsr holds 'packed onnx', not 'model'.*unpack"):
        load(tmp_path / "p.tsr")


def test_a_model_that_cannot_be_written_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        save_model(tmp_path / "no" / "m.tsr", small_model()[0], {})


def forged(skeleton, meta=b"{}", tensors=None):
    tensors = {"w": np.array([7], np.int8)} if tensors is None else tensors
    return encode(tensors, {"skeleton": skeleton, "meta": meta}, kind="model")


def test_the_forge_makes_good_models():
    assert load_model(forged(b"\x01\x02\x00abcd"))[0] == b"ab\x07cd"
    head = bytes.fromhex("2a 0a 0801 1003 420177 4a01")  # a GraphProto's field 5, by hand
    assert load_model(forged(b"\x01\x02\x01abcd"))[0] == b"ab" + head + b"\x07cd"


@pytest.mark.parametrize(
    ("problem", "data"),
    [
        ("1 tensors for 2 holes", forged(b"\x02\0\0\0\0")),
        ("9 bytes wanted, 2 left", forged(b"\x01\x09\x00ab")),
        ("unknown kind of hole: 2", forged(b"\x01\x00\x02")),
        ("1 bytes wanted, 0 left", forged(b"")),
        ("meta is not JSON", forged(b"\0", b"{", {})),
        ("meta is not JSON", forged(b"\0", b"\xff", {})),
        ("meta is not JSON", forged(b"\0", b"[" * 50_000, {})),
        ("meta is not a JSON object", forged(b"\0", b"[]", {})),
        ("section 'skeleton' is missing", encode({}, {}, kind="model")),
    ],
)
def test_forged_model_is_refused(problem, data):
    with pytest.raises(FormatError, match=problem):
        load_model(data)


def test_every_damage_is_found(saved):
    whole = load_model(saved)
    data = saved.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        for damaged in (bytes(flipped), data[:place]):
            try:
                assert load_model(damaged) == whole
            except FormatError:
                continue


def test_opening_a_model_imports_neither_torch_nor_pickle(saved):
    script = (
        "import sys\n"
        "from tersor.store.model import load_model, load_tensor\n"
        "load_model(sys.argv[1]), load_tensor(sys.argv[1], 'fc.weight')\n"
        "import json; print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, saved],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    loaded = set(json.loads(done.stdout))
    assert "tersor.store.container" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "openvino", "joblib", "safetensors"}


def test_no_file_of_the_store_reads_pickles():
    from pathlib import Path

    import tersor.store

    files = sorted(Path(tersor.store.__path__[0]).glob("*.py"))
    assert len(files) > 10
    for file in files:
        assert "pickle" not in file.read_text(encoding="utf-8"), file.name
