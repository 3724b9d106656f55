"""Files that are damaged, dishonest, or ask for what Tersor cannot read."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import floats, model, node

from tersor.errors import FileError, FormatError, ModelError, UnsupportedError
from tersor.network.from_onnx.reader import read


def simple(nodes=None, outputs=("y",), **more):
    nodes = [node("Add", "x w", "y", name="sum")] if nodes is None else nodes
    return model(nodes, {"x": ["N", 3]}, outputs, {"w": floats(3)}, **more)


def refused(proto, kind, words):
    with pytest.raises(kind, match=words) as caught:
        read(proto.SerializeToString())
    return caught.value


def test_every_cut_and_flip_is_refused_or_read():
    data = model(
        [
            node("Conv", "x w", "c", pads=[1, 1, 1, 1], name="conv"),
            node("Shape", "c", "s"),
            node("Reshape", "c s", "r"),
            node("Softmax", "r", "y", axis=1),
        ],
        {"x": ["N", 1, 4, 4]},
        ["y"],
        {"w": np.ones((1, 1, 3, 3), np.float32)},
    ).SerializeToString()
    rng = np.random.default_rng(0)
    damaged = [data[:n] for n in range(0, len(data), 7)]
    for _ in range(150):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        damaged.append(bytes(changed))
    outcomes = {"read": 0, "refused": 0}
    for item in damaged:
        try:
            read(item)
        except (FormatError, ModelError, UnsupportedError):
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
    assert outcomes["refused"] > 60


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"PK\x03\x04 not onnx"])
def test_what_is_no_model_is_refused(data):
    with pytest.raises(FormatError, match=r"no ONNX model|no graph"):
        read(data)


def test_a_name_that_is_no_text_is_refused():
    data = simple().SerializeToString().replace(b"sum", b"s\xffm")
    with pytest.raises(FormatError, match="a name that is no text"):
        read(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match="No such file") as caught:
        read(tmp_path / "absent.onnx")
    assert caught.value.path.name == "absent.onnx"


def test_a_file_beyond_what_protobuf_holds_is_not_read(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # sparse: no bytes are written
    with pytest.raises(FileError, match="exceeds 2 GiB"):
        read(path)


def lie_about(**fields):
    proto = simple()
    tensor = proto.graph.initializer[0]
    for name, value in fields.items():
        if name == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        elif name == "float_data":
            tensor.ClearField("raw_data")
            tensor.float_data.extend(value)
        else:
            setattr(tensor, name, value)
    return proto


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("12 bytes where 16 belong", {"dims": [4]}),
        ("12 bytes where 4000000000000 belong", {"dims": [10**6, 10**6]}),
        (r"the shape \(-1, -3\)", {"dims": [-1, -3]}),
        ("12 bytes where", {"dims": [1 << 40, 1 << 40]}),
        ("12 bytes where 24 belong", {"data_type": TensorProto.DOUBLE}),
        ("2 elements where 3 belong", {"float_data": [1.0, 2.0]}),
    ],
)
def test_a_tensor_whose_size_is_a_lie_is_refused(words, fields):
    refused(lie_about(**fields), FormatError, words)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.FLOAT8E4M3FN, 99])
def test_a_tensor_of_a_strange_type_is_refused(kind):
    strange = lie_about(data_type=kind, raw_data=b"abc")
    caught = refused(strange, ModelError, "holds elements of type")
    assert caught.tensor == "w"


def external(entries):
    proto = simple()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return proto


@pytest.mark.parametrize(
    ("kind", "words", "entries"),
    [
        (ModelError, "outside the folder", {"location": "../secret"}),
        (ModelError, "outside the folder", {"location": "/etc/hostname"}),
        (ModelError, "outside the folder", {"location": "link"}),
        (FormatError, "does not say where", {"offset": "0"}),
        (FormatError, "does not say where", {"location": "w.bin", "offset": "x"}),
        (FormatError, "beyond the end of w.bin", {"location": "w.bin", "offset": "8"}),
        (FormatError, "beyond the end of w.bin", {"location": "w.bin", "offset": "-1"}),
        (FormatError, "has 4 bytes where 12 belong", {"location": "w.bin", "length": "4"}),
        (FormatError, "does not say where", {"location": "w.bin", "length": "many"}),
        (FormatError, "does not say where", {"location": "ring"}),
        (FormatError, "does not say where", {"location": "a\0b"}),
        (ModelError, "outside the folder", {"location": "/dev/zero"}),
        (ModelError, "outside the folder", {"location": "device"}),
        (FileError, "absent.bin is no file", {"location": "absent.bin"}),
        (FileError, "pipe is no file", {"location": "pipe"}),
        (FileError, "is no file", {"location": "."}),
    ],
)
def test_weights_are_taken_from_the_folder_only(tmp_path, kind, words, entries):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(12))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "ring").symlink_to(folder / "ring")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / "w.bin").write_bytes(bytes(12))
    path = folder / "m.onnx"
    path.write_bytes(external(entries).SerializeToString())
    with pytest.raises(kind, match=words):
        read(path)


def test_bytes_without_a_path_have_no_file_beside_them():
    refused(external({"location": "w.bin"}), ModelError, "lies in another file")


def without(field):
    proto = simple()
    proto.graph.input[0].type.tensor_type.ClearField(field)
    return proto


def with_sparse():
    proto = simple()
    proto.graph.sparse_initializer.add().values.name = "w2"
    return proto


def with_dimension(value):
    proto = simple()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = value
    return proto


def with_twin():
    proto = simple()
    proto.graph.initializer.append(proto.graph.initializer[0])
    return proto


def without_opset():
    proto = simple()
    del proto.opset_import[:]
    return proto


@pytest.mark.parametrize(
    ("words", "proto"),
    [
        ("'q' is read by node 'y' before any node", simple([node("Add", "x q", "y")])),
        ("'y' is made twice", simple([node("Relu", "x", "y"), node("Relu", "x", "y")])),
        ("'x' is made twice", simple([node("Relu", "w", "x")], ["x"])),
        ("'z' is an output, but no node", simple(outputs=["z"])),
        ("before any node", simple([node("Add", "x b", "a"), node("Relu", "a", "b")], ["b"])),
        ("two values the same name", with_twin()),
        ("'x' has no shape", without("shape")),
        ("no tensor of a known type", without("elem_type")),
        ("sparse", with_sparse()),
        ("uses opset 6", simple(opset=6)),
        ("uses opset 999", simple(opset=999)),
        ("does not say which opset", without_opset()),
        (r"'sum' \(Add\) does not fit its inputs", with_dimension(4)),
    ],
)
def test_a_graph_that_is_not_valid_is_refused(words, proto):
    refused(proto, ModelError, words)


def test_a_dimension_beyond_all_memory_is_refused():
    refused(with_dimension((1 << 31) + 1), FormatError, "a dimension of")


def test_operators_that_cannot_be_read_are_named():
    caught = refused(
        simple([node("Scan", "x", "y", name="again")]), UnsupportedError, "cannot be read"
    )
    assert (caught.node, caught.op, caught.opset) == ("again", "Scan", "opset 17")


def test_foreign_domains_are_named():
    made = node("Foreign", "x w", "y", domain="com.microsoft")
    refused(simple([made]), UnsupportedError, "of the domain 'com.microsoft' cannot be read")


IMAGE = {"x": ["N", 2, 5, "w"]}
WEIGHTS = {
    "w": floats(2, 2, 3, 3),
    "ones": np.ones(2, np.float32),
    "i2": np.array([1, 1]),
    "i3": np.array([1, 1, 1]),
    "s2": np.array([2, 2], np.float32),
    "minus": np.float32(-1),
    "u": np.uint8(3),
    "i32": np.int32(3),
    "yes": np.array(True),
    "big": np.array([1 << 20, 1 << 20]),
    "zero": np.int64(0),
    "many": np.int64(1 << 60),
    "matrix": floats(2, 2),
    "s4": np.array([1, 1, 1, 3], np.float32),
}
REFUSALS = [
    ("with 1 spatial dimensions", node("Conv", "x w3", "y")),
    ("spatial dimensions cannot", node("ConvTranspose", "x w3", "y")),
    ("has kernel_shape of", node("MaxPool", "x", "y", kernel_shape=[2])),
    ("has strides of", node("Conv", "x w", "y", strides=[0, 1])),
    ("has dilations of", node("Conv", "x w", "y", dilations=[1, -1])),
    ("has strides of", node("Conv", "x w", "y", strides=[1])),
    ("has an auto_pad of 'SOME'", node("Conv", "x w", "y", auto_pad="SOME")),
    ("has 3 pads where 4 belong", node("Conv", "x w", "y", pads=[1, 1, 1])),
    (
        "gaps between windows",
        node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[3, 3], auto_pad="SAME_UPPER"),
    ),
    ("declares the kernel", node("Conv", "x w", "y", kernel_shape=[2, 2])),
    ("has 0 groups", node("Conv", "x w", "y", group=0)),
    ("has kernel_shape of", node("MaxPool", "x", "y", kernel_shape=[0, 2])),
    ("has an output 1", node("MaxPool", "x", "y z", kernel_shape=[2, 2])),
    ("with dilations", node("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2])),
    ("has an output_padding", node("ConvTranspose", "x w", "y", output_padding=[-1, 0])),
    ("takes one that varies", node("ConvTranspose", "x w", "y", output_shape=[9, 9])),
    ("is in training mode", node("Dropout", "x s yes", "y")),
    ("has a ratio of", node("Dropout", "x minus", "y")),
    (
        "is in training mode",
        node("BatchNormalization", "x ones ones ones ones", "y", training_mode=1),
    ),
    (
        "has 3 groups of 2 channels",
        node("GroupNormalization", "x ones ones", "y", num_groups=3),
    ),
    ("has a size of 0", node("LRN", "x", "y", size=0)),
    ("no int", node("Softmax", "x", "y", axis=1.5)),
    ("no list of integers", node("Transpose", "x", "y", perm=1)),
    ("names axis 7", node("Softmax", "x", "y", axis=7)),
    ("names axis 7", node("Flatten", "x", "y", axis=7)),
    ("lacks input 1", node("Add", "x", "y")),
    ("approximated by 'guess'", node("Gelu", "x", "y", approximate="guess")),
    ("makes elements of type 8", node("Cast", "x", "y", to=8)),
    ("has no inputs", node("Sum", "", "y")),
    ("holds no tensor of numbers", node("Constant", "", "y", value_string="a")),
    ("depend on data", node("Reshape", "x x", "y")),
    ("is not constant", node("Trilu", "x x", "y")),
    ("size is not 1", node("Squeeze", "x i2", "y")),
    ("makes a tensor of", node("ConstantOfShape", "big", "y")),
    (
        "values where 1 belongs",
        node("ConstantOfShape", "i2", "y", value=helper.make_tensor("v", 1, [2], [1, 2])),
    ),
    ("has a step of 0", node("Range", "zero many zero", "y")),
    ("makes too many elements", node("Range", "zero many one", "y")),
    ("with blocks of 0", node("DepthToSpace", "x", "y", blocksize=0)),
    ("with blocks of 0", node("SpaceToDepth", "x", "y", blocksize=0)),
    ("has a step of 0", node("Slice", "x zeros ones1 ones1 zeros", "y")),
    ("goes backwards", node("Slice", "x ones1 zeros three minus1", "y")),
    ("has a depth of 0", node("OneHot", "i2 zero ones", "y")),
    ("has 3 pads", node("Pad", "x i3", "y")),
    ("has a mode 'mirror'", node("Pad", "x far - three", "y", mode="mirror")),
    ("that varies", node("Pad", "x far - three", "y", mode="reflect")),
    ("has 1 batch dimensions", node("GatherND", "x i2", "y", batch_dims=1)),
    ("wants the last index", node("ArgMax", "x", "y", axis=3, select_last_index=1)),
    ("scales or sizes for 4 axes", node("Resize", "x - s2", "y")),
    ("has scales of", node("Resize", "x - minus4", "y")),
    (
        "keeps the aspect ratio",
        node("Resize", "x - - i4", "y", keep_aspect_ratio_policy="not_larger"),
    ),
    ("a dimension that varies", node("Resize", "x - s4", "y", mode="cubic")),
    (
        "places elements by",
        node("Resize", "x - tall", "y", coordinate_transformation_mode="up"),
    ),
    ("rounds by 'up'", node("Resize", "x - tall", "y", nearest_mode="up")),
    ("has a mode 'fancy'", node("Resize", "x - tall", "y", mode="fancy")),
    ("to integers of other", node("QuantizeLinear", "x half i32", "y")),
    ("has a scale that is not positive", node("QuantizeLinear", "x minus u", "y")),
    ("has a scale of shape", node("QuantizeLinear", "x matrix", "y")),
    ("per block", node("QuantizeLinear", "x matrix", "y", block_size=2)),
    ("as many zero points", node("QuantizeLinear", "x ones u", "y")),
    ("has 2 scales for 3 indices", node("DequantizeLinear", "c3 ones", "y", axis=0)),
]
WEIGHTS |= {
    "one": np.int64(1),
    "zeros": np.array([0]),
    "ones1": np.array([1]),
    "three": np.array([3]),
    "minus1": np.array([-1]),
    "w3": floats(2, 2, 3),
    "far": np.array([99, 99]),
    "s": np.float32(0.5),
    "half": np.float32(0.5),
    "minus4": np.array([1, 1, -1, 1], np.float32),
    "i4": np.array([1, 2, 10, 10]),
    "tall": np.array([1, 1, 2.5, 1], np.float32),
    "c3": np.array([1, 2, 3], np.int8),
}


@pytest.mark.parametrize(
    ("words", "made"), REFUSALS, ids=lambda v: getattr(v, "op_type", None)
)
def test_what_a_node_asks_for_in_vain_is_said(words, made):
    made.name = "here"
    caught = refused(
        model([made], IMAGE, made.output, WEIGHTS, opset=21), UnsupportedError, words
    )
    assert (caught.node, caught.op, caught.opset) == ("here", made.op_type, "opset 21")


def test_statistics_per_position_are_refused():
    made = node("BatchNormalization", "x ones ones ones ones", "y", spatial=0)
    refused(model([made], IMAGE, ["y"], WEIGHTS, opset=7), UnsupportedError, "per position")


def test_a_resize_to_nothing_or_too_much_is_refused():
    for scale in (0.001, 1e5):
        weights = {"s": np.array([1, 1, scale, 1], np.float32)}
        made = node("Resize", "x - s", "y", mode="cubic")
        refused(
            model([made], {"x": [1, 2, 500, 5]}, ["y"], weights),
            UnsupportedError,
            "resizes 500 to",
        )


def test_onnx_still_refuses_what_we_forge():
    """The forged graphs are invalid by the package's own checker, too."""
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(simple([node("Relu", "x", "y"), node("Relu", "x", "y")]))
