"""Weights of shared values, computed once; see also test_expand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tersor.errors import ModelError
from tersor.store import gathered
from tersor.store.expand import expand_weights

TABLE = np.array([0.0, 0.5, 2.0, -1.0], np.float32)
CODES = np.array([[0, 1, -1], [2, -4, 3]], np.int8)
node = helper.make_node
CAST = node("Cast", ["c"], ["i"], to=TensorProto.INT32)
GATHER = node("Gather", ["t", "i"], ["w"])
ADD = node("Add", ["x", "w"], ["y"])


def model(nodes, arrays, outputs=("y",)):
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", *outputs)]
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return made.SerializeToString(deterministic=True)


def expanded(nodes, arrays, outputs=("y",)):
    """Operations and initializers that are left."""
    graph = onnx.load_model_from_string(expand_weights(model(nodes, arrays, outputs))).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    return [n.op_type for n in graph.node], arrays


def test_a_table_and_indices_become_the_weight():
    ops, arrays = expanded([CAST, GATHER, ADD], {"c": CODES, "t": TABLE})
    assert ops == ["Add"]
    assert list(arrays) == ["w"]
    assert arrays["w"].dtype == np.float32
    np.testing.assert_array_equal(arrays["w"], TABLE[CODES])


def test_indices_may_be_computed():
    nodes = [
        node("Range", ["b", "e", "s"], ["r"]),
        node("Mod", ["r", "p"], ["m"]),
        node("Mul", ["m", "m"], ["q"]),
        node("Mod", ["q", "p"], ["h"]),
        node("Mod", ["h", "k"], ["f"]),
        node("Reshape", ["f", "shape"], ["i"]),
        node("Neg", ["c"], ["n"]),
        node("Concat", ["c", "n"], ["t"], axis=0),
        GATHER,
        ADD,
    ]
    numbers = {"b": 5, "e": 5 + 12 * 91, "s": 91, "p": 97, "k": 8}
    arrays = {name: np.array(number, np.int64) for name, number in numbers.items()}
    arrays |= {"c": TABLE, "shape": np.array([3, 4])}
    ops, left = expanded(nodes, arrays)
    assert ops == ["Add"]
    assert list(left) == ["w"]
    both = [*TABLE.tolist(), *(-TABLE).tolist()]
    by_hand = [both[((5 + 91 * i) % 97) ** 2 % 97 % 8] for i in range(12)]
    assert left["w"].tolist() == np.array(by_hand, np.float32).reshape(3, 4).tolist()


def test_what_others_read_stays():
    ops, arrays = expanded([CAST, GATHER, ADD], {"c": CODES, "t": TABLE}, ("y", "i"))
    assert ops == ["Cast", "Add"]
    assert list(arrays) == ["c", "w"]
    ops, arrays = expanded([CAST, GATHER, ADD], {"c": CODES, "t": TABLE}, ("y", "w"))
    assert ops == ["Cast", "Gather", "Add"]


@pytest.mark.parametrize(
    ("nodes", "arrays"),
    [
        ([CAST, node("Gather", ["t", "i"], ["w"], axis=1)], {"c": CODES, "t": TABLE[None]}),
        ([CAST, GATHER], {"c": CODES, "t": TABLE[:, None]}),
        ([CAST, GATHER], {"c": CODES, "t": TABLE.astype(np.float64)}),
        ([CAST, node("Gather", ["x", "i"], ["w"])], {"c": CODES}),
        ([CAST, GATHER], {"c": CODES.astype(np.float32), "t": TABLE}),
        ([node("Cast", ["c"], ["i"], to=TensorProto.INT8), GATHER], {"c": CODES, "t": TABLE}),
        ([node("Mod", ["c", "d"], ["i"], fmod=1), GATHER], {"c": 5, "d": 3, "t": TABLE}),
        ([node("Mod", ["c", "d"], ["i"]), GATHER], {"c": 5, "d": 0, "t": TABLE}),
        ([node("Mul", ["c", "d"], ["i"]), GATHER], {"c": CODES, "d": CODES, "t": TABLE}),
        ([node("Reshape", ["c", "d"], ["i"]), GATHER], {"c": [1, 2], "d": [0], "t": TABLE}),
        ([CAST, node("Neg", ["b"], ["t"]), GATHER], {"c": CODES, "b": TABLE > 0}),
    ],
    ids=str,
)
def test_other_gathers_are_left_to_the_engine(nodes, arrays):
    ops, _ = expanded([*nodes, ADD], arrays)
    assert "Gather" in ops


def test_nothing_huge_is_made(monkeypatch):
    monkeypatch.setattr(gathered, "_MOST", 6)
    r = node("Range", ["b", "e", "s"], ["i"])
    for end, left in ((6, ["Add"]), (7, ["Range", "Gather", "Add"])):
        numbers = {
            "b": np.array(0),
            "e": np.array(end),
            "s": np.array(1),
            "t": np.ones(9, "f"),
        }
        assert expanded([r, GATHER, ADD], numbers)[0] == left
    both = node("Concat", ["u", "u"], ["t"], axis=0)
    for size, left in ((3, ["Add"]), (4, ["Cast", "Concat", "Gather", "Add"])):
        arrays = {"c": CODES[:, :2], "u": np.ones(size, np.float32)}
        assert expanded([CAST, both, GATHER, ADD], arrays)[0] == left
    outer = node("Mul", ["c", "d"], ["i"])
    for size, left in ((2, ["Add"]), (3, ["Mul", "Gather", "Add"])):
        arrays = {"c": np.zeros((3, 1), np.int64), "d": np.zeros((1, size), np.int64)}
        assert expanded([outer, GATHER, ADD], {**arrays, "t": TABLE})[0] == left


def test_a_long_way_is_left_to_the_engine():
    ways = [node("Neg", [f"i{n}"], [f"i{n + 1}"]) for n in range(13)]
    for first, left in ((1, 0), (0, 13)):
        gather = node("Gather", ["t", "i13"], ["w"])
        arrays = {f"i{first}": np.zeros(2, np.int32), "t": TABLE}
        ops, _ = expanded([*ways[first:], gather, ADD], arrays)
        assert ops.count("Neg") == left


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_outside_of_the_table_is_refused(index):
    with pytest.raises(ModelError, match=r"w has indices from -?\d to \d into 4 numbers"):
        expand_weights(model([CAST, GATHER, ADD], {"c": CODES * 0 + index, "t": TABLE}))


@pytest.mark.parametrize(
    ("maker", "arrays"),
    [
        (node("Range", ["b", "b", "s"], ["i"]), {"b": np.array(0), "s": np.array(0)}),
        (node("Range", ["s", "b", "s"], ["i"]), {"b": np.array(0), "s": np.array([1, 2])}),
        (node("Reshape", ["b", "s"], ["i"]), {"b": np.array(0), "s": np.array([2])}),
        (node("Mul", ["b", "s"], ["i"]), {"b": np.arange(2), "s": np.arange(3)}),
        (node("Concat", ["b"], ["i"], axis=2), {"b": np.arange(2)}),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused(maker, arrays):
    with pytest.raises(ModelError, match="i cannot be computed"):
        expand_weights(model([maker, GATHER, ADD], {**arrays, "t": TABLE}))
