"""From a file to a Network: names, ports, weights, symbolic shapes, files beside the file."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_models import agree, floats, model, node, targets

from tersor.network.from_onnx.reader import operators, read


def read_proto(proto):
    return read(proto.SerializeToString())


def test_every_operator_that_is_promised_is_listed():
    known = operators()
    assert known == sorted(known)
    assert len(known) >= 120
    assert {"Conv", "Gemm", "MatMul", "QuantizeLinear", "Resize", "TopK"} <= set(known)


def test_ports_keep_names_dimensions_and_dtypes():
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node("Gather", "table ids", "rows"), node("Add", "rows /x:0", "sum.1")],
        "graph",
        [info("ids", TensorProto.INT64, ["batch", None]), info("/x:0", 1, [None, "dim0", 3])],
        [info("sum.1", 1, ["batch", None, 3]), info("rows", 1, None)],
        [numpy_helper.from_array(floats(5, 3), "table")],
    )
    network = read_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    shapes = {p.name: (p.shape, p.dtype) for p in network.inputs}
    assert shapes == {
        "ids": (("batch", "dim1"), "int64"),
        "/x:0": (("dim2", "dim0", 3), "float32"),
    }
    results = {p.name: (p.shape, p.dtype) for p in network.outputs}
    assert results["sum.1"] == (("batch", "dim_0_1", 3), "float32")
    assert results["rows"] == (("dim_1_0", "dim_1_1", 3), "float32")


def test_weights_keep_their_names_and_statistics_are_buffers():
    nodes = [
        node("Conv", "x layer1.0.conv1.weight", "c", name="/layer1/conv1/Conv"),
        node("BatchNormalization", "c bn.weight bn.bias bn.running_mean bn.running_var", "y"),
    ]
    weights = {
        "layer1.0.conv1.weight": floats(2, 1, 1, 1),
        "bn.weight": floats(2),
        "bn.bias": floats(2),
        "bn.running_mean": floats(2),
        "bn.running_var": np.ones(2, np.float32),
    }
    network = agree(
        model(nodes, {"x": ["N", 1, 3, 3]}, ["y"], weights), {"x": floats(2, 1, 3, 3)}
    )
    parameters = [name for name, _ in network.module.named_parameters()]
    buffers = [name for name, _ in network.module.named_buffers()]
    assert sorted(parameters) == ["bn.bias", "bn.weight", "layer1.0.conv1.weight"]
    assert sorted(buffers) == ["bn.running_mean", "bn.running_var"]
    assert [n.name for n in network.graph.nodes if n.op == "call_function"] == [
        "layer1_conv1_Conv",
        "y",
    ]
    norm = next(n for n in network.graph.nodes if n.name == "y")
    training, momentum, epsilon = norm.args[5:8]
    assert training is False
    assert momentum == pytest.approx(
        0.1
    )  # the share of the new batch; ONNX says 0.9 of the old
    assert epsilon == pytest.approx(1e-5)


def test_a_tensor_that_is_trained_in_one_place_only_is_held_twice():
    """Exporters share equal initializers: here a scale and a variance of ones."""
    nodes = [node("BatchNormalization", "x ones zeros zeros ones", "y")]
    weights = {"ones": np.ones(2, np.float32), "zeros": np.zeros(2, np.float32)}
    network = agree(model(nodes, {"x": ["N", 2, 3]}, ["y"], weights), {"x": floats(2, 2, 3)})
    assert [n for n, _ in network.module.named_parameters()] == ["ones", "zeros"]
    assert [n for n, _ in network.module.named_buffers()] == ["zeros_", "ones_"]
    pointers = {t.data_ptr() for t in network.module.state_dict().values()}
    assert len(pointers) == 4


def test_names_that_are_no_paths_are_changed_a_little():
    names = ["a", "a.b", "c..d", "forward", 'e"]); import os #', "é", "z" * 300, "." * 40]
    nodes = [node("Identity", "x", "y0")]
    nodes += [
        helper.make_node("Add", [f"y{i}", name], [f"y{i + 1}"]) for i, name in enumerate(names)
    ]
    weights = {name: floats(2, seed=i) for i, name in enumerate(names)}
    network = agree(model(nodes, {"x": [2]}, [f"y{len(names)}"], weights), {"x": floats(2)})
    found = {name for name, _ in network.module.named_parameters()}
    assert found > {"a", "a_.b", "c._.d", "forward_", "e_____import_os__", "_"}
    assert len(found) == len(names)


def test_node_names_stay_unique_and_are_no_keywords():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="class"),
        helper.make_node("Relu", ["a"], ["b"], name="class"),
        helper.make_node("Relu", ["b"], ["y"], name="//"),
    ]
    network = agree(model(nodes, {"x": ["N"]}, ["y"]), {"x": floats(3)})
    names = [n.name for n in network.graph.nodes if n.op == "call_function"]
    assert names == ["class_1", "class_2", "relu"]


def test_weights_given_as_inputs_are_weights():
    """Before IR version 4 initializers were inputs, too."""
    proto = model(
        [node("Add", "x w", "y")], {"x": ["N", 3], "w": [3]}, ["y"], {"w": floats(3)}
    )
    proto.ir_version = 3
    network = read_proto(proto)
    assert [port.name for port in network.inputs] == ["x"]
    assert [name for name, _ in network.module.named_parameters()] == ["w"]


def test_outputs_may_be_inputs_weights_and_the_same_twice():
    proto = model(
        [node("Relu", "x", "r")],
        {"x": ["N"]},
        ["x", "w", "r", "k"],
        {"w": floats(2), "k": np.arange(3)},
    )
    network = agree(proto, {"x": floats(4)})
    assert len(network.outputs) == 4


def test_single_numbers_are_settings_and_vectors_are_trained():
    nodes = [node("Mul", "x half", "a"), node("Mul", "a gains", "y")]
    weights = {"half": np.float32(0.5), "gains": floats(3)}
    network = agree(model(nodes, {"x": ["N", 3]}, ["y"], weights), {"x": floats(2, 3)})
    assert [name for name, _ in network.module.named_parameters()] == ["gains"]


def test_what_no_output_needs_is_left_out():
    nodes = [node("Loop", "x", "z"), node("Mul", "x w", "u"), node("Relu", "x", "y")]
    network = read_proto(model(nodes, {"x": ["N"]}, ["y"], {"w": floats(1)}))
    assert list(network.module.state_dict()) == []
    assert targets(network) == ["aten.relu.default"]


SHAPE_WORK = {
    "view": [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n zeros", "n1"),
        node("Concat", "n1 minus", "to", axis=0),
        node("Reshape", "x to", "y"),
    ],
    "split_heads": [
        node("Shape", "x", "s"),
        node("Slice", "s zeros two", "ns"),
        node("Slice", "s two four", "cd"),
        node("ReduceProd", "cd", "w", keepdims=1),
        node("Cast", "w", "w32", to=TensorProto.INT32),
        node("Cast", "w32", "w64", to=TensorProto.INT64),
        node("Div", "w64 twos", "half"),
        node("Mul", "half twos", "all"),
        node("Concat", "ns all", "to", axis=0),
        node("Reshape", "x to", "y"),
    ],
    "expand_where": [
        node("Shape", "x", "s"),
        node("Split", "s", "a b", axis=0, num_outputs=2),
        node("Squeeze", "a", "a0"),
        node("Reshape", "a0 minus", "a1"),
        node("Concat", "a1 b", "full", axis=0),
        node("ConstantOfShape", "four1", "ones", value=helper.make_tensor("v", 7, [1], [1])),
        node("Mul", "ones minus", "negative"),
        node("Equal", "full negative", "is_free"),
        node("Where", "is_free ones full", "to"),
        node("Sub", "to zeros", "to2"),
        node("Mod", "to2 many", "to3"),
        node("Expand", "x to3", "y"),
    ],
    "as_tensor": [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Cast", "n", "real", to=TensorProto.FLOAT),
        node("Sqrt", "real", "root"),
        node("Div", "x root", "d"),
        node("Cast", "s", "reals", to=TensorProto.FLOAT),
        node("Add", "d reals", "y"),
    ],
}
CONSTANTS = {
    "zero": np.int64(0),
    "zeros": np.array([0]),
    "two": np.array([2]),
    "twos": np.array([2]),
    "four": np.array([4]),
    "four1": np.array([4]),
    "minus": np.array([-1]),
    "many": np.array([1000]),
}


@pytest.mark.parametrize("case", SHAPE_WORK)
def test_shape_arithmetic_stays_symbolic(case):
    """No shape depends on data: what is computed from Shape never becomes a tensor."""
    proto = model(SHAPE_WORK[case], {"x": ["N", "L", 3, 4]}, ["y"], CONSTANTS, opset=18)
    for batch, length in ((1, 4), (3, 2)):
        network = agree(proto, {"x": floats(batch, length, 3, 4)})
    made = set(targets(network))
    assert "aten.sym_size.int" in made
    assert case == "as_tensor" or not made & {
        "aten.stack.default",
        "aten.scalar_tensor.default",
    }


def test_constant_shape_work_is_folded():
    nodes = [
        node("Shape", "w", "s"),
        node("Gather", "s one", "n"),
        node("Unsqueeze", "n zeros", "n1"),
        node("Concat", "minus n1", "to", axis=0),
        node("Range", "zero n one", "r"),
        node("Reshape", "x to", "a"),
        node("Gather", "a r", "y", axis=1),
    ]
    weights = CONSTANTS | {"one": np.int64(1), "w": floats(2, 3)}
    network = agree(model(nodes, {"x": ["N", 6]}, ["y"], weights), {"x": floats(2, 6)})
    assert targets(network) == ["aten.reshape.default", "aten.index_select.default"]


def test_gradients_reach_every_parameter():
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("PRelu", "c slope", "p"),
        node("GlobalAveragePool", "p", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f m", "y"),
    ]
    weights = {
        "w": floats(4, 2, 3, 3),
        "b": floats(4),
        "slope": floats(4, 1, 1),
        "m": floats(4, 3),
    }
    network = read_proto(model(nodes, {"x": ["N", 2, 5, 5]}, ["y"], weights))
    (y,) = network.module(torch.from_numpy(floats(3, 2, 5, 5)))
    (y * y).sum().backward()
    gradients = {n: float(p.grad.abs().sum()) for n, p in network.module.named_parameters()}
    assert sorted(gradients) == ["b", "m", "slope", "w"]
    assert all(size > 0 for size in gradients.values())


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]
)
@pytest.mark.parametrize("raw", [True, False])
def test_initializers_of_every_type_are_read_from_both_places(dtype, raw):
    array = np.array([[0, 1, 3], [1, 0, 2]]).astype(dtype)
    proto = model([], {}, ["w"], {"w": array})
    if not raw:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        values = array.reshape(-1).tolist()
        proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", kind, [2, 3], values))
    found = read_proto(proto).run({})["w"]
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


def test_bfloat16_becomes_what_torch_knows():
    tensor = helper.make_tensor("w", TensorProto.BFLOAT16, [2], [1.5, -2.0])
    proto = model([node("Cast", "w", "y", to=TensorProto.FLOAT)], {}, ["y"])
    proto.graph.initializer.append(tensor)
    assert read_proto(proto).run({})["y"].tolist() == [1.5, -2.0]


def test_a_world_in_which_the_model_does_not_fit_is_left():
    """Positions for at most 12 tokens: the first lengths that are tried are longer."""
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s one two", "n"),
        node("Slice", "pos zeros n zeros", "p"),
        node("Add", "x p", "y"),
    ]
    weights = CONSTANTS | {"one": np.array([1]), "pos": floats(12, 3)}
    proto = model(nodes, {"x": ["N", "L", 3]}, ["y"], weights)
    for length in (1, 12):
        agree(proto, {"x": floats(2, length, 3)})


def test_weights_beside_the_file_are_read(tmp_path):
    proto = model([node("MatMul", "x w", "y")], {"x": ["N", 40]}, ["y"], {"w": floats(40, 40)})
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="model.data", size_threshold=0)
    x = floats(2, 40)
    expected = x @ floats(40, 40)
    np.testing.assert_allclose(read(path).run({"x": x})["y"], expected, atol=40 * 1.2e-7 * 40)
