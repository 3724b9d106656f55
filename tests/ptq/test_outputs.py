"""What tools have written: bytes, forms, engines; and the race of it."""

import argparse
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from benchmarks import outputs, racing
from benchmarks.remote import TorchServer
from benchmarks.running import Done

from tersor.errors import EngineError
from tersor.testing import onnx_models

NOBODY = TorchServer(1, Path("/absent"))


@pytest.fixture
def folder(tmp_path):
    """A tool has written a small network as ONNX."""
    (tmp_path / "model.onnx").write_bytes(onnx_models.perceptron())
    return tmp_path


@pytest.fixture
def feeds(folder):
    return {"x": inputs(folder, 4)}


def inputs(folder, count):
    (port,) = onnx.load(folder / "model.onnx").graph.input
    assert port.name == "x"
    width = port.type.tensor_type.shape.dim[1].dim_value
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


def as_ir(folder, target):
    target.mkdir()
    model = openvino.Core().read_model(folder / "model.onnx")
    openvino.save_model(model, target / "model.xml", compress_to_fp16=False)
    return target


def test_a_tsr_stands_for_the_onnx_beside_it(folder):
    assert outputs.size_bytes(folder) == len(onnx_models.perceptron())
    (folder / "model.tsr").write_bytes(b"123")
    assert outputs.size_bytes(folder) == 3
    assert list(outputs.able(folder)) == ["openvino", "onnxruntime", "tersor.open"]


def test_an_openvino_model_is_both_of_its_files(folder, tmp_path):
    ir = as_ir(folder, tmp_path / "ir")
    sizes = [(ir / name).stat().st_size for name in ("model.xml", "model.bin")]
    assert outputs.size_bytes(ir) == sum(sizes)
    assert list(outputs.able(ir)) == ["openvino"]


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no network"):
        outputs.stored(tmp_path)


def test_packing_finds_what_repeats(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"0" * 10_000)
    assert outputs.packed_bytes(tmp_path) < 100
    assert list(outputs.able(tmp_path)) == ["torch"]


def test_other_numbers_are_the_same_form_and_another_node_is_not(folder):
    before = outputs.form(folder)
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        zeros = np.zeros_like(onnx.numpy_helper.to_array(tensor))
        tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    onnx.save(model, folder / "model.onnx")
    assert outputs.form(folder) == before
    model.graph.node[0].op_type = "Identity"
    onnx.save(model, folder / "model.onnx")
    assert outputs.form(folder) != before


def test_an_openvino_model_runs_as_its_onnx_file_does(folder, feeds, tmp_path):
    ir = as_ir(folder, tmp_path / "ir")
    found = outputs.run_all(ir, feeds, 4, NOBODY)
    wanted = outputs.run_all(folder, feeds, 4, NOBODY)
    assert found.tobytes() == wanted.tobytes()
    split = outputs.run_all(ir, feeds, 3, NOBODY)  # and for a rest of one sample
    np.testing.assert_allclose(split, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_what_openvino_refuses_is_an_engine_error(folder, tmp_path):
    ir = as_ir(folder, tmp_path / "ir")
    with pytest.raises(EngineError, match="openvino refused the model"):
        outputs.contestant(ir, "openvino", {"x": np.zeros((1, 5), np.float32)}, NOBODY)


def test_no_engine_is_an_error_with_the_last_reason(tmp_path, feeds):
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(EngineError, match="has no environment"):
        outputs.run_all(tmp_path, feeds, 4, NOBODY)


def test_a_race_times_equal_forms_once_and_all_against_float(folder, tmp_path, monkeypatch):
    """Two settings of one peer differ in numbers only; what no engine takes is refused."""
    same, broken = as_ir(folder, tmp_path / "a"), tmp_path / "b"
    again = as_ir(folder, tmp_path / "c")
    broken.mkdir()
    (broken / "model.pt2").write_bytes(b"")
    racers = [
        Done("float", "original", folder),
        Done("nncf", "one", same),
        Done("nncf", "two", again),
        Done("torchao", "static", broken),
    ]
    seen = []
    real = racing.race
    monkeypatch.setattr(
        racing, "race", lambda c, **terms: seen.append(len(c)) or real(c, **terms)
    )
    given = argparse.Namespace(rounds=2, seconds=1.0)
    speeds = racing.race_all(racers, {"x": inputs(folder, 16)}, NOBODY, given)
    assert seen == [3, 3]  # float on two engines, and one form of the peer
    assert speeds[1] == speeds[2]
    fastest = min(speeds[0][f"{e} 1"]["median_ms"] for e in ("openvino", "onnxruntime"))
    assert speeds[1]["openvino 1"]["float_ms"] == fastest
    assert set(speeds[1]) == {"openvino 1", "openvino 16"}
    assert speeds[1]["openvino 16"]["over_peers"]["median"] == 1.0
    assert "no environment" in speeds[3]["refused"]["torch"]
