"""The walk over the bytes of an ONNX file finds what the onnx package finds."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tersor.errors import FormatError
from tersor.store.container import Reader, encode
from tersor.store.elements import CODES
from tersor.store.layout import Item
from tersor.store.onnx_wire import find
from tersor.store.skeleton import cut, join

NODE = helper.make_node


def model(initializers=(), nodes=(), functions=(), sparse=()):
    graph = helper.make_graph(
        list(nodes), "g", [], [], list(initializers), sparse_initializer=list(sparse)
    )
    made = helper.make_model(graph, functions=list(functions))
    return made.SerializeToString(deterministic=True)


def there_and_back(data):
    """What a container of the pieces gives back."""
    items, skeleton = cut(data, find(data))
    tensors = {i.entry.name: np.frombuffer(i.data, np.uint8) for i in items}
    typed = Reader(encode(tensors, {"skeleton": skeleton}))
    entries = {item.entry.name: item.entry for item in items}
    typed.entry = entries.__getitem__
    return b"".join(join(typed))


def names(data):
    return [hole.entry.name for hole in find(data)]


def tensor(array, name=""):
    return numpy_helper.from_array(np.asarray(array), name)


TYPES = [
    "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16",
    "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "uint4", "int4", "float4_e2m1fn",
]  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_initializers_of_every_type_are_found_whole(name):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    data = model([tensor(array, "w")])
    (hole,) = find(data)
    assert (hole.entry.name, hole.entry.code, hole.entry.shape) == ("w", CODES[name], (2, 3))
    assert hole.field < hole.start
    skeleton = cut(data, [hole])[1]
    assert b"w" not in skeleton[3:]
    assert there_and_back(data) == data


@pytest.mark.parametrize("shape", [(), (1,), (300, 1, 2), (1,) * 17], ids=str)
def test_initializers_of_every_shape_are_found(shape):
    data = model([tensor(np.zeros(shape, np.float32), "a name"), tensor(np.float32(1), "")])
    holes = find(data)
    assert holes[0].entry.size == 4 * np.prod(shape, dtype=int)
    assert holes[1].entry.shape == ()
    assert there_and_back(data) == data


def test_what_has_no_plain_bytes_stays():
    listed = helper.make_tensor("ints", TensorProto.INT64, [2], [1, 300])
    empty = tensor(np.zeros((0, 3), np.float32), "empty")
    both = TensorProto(name="both", data_type=1, dims=[1], raw_data=b"abcd", float_data=[1.0])
    data = model([listed, empty, both])
    assert names(data) == []
    assert there_and_back(data) == data


def test_packed_floats_are_found():
    floats = helper.make_tensor("f", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    doubles = helper.make_tensor("d", TensorProto.DOUBLE, [1], [4.0])
    data = model([floats, doubles])
    items, _ = cut(data, find(data))
    assert np.frombuffer(items[0].data, "<f4").tolist() == [1, 2, 3]
    assert np.frombuffer(items[1].data, "<f8").tolist() == [4]
    assert there_and_back(data) == data


def test_bytes_that_do_not_fit_the_shape_are_taken_as_bytes():
    wrong = TensorProto(name="w", data_type=1, dims=[3], raw_data=b"abcde")
    strange = TensorProto(name="v", data_type=77, dims=[1], raw_data=b"abcd")
    negative = TensorProto(name="n", data_type=1, dims=[-1, -1], raw_data=b"abcd")
    holes = find(model([wrong, strange, negative]))
    assert [hole.entry.code for hole in holes] == [CODES["uint8"]] * 3
    assert [hole.entry.shape for hole in holes] == [(5,), (4,), (4,)]
    data = model([wrong, strange, negative])
    assert there_and_back(data) == data


def test_initializers_with_more_fields_than_usual_come_back():
    usual = tensor(np.ones(3, np.float32), "w")
    documented = TensorProto()
    documented.CopyFrom(usual)
    documented.name = "documented"
    documented.doc_string = "what it is"  # field 12 stands behind the data
    data = model([documented, usual])
    assert names(data) == ["documented", "w"]
    assert there_and_back(data) == data


def test_constants_subgraphs_functions_and_sparse_tensors_are_found():
    long, short = tensor(np.ones(4, np.float32)), tensor(np.ones(3, np.float32))
    inner = helper.make_graph([], "i", [], [], [tensor(np.ones(1, np.int8), "deep")])
    sparse = helper.make_sparse_tensor(
        tensor(np.ones(4, np.float32), "sparse"), tensor(np.arange(4), "where"), [9]
    )
    constant = NODE("Constant", [], ["c"], value=long)
    function = helper.make_function("d", "f", [], ["c"], [constant], [])
    nodes = [
        constant,
        NODE("Constant", [], ["s"], value=short),
        NODE("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
        NODE("Constant", [], ["z"], sparse_value=sparse),
    ]
    data = model([tensor(np.ones(1, np.int8), "c")], nodes, [function], [sparse])
    assert sorted(names(data)) == sorted(
        ["c", "deep", "deep#2", "sparse", "where", "c#2", "sparse#2", "where#2", "c#3"]
    )
    assert there_and_back(data) == data


def test_external_data_is_refused_by_name():
    outside = TensorProto(name="fc.weight", data_type=1, dims=[1], data_location=1)
    with pytest.raises(FormatError, match=r"'fc\.weight' keeps its data in another file"):
        find(model([outside]))


def nest(depth):
    graph = helper.make_graph([], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph([NODE("If", [], [], then_branch=graph)], "g", [], [])
    return onnx.ModelProto(graph=graph).SerializeToString()


def test_deep_nesting_is_refused_not_followed():
    assert find(nest(20)) == []
    data = b""
    for _ in range(70):  # node, attribute, graph: by hand, as protobuf gives up before
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + wire_length(len(data)) + data
    with pytest.raises(FormatError, match="nested too deeply"):
        find(b"\x3a" + wire_length(len(data)) + data)


def wire_length(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize(
    ("problem", "hexed"),
    [
        ("number is cut, at byte 1", "08"),
        ("number is cut, at byte 1", "80"),
        ("number is too long", "08" + "ff" * 10),
        ("damaged or cut, at byte 0", "3a05 00"),
        ("damaged or cut, at byte 0", "09 0000"),
        ("damaged or cut, at byte 0", "00 00"),
        ("wire type 3", "0b"),
    ],
)
def test_what_is_no_protobuf_is_refused(problem, hexed):
    with pytest.raises(FormatError, match=problem):
        find(bytes.fromhex(hexed))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_come_back(junk):
    for data in (junk, b"\x3a" + wire_length(len(junk)) + junk):
        try:
            assert there_and_back(data) == data
        except FormatError:
            continue


@given(st.data())
def test_changed_models_are_refused_or_come_back(data):
    changed = bytearray(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert there_and_back(bytes(changed)) == changed
    except FormatError:
        return


EXAMPLE = model(
    [tensor(np.arange(6, dtype=np.int8).reshape(2, 3), "w"), tensor(np.float32(2), "s")],
    [NODE("Constant", [], ["c"], value=tensor(np.ones(4, np.float32)))],
)


def test_tensors_are_not_copied():
    data = memoryview(model([tensor(np.zeros(10**6, np.uint8), "w")]))
    (item,) = cut(data, find(data))[0]
    assert isinstance(item, Item)
    assert item.data.obj is data.obj
