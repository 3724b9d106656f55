"""Directories of models are coded with a dictionary that never changes."""

import hashlib
import struct
import zlib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tersor.codecs.zstd import Zstd
from tersor.errors import FormatError
from tersor.store import primed
from tersor.store.container import Reader, encode
from tersor.store.model import load_model, save_model
from tersor.store.sizes import sizes


def lenet():
    """LeNet-5 as ONNX: 431,080 weights, here all zeros."""
    conv = {"dilations": [1, 1], "group": 1, "pads": [0] * 4, "strides": [1, 1]}
    pool = {"ceil_mode": 0, "dilations": [1, 1], "kernel_shape": [2, 2], "strides": [2, 2]}
    steps = [
        (
            "Conv",
            ["image", "conv1.weight", "conv1.bias"],
            "conv2d",
            {**conv, "kernel_shape": [5, 5]},
        ),
        ("MaxPool", ["conv2d"], "max_pool2d", pool),
        (
            "Conv",
            ["max_pool2d", "conv2.weight", "conv2.bias"],
            "conv2d_1",
            {**conv, "kernel_shape": [5, 5]},
        ),
        ("MaxPool", ["conv2d_1"], "max_pool2d_1", pool),
        ("Flatten", ["max_pool2d_1"], "flatten", {"axis": 1}),
        ("Gemm", ["flatten", "fc1.weight", "fc1.bias"], "linear", {"transB": 1}),
        ("Relu", ["linear"], "relu", {}),
        ("Gemm", ["relu", "fc2.weight", "fc2.bias"], "output", {"transB": 1}),
    ]
    shapes = {
        "conv1": (20, 1, 5, 5),
        "conv2": (50, 20, 5, 5),
        "fc1": (500, 800),
        "fc2": (10, 500),
    }
    weights = []
    for name, shape in shapes.items():
        weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"{name}.weight"))
        weights.append(
            numpy_helper.from_array(np.zeros(shape[:1], np.float32), f"{name}.bias")
        )
    graph = helper.make_graph(
        [helper.make_node(op, given, [out], out, **kw) for op, given, out, kw in steps],
        "network",
        [helper.make_tensor_value_info("image", 1, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("output", 1, [1, 10])],
        weights,
    )
    return helper.make_model(graph).SerializeToString()


def test_the_graph_of_lenet_with_names_and_shapes_takes_at_most_400_bytes(tmp_path):
    size = save_model(tmp_path / "m.tsr", lenet(), {})
    assert load_model(tmp_path / "m.tsr")[0] == lenet()
    with Reader(tmp_path / "m.tsr") as reader:
        assert reader.overhead <= 400
    found = {stream.name: stream.stored for stream in sizes(tmp_path / "m.tsr").streams}
    assert sum(found.values()) == pytest.approx(size)
    assert 100 < found["graph"] < 300


def test_the_dictionary_is_what_it_was():
    content = resources.files("tersor.store").joinpath("dictionary_1.bin").read_bytes()
    assert (
        hashlib.sha256(content).hexdigest()
        == "b462608d22c41da09e8cad9afe4aa2c28f93e75db5feac3f323d933399b2001f"
    )


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_come_back(data):
    assert primed.decode(primed.encode(data), len(data)) == data


# Written by the first version, with zstd 1.5.
GOLDEN = "2033dd000090713120616e642077686174206973206e65770200c090b7947c05"


def test_a_frame_of_the_first_version_is_read():
    assert (
        primed.decode(bytes.fromhex(GOLDEN), 51)
        == b"quantizers.node_conv2d_1.zero_point and what is new"
    )


def test_models_say_that_they_use_it_and_others_do_not():
    for kind, flag in (
        ("model", 128),
        ("packed onnx", 128),
        ("tensors", 0),
        ("packed npz", 0),
    ):
        data = encode({}, {"skeleton": b"kernel_shape" * 9}, kind=kind)
        assert data[5] & 128 == flag
        with Reader(data) as reader:
            assert reader.kind == kind
            assert reader.section("skeleton") == b"kernel_shape" * 9


def test_models_without_it_are_read():
    directory = b"\x01\x08skeleton\x78" + b"abc" * 40 + bytes(3)
    header = b"\x89TSR\x01\x01"
    stored = Zstd().encode(directory)
    assert len(stored) < len(directory)
    lengths = struct.pack("<II", len(directory), len(stored))
    checksum = struct.pack("<I", zlib.crc32(header + stored + lengths))
    with Reader(header + stored + lengths + checksum) as reader:
        assert reader.kind == "model"
        assert reader.section("skeleton") == b"abc" * 40


def test_damaged_frames_are_refused():
    data = b"quantizers_node_conv2d_1.quantizelinear and more"
    frame = primed.encode(data)
    for wrong in (len(data) - 1, len(data) + 1, 2**40):
        with pytest.raises(FormatError, match=f"zstd frame of {len(data)} bytes for {wrong}"):
            primed.decode(frame, wrong)
    for cut in range(len(frame)):
        with pytest.raises(FormatError, match="zstd frame"):
            primed.decode(frame[:cut], len(data))
    with pytest.raises(FormatError, match="zstd frame is damaged"):
        primed.decode(frame + b"a", len(data))
