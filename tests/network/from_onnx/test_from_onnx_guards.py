"""Zeros for NaN in an attention that sees nothing: the same, but behind the product."""

import numpy as np
import pytest
from onnx_models import agree, by_runtime, floats, model, node, targets

V = floats(2, 6, 4, seed=1)
GUARDED = ("softmax.int", "matmul", "isnan", "where.self")


def scores():
    x = floats(2, 5, 6)
    x[0, 3] = x[1, 0] = -np.inf
    return x


def attention(*more, zero=0.0, outputs=("y",)):
    nodes = [
        node("Softmax", "x", "p", axis=-1),
        node("IsNaN", "p", "absent"),
        node("Where", "absent zero p", "guarded"),
        node("MatMul", "guarded v", "y"),
        *more,
    ]
    weights = {"zero": np.float32(zero), "v": V}
    return model(nodes, {"x": [2, "rows", 6]}, outputs, weights)


def multiplies_a_softmax(network):
    (product,) = [n for n in network.graph.nodes if str(n.target).startswith("aten.matmul")]
    return str(product.args[0].target).startswith("aten.softmax")


def test_the_zeros_move_behind_the_product():
    network = agree(attention(), {"x": scores()}, oracle=by_runtime)
    assert multiplies_a_softmax(network)
    assert [t.removeprefix("aten.").removesuffix(".default") for t in targets(network)] == [
        *GUARDED
    ]
    got = network.run({"x": scores()})["y"]
    assert not got[0, 3].any()
    assert not got[1, 0].any()
    assert got[0, 0].any()


OTHERS = {
    "another_number_than_zero": attention(zero=1.0),
    "another_reader_of_the_guarded": attention(
        node("Neg", "guarded", "z"), outputs=("y", "z")
    ),
    "another_reader_of_the_softmax": attention(
        node("Greater", "p zero", "z"), outputs=("y", "z")
    ),
    "another_reader_of_the_question": attention(
        node("Not", "absent", "z"), outputs=("y", "z")
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_anything_else_stays_where_it_is(case):
    assert not multiplies_a_softmax(agree(OTHERS[case], {"x": scores()}, oracle=by_runtime))


def test_values_on_the_left_stay_where_they_are():
    nodes = [
        node("Softmax", "x", "p", axis=-1),
        node("IsNaN", "p", "absent"),
        node("Where", "absent zero p", "guarded"),
        node("MatMul", "v guarded", "y"),
    ]
    weights = {"zero": np.float32(0), "v": floats(2, 3, 5)}
    made = model(nodes, {"x": [2, 5, 6]}, ["y"], weights)
    network = agree(made, {"x": scores()}, oracle=by_runtime)
    assert "aten.isnan.default" not in targets(network)
