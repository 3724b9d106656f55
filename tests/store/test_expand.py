"""Rewritten models compute what the rules of ONNX say."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tersor.errors import FormatError, ModelError
from tersor.store.expand import expand_weights, strip_activation_rounding

FLOAT = TensorProto.FLOAT


def model(nodes, arrays, *, inputs=("x",), outputs=("y",), opset=21, infos=()):
    ports = [helper.make_tensor_value_info(name, FLOAT, None) for name in inputs]
    ends = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    values = [helper.make_tensor_value_info(name, FLOAT, None) for name in infos]
    graph = helper.make_graph(nodes, "g", ports, ends, tensors, value_info=values)
    made = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)]
    )
    return made.SerializeToString(deterministic=True)


def run(data, x):
    return ReferenceEvaluator(onnx.load_model_from_string(data)).run(None, {"x": x})


def ops(data):
    return [node.op_type for node in onnx.load_model_from_string(data).graph.node]


def initializers(data):
    graph = onnx.load_model_from_string(data).graph
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


CODES = np.array([[-128, 5, 127], [0, -1, 33]], np.int8)
NODE = helper.make_node


@pytest.mark.parametrize(
    ("scale", "zero", "attributes"),
    [
        (np.float32(0.1), np.int8(3), {}),
        (np.array([0.1, 0.7], np.float32), np.array([3, -4], np.int8), {"axis": 0}),
        (np.array([0.1, 0.7, 3e-9], np.float32), np.zeros(3, np.int8), {"axis": -1}),
        (np.array([0.1, 0.7, 3e-9], np.float32), np.zeros(3, np.int8), {}),
        (
            np.array([[0.1, 0.7], [0.2, 3.0]], np.float32),
            np.zeros((2, 2), np.int8),
            {"axis": 1, "block_size": 2},
        ),
    ],
    ids=["per_tensor", "rows", "columns_from_the_end", "columns_by_default", "blocks"],
)
def test_weights_are_what_the_node_makes_of_them(scale, zero, attributes):
    nodes = [
        NODE("DequantizeLinear", ["q", "s", "z"], ["w"], **attributes),
        NODE("Add", ["x", "w"], ["y"]),
    ]
    data = model(nodes, {"q": CODES, "s": scale, "z": zero})
    expanded = expand_weights(data)
    assert ops(expanded) == ["Add"]
    assert list(initializers(expanded)) == ["w"]
    if attributes.get("block_size"):
        by_hand = CODES.astype(np.float32) * np.repeat(scale, 2, axis=1)[:, :3]
    else:
        shape = {0: (2, 1)}.get(attributes.get("axis"), (1, -1))
        by_hand = (CODES.astype(np.int32) - zero.reshape(shape)) * scale.reshape(shape)
    assert initializers(expanded)["w"].tobytes() == by_hand.astype(np.float32).tobytes()
    x = np.zeros((2, 3), np.float32)
    assert np.array_equal(run(expanded, x)[0], run(data, x)[0])


def test_int32_codes_without_zero_point_expand():
    biases = np.array([-(2**30), 7], np.int32)
    nodes = [NODE("DequantizeLinear", ["q", "s"], ["b"]), NODE("Add", ["x", "b"], ["y"])]
    data = model(nodes, {"q": biases, "s": np.float32(0.5)})
    assert initializers(expand_weights(data))["b"].tolist() == [-(2.0**29), 3.5]


def test_packed_four_bit_codes_expand():
    import ml_dtypes

    codes = np.array([-8, 7, 1]).astype(ml_dtypes.int4)
    nodes = [NODE("DequantizeLinear", ["q", "s"], ["w"]), NODE("Add", ["x", "w"], ["y"])]
    data = model(nodes, {"q": codes, "s": np.float32(2)})
    assert initializers(expand_weights(data))["w"].tolist() == [-16.0, 14.0, 2.0]


def test_what_is_shared_published_or_replaceable_stays():
    nodes = [
        NODE("DequantizeLinear", ["q", "s"], ["w"]),
        NODE("DequantizeLinear", ["q", "s"], ["out"]),
        NODE("DequantizeLinear", ["open", "s"], ["v"]),
        NODE("Sum", ["x", "w", "v"], ["y"]),
    ]
    arrays = {"q": CODES, "s": np.float32(1), "open": CODES, "idle": np.float32(1)}
    data = model(nodes, arrays, inputs=("x", "open"), outputs=("y", "out"))
    expanded = expand_weights(data)
    assert ops(expanded) == ["DequantizeLinear", "DequantizeLinear", "Sum"]
    assert list(initializers(expanded)) == ["q", "s", "open", "w"]


def test_an_initializer_that_only_a_subgraph_reads_stays():
    branch = helper.make_graph(
        [NODE("Identity", ["idle"], ["r"])],
        "b",
        [],
        [helper.make_tensor_value_info("r", FLOAT, None)],
    )
    nodes = [NODE("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    arrays = {"c": np.array(True), "idle": np.float32(5)}
    expanded = expand_weights(model(nodes, arrays))
    assert list(initializers(expanded)) == ["c", "idle"]
    assert run(expanded, np.float32(0))[0] == 5


def test_misfitting_scales_are_refused_by_name():
    nodes = [
        NODE("DequantizeLinear", ["q", "s"], ["fc.weight"], axis=0),
        NODE("Add", ["x", "fc.weight"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r"fc\.weight has shape \(2, 3\), its scales \(3,\)"):
        expand_weights(model(nodes, {"q": CODES, "s": np.ones(3, np.float32)}))
    nodes[0].attribute[0].i = 7
    with pytest.raises(ModelError, match="on axis 7"):
        expand_weights(model(nodes, {"q": CODES, "s": np.ones(3, np.float32)}))


@pytest.mark.parametrize("rewrite", [expand_weights, strip_activation_rounding])
def test_damaged_model_is_refused(rewrite):
    with pytest.raises(FormatError, match="no ONNX file"):
        rewrite(b"\xff\xff\xff")


PAIR = [
    NODE("QuantizeLinear", ["x", "s", "z"], ["q"]),
    NODE("DequantizeLinear", ["q", "s", "z"], ["d"]),
]
GRID = {"s": np.float32(0.5), "z": np.uint8(128)}


def test_rounding_of_activations_goes():
    data = model([*PAIR, NODE("Neg", ["d"], ["y"])], GRID, infos=("d",))
    stripped = strip_activation_rounding(data)
    assert ops(stripped) == ["Neg"]
    assert initializers(stripped) == {}
    assert not onnx.load_model_from_string(stripped).graph.value_info
    assert run(stripped, np.float32(0.3))[0] == np.float32(-0.3)
    assert run(data, np.float32(0.3))[0] == -0.5


def test_rounding_twice_goes_twice():
    again = [
        NODE("QuantizeLinear", ["d", "s", "z"], ["q2"]),
        NODE("DequantizeLinear", ["q2", "s", "z"], ["d2"]),
    ]
    stripped = strip_activation_rounding(
        model([*PAIR, *again, NODE("Neg", ["d2"], ["y"])], GRID)
    )
    assert ops(stripped) == ["Neg"]
    assert run(stripped, np.float32(0.3))[0] == np.float32(-0.3)


def test_an_output_keeps_its_name():
    nodes = [PAIR[0], NODE("DequantizeLinear", ["q", "s", "z"], ["y"])]
    stripped = strip_activation_rounding(model(nodes, GRID))
    assert ops(stripped) == ["Identity"]
    assert run(stripped, np.float32(0.3))[0] == np.float32(0.3)


def test_equal_parameters_of_other_names_are_the_same():
    nodes = [PAIR[0], NODE("DequantizeLinear", ["q", "s2", "z"], ["d"])]
    nodes.append(NODE("Neg", ["d"], ["y"]))
    assert ops(strip_activation_rounding(model(nodes, {**GRID, "s2": GRID["s"]}))) == ["Neg"]


def test_a_change_of_scale_and_codes_used_as_such_stay():
    nodes = [*PAIR, NODE("DequantizeLinear", ["q", "s2", "z"], ["e"])]
    nodes.append(NODE("Add", ["d", "e"], ["y"]))
    stripped = strip_activation_rounding(model(nodes, {**GRID, "s2": np.float32(2)}))
    assert ops(stripped) == ["QuantizeLinear", "DequantizeLinear", "Add"]
    assert run(stripped, np.float32(0.3))[0] == np.float32(0.3) + 2


def test_weights_stay_rounded():
    nodes = [
        NODE("QuantizeLinear", ["w", "s", "z"], ["q"]),
        NODE("DequantizeLinear", ["q", "s", "z"], ["d"]),
        NODE("Add", ["x", "d"], ["y"]),
    ]
    data = model(nodes, {**GRID, "w": np.float32(0.3)})
    assert strip_activation_rounding(data) == data


def test_subgraphs_follow():
    branch = helper.make_graph(
        [NODE("Neg", ["d"], ["r"])],
        "b",
        [],
        [helper.make_tensor_value_info("r", FLOAT, None)],
    )
    nodes = [*PAIR, NODE("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    data = model(nodes, {**GRID, "c": np.array(True)})
    stripped = strip_activation_rounding(data)
    assert ops(stripped) == ["If"]
    assert run(stripped, np.float32(0.3))[0] == np.float32(-0.3)


@pytest.mark.parametrize("rewrite", [expand_weights, strip_activation_rounding])
def test_rewriting_twice_changes_nothing_more(rewrite):
    nodes = [
        *PAIR,
        NODE("DequantizeLinear", ["k", "s"], ["w"]),
        NODE("Add", ["d", "w"], ["y"]),
    ]
    once = rewrite(model(nodes, {**GRID, "k": CODES}))
    assert rewrite(once) == once


def codes_that_move(value, *, end="s z"):
    """Round, pad the codes by a value on both sides, dequantize."""
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"]),
        NODE("Pad", ["q", "pads", *value], ["p"]),
        NODE("DequantizeLinear", ["p", *end.split()], ["y"]),
    ]
    arrays = {
        "s": np.float32(0.5),
        "z": np.uint8(3),
        "pads": np.array([1, 1]),
        "other": np.uint8(4),
    }
    return model(nodes, {**arrays, "t": np.float32(0.25)})


def test_floats_move_where_codes_did():
    bare = strip_activation_rounding(codes_that_move(["z"]))
    assert ops(bare) == ["Pad"]
    assert run(bare, np.array([0.3, -9.9], np.float32))[0].tolist() == pytest.approx(
        [0.0, 0.3, -9.9, 0.0]
    )


@pytest.mark.parametrize(
    "data",
    [codes_that_move(["other"]), codes_that_move([]), codes_that_move(["z"], end="t z")],
    ids=["padded by something", "padded by code 0", "another scale"],
)
def test_codes_that_are_more_than_moved_keep_their_numbers(data):
    x = np.array([0.3, -9.9, 7.0], np.float32)
    assert run(strip_activation_rounding(data), x)[0].tolist() == run(data, x)[0].tolist()
