"""A model that keeps its weights in other files works like one that holds them itself."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import by_runtime, floats, model, node

import tersor
from tersor.cli.app import run
from tersor.errors import FileError, FormatError, ModelError
from tersor.network.from_onnx.external import embedded
from tersor.reading import read
from tersor.store.model import load_model, save_model

FEEDS = {"x": floats(2, 3, seed=1)}


def example():
    """Weights of floats and integers, and a constant."""
    codes = np.arange(-3, 3, dtype=np.int8).reshape(3, 2)
    value = numpy_helper.from_array(floats(2, seed=3), "c")
    nodes = [
        node("MatMul", "x w", "a"),
        node("DequantizeLinear", "q s", "d"),
        node("MatMul", "a d", "b"),
        node("Constant", "", "c", value=value),
        node("Add", "b c", "y"),
    ]
    weights = {"w": floats(3, 3), "q": codes, "s": np.float32(0.5)}
    made = model(nodes, {"x": ["N", 3]}, ["y"], weights)
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["N", 2]))
    return made


@pytest.fixture
def path(tmp_path):
    """The example, every tensor in the file beside it."""
    target = tmp_path / "m.onnx"
    onnx.save_model(
        example(), target, save_as_external_data=True, location="m.bin", size_threshold=0,
        convert_attribute=True,
    )  # fmt: skip
    assert (tmp_path / "m.bin").stat().st_size >= 3 * 3 * 4 + 6 + 4 + 2 * 4
    return target


def test_the_original_holds_its_data_itself(path):
    whole = onnx.load_model_from_string(read(path).onnx)
    assert all(t.data_location != TensorProto.EXTERNAL for t in whole.graph.initializer)
    (found,), (wanted,) = by_runtime(whole, FEEDS), by_runtime(example(), FEEDS)
    assert found.tobytes() == wanted.tobytes()


def test_it_is_stored_as_a_whole(path):
    whole = read(path).onnx
    save_model(path.with_name("m.tsr"), whole, {})
    assert load_model(path.with_name("m.tsr"))[0] == whole


def test_it_runs_from_its_path(path):
    (wanted,) = by_runtime(example(), FEEDS)
    assert (
        tersor.open(path, engine="onnxruntime").run(FEEDS)["y"].tobytes() == wanted.tobytes()
    )


def test_a_model_without_other_files_is_left_as_it_is(tmp_path):
    data = example().SerializeToString()
    assert embedded(data, tmp_path) is data
    named = helper.make_model(example().graph, producer_name="location")
    assert embedded(named.SerializeToString(), tmp_path) == named.SerializeToString()


def changed(path, **fields):
    """The file with other facts about its first tensor."""
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    for key, value in fields.items():
        if key == "dims":
            tensor.dims[0] = value
        elif key == "data_type":
            tensor.data_type = value
        else:
            next(e for e in tensor.external_data if e.key == key).value = value
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("kind", "words", "fields"),
    [
        (ModelError, "outside the folder", {"location": "../secret"}),
        (FormatError, "beyond the end of m.bin", {"offset": "999999"}),
        (FormatError, "has 36 bytes where 48 belong", {"dims": 4}),
        (FormatError, r"has the shape \(-1, 3\)", {"dims": -1}),
        (ModelError, "holds elements of type 99", {"data_type": 99}),
        (FileError, "holds a model of more than 2 GiB", {"dims": 1 << 40}),
        (FileError, "is no file", {"location": "absent"}),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_read(path, kind, words, fields):
    with pytest.raises(kind, match=words):
        embedded(changed(path, **fields), path.parent)


def test_four_bits_are_half_a_byte(tmp_path):
    (tmp_path / "q.bin").write_bytes(b"\x21\x03\xff")
    tensor = TensorProto(name="q", data_type=TensorProto.INT4, dims=[3], data_location=1)
    tensor.external_data.add(key="location", value="q.bin")
    graph = helper.make_graph([node("Identity", "q", "y")], "g", [], [], [tensor])
    data = embedded(helper.make_model(graph).SerializeToString(), tmp_path)
    (found,) = onnx.load_model_from_string(data).graph.initializer
    assert found.raw_data == b"\x21\x03"


@pytest.mark.parametrize("command", ["inspect", "pack"])
def test_the_command_line_reads_it(path, capsys, command):
    more = ["-o", str(path.with_name("o.tsr"))] if command == "pack" else []
    assert run([command, str(path), *more]) == 0
    assert capsys.readouterr().err == ""
