"""If and Loop whose course is known are read as what would run; others are refused."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import agree, by_runtime, floats, model, node, refused_node, targets

from tersor.errors import ModelError
from tersor.network.from_onnx.reader import read

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def within(nodes, outputs, inputs=(), weights=()):
    """A graph within a node."""
    ends = [
        helper.make_tensor_value_info(name, BOOL if name == "goes_on" else FLOAT, None)
        for name in outputs
    ]
    given = [helper.make_tensor_value_info(n, k, s) for n, k, s in inputs]
    tensors = [
        helper.make_tensor(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.ravel())
        for n, a in weights
    ]
    return helper.make_graph(nodes, "within", given, ends, tensors)


TWICE = within([node("Add", "h h", "z")], ["z"])
SCALED = within([node("Mul", "h w", "z")], ["z"], weights=[("w", floats(4))])


def chosen(condition, *before, then=TWICE, other=SCALED, weights=()):
    """y is that of a branch, on h = relu(x), x of (2, 4)."""
    nodes = [
        node("Relu", "x", "h"),
        *before,
        node("If", condition, "i", then_branch=then, else_branch=other),
        node("Neg", "i", "y"),
    ]
    return model(nodes, {"x": [2, 4]}, ["y"], weights)


@pytest.mark.parametrize("truth", [True, False])
def test_the_branch_of_a_given_condition_is_read(truth):
    proto = chosen("c", weights=[("c", np.array(truth))])
    network = agree(proto, {"x": floats(2, 4)})
    assert any("mul" in str(t) for t in targets(network)) != truth


def test_a_condition_on_sizes_that_are_fixed_is_known():
    before = [
        node("Shape", "h", "s"),
        node("Gather", "s one", "n", axis=0),
        node("Equal", "n four", "c"),
    ]
    weights = [("one", np.array(1)), ("four", np.array(4))]
    network = agree(chosen("c", *before, weights=weights), {"x": floats(2, 4)})
    assert not any("mul" in str(t) for t in targets(network))


def test_what_only_a_branch_reads_is_read_and_what_no_branch_runs_is_not():
    strange = within([node("Strange", "h", "z")], ["z"])
    proto = chosen("c", weights=[("c", np.array(True))], other=strange)
    assert np.array_equal(
        read(proto.SerializeToString()).run({"x": np.ones((2, 4), "f4")})["y"],
        np.full((2, 4), -2.0, np.float32),
    )


def test_branches_nest():
    inner = within(
        [node("If", "c", "z", then_branch=SCALED, else_branch=TWICE)],
        ["z"],
    )
    proto = chosen("c", weights=[("c", np.array(True))], then=inner)
    network = agree(proto, {"x": floats(2, 4)})
    assert any("mul" in str(t) for t in targets(network))


@pytest.mark.parametrize("op_type", ["Abs", "Ceil"])
def test_a_condition_on_data_is_refused(op_type):
    """At sight where each operator on the way is known to pass on what it depends on."""
    before = [node(op_type, "x", "r"), node("Cast", "r", "c", to=BOOL)]
    refused_node(chosen("c", *before), "has a condition that depends on data")


def test_a_branch_that_reads_what_nobody_makes_is_refused():
    loose = within([node("Relu", "nowhere", "z")], ["z"])
    proto = chosen("c", weights=[("c", np.array(True))], then=loose)
    with pytest.raises(ModelError, match="'nowhere' is read by node"):
        read(proto.SerializeToString())


def repeated(rounds, *, condition="-", ends=None, stacked=False, weights=()):
    """h = h * w + turn, so many times; what goes on is the body's own `ends`."""
    inputs = [("turn", INT64, []), ("on", BOOL, []), ("a", FLOAT, None)]
    nodes = [
        node("Cast", "turn", "t", to=FLOAT),
        node("Mul", "a w", "m"),
        node("Add", "m t", "b"),
        ends or node("Identity", "on", "goes_on"),
        node("Neg", "b", "told"),
    ]
    body = within(nodes, ["goes_on", "b", *(["told"] if stacked else [])], inputs)
    results = ["y", *(["all"] if stacked else [])]
    loop = node("Loop", f"rounds {condition} x", " ".join(results), body=body)
    given = [("w", floats(4)), ("rounds", np.array(rounds)), *weights]
    return model([loop], {"x": [2, 4]}, results, given)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_a_loop_is_read_round_by_round(rounds):
    network = agree(repeated(rounds), {"x": floats(2, 4)}, oracle=by_runtime)
    assert len([t for t in targets(network) if "mul" in str(t)]) == rounds


def test_values_of_all_rounds_are_stacked():
    agree(repeated(3, stacked=True), {"x": floats(2, 4)}, oracle=by_runtime)


def test_a_condition_that_is_false_at_first_runs_nothing():
    weights = [("never", np.array(False))]
    proto = repeated(3, condition="never", weights=weights)
    agree(proto, {"x": floats(2, 4)}, oracle=by_runtime)


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (repeated(5000), "of 5000 rounds and 5 nodes is too long"),
        (repeated(0, stacked=True), "stacks the values of no round"),
        (
            repeated(3, ends=node("Not", "no", "goes_on"), weights=[("no", np.array(True))]),
            "ends after 1 of 3 rounds",
        ),
        (
            repeated(3, ends=node("Cast", "b", "goes_on", to=BOOL)),
            "has a condition that depends on data",
        ),
    ],
)
def test_other_loops_are_refused(proto, words):
    refused_node(proto, words)


def test_loops_in_loops_are_counted_together():
    proto = repeated(100)
    (loop,) = proto.graph.node
    outer = helper.make_node("Loop", ["rounds", "", "x"], ["y"])
    body = within(
        [node("Identity", "on", "goes_on"), loop],
        ["goes_on", "b"],
        [("turn", INT64, []), ("on", BOOL, []), ("outer", FLOAT, None)],
    )
    loop.output[0], loop.input[2] = "b", "outer"
    body.node[1].CopyFrom(loop)
    outer.attribute.append(helper.make_attribute("body", body))
    proto.graph.node[0].CopyFrom(outer)
    refused_node(proto, "comes to more than 4096 nodes with all others")


def test_a_loop_that_only_a_condition_ends_is_refused():
    proto = repeated(3, condition="on_", weights=[("on_", np.array(True))])
    proto.graph.node[0].input[0] = ""
    refused_node(proto, "has no number of rounds")


def test_a_loop_with_a_body_of_other_values_is_refused():
    proto = repeated(3)
    proto.graph.node[0].input.append("x")
    refused_node(proto, "has a body of other inputs and outputs")


def test_nodes_without_their_graph_are_refused():
    proto = chosen("c", weights=[("c", np.array(True))])
    for attribute in proto.graph.node[1].attribute:
        attribute.name = "other"
    refused_node(proto, "lacks its then_branch")
