"""Weights of shared values, gathered from a table: the code Codebook."""

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import agree, floats, model, node, refused_node, targets

from tersor.codes.codebook import Codebook
from tersor.network.from_onnx.reader import read

TABLE = np.array([0.0, 0.5, 2.0, -1.0], np.float32)
CODES = np.array([[0, 1, -1], [2, -4, 3], [-2, 0, 1], [1, 1, -3]], np.int8)
NODES = [
    node("Cast", "w.codes", "w.indices", to=TensorProto.INT32),
    node("Gather", "w.centroids w.indices", "w"),
    node("MatMul", "x w", "y"),
]


def shared(nodes=NODES, table=TABLE, codes=CODES):
    weights = {"w.codes": codes, "w.centroids": table}
    return model(nodes, {"x": ["N", codes.shape[0]]}, ["y"], weights)


def only_code(network):
    (code,) = [m for m in network.module.modules() if isinstance(m, Codebook)]
    return code


def test_a_weight_of_shared_values_becomes_a_codebook_under_its_name():
    network = agree(shared(), {"x": floats(2, 4)})
    code = only_code(network)
    assert network.module.get_submodule("w") is code
    np.testing.assert_array_equal(code().detach().numpy(), TABLE[CODES])
    assert code.zero == 0


def test_without_a_zero_nothing_is_pinned():
    code = only_code(agree(shared(table=TABLE + 0.25), {"x": floats(2, 4)}))
    assert code.pinned() is None


def test_large_weights_are_recognized_too():
    codes = np.resize(CODES, (300, 300))
    code = only_code(read(shared(codes=codes).SerializeToString()))
    np.testing.assert_array_equal(code().detach().numpy(), TABLE[codes])


def test_more_numbers_than_elements_are_no_codebook():
    network = agree(shared(table=floats(256), codes=CODES[:1]), {"x": floats(2, 1)})
    assert not any(isinstance(m, Codebook) for m in network.module.modules())


def test_integers_are_cast_before_anything_runs():
    nodes = [*NODES, node("Cast", "w.codes", "z", to=TensorProto.INT64)]
    weights = {"w.codes": CODES, "w.centroids": TABLE}
    network = agree(model(nodes, {"x": ["N", 4]}, ["y", "z"], weights), {"x": floats(2, 4)})
    assert targets(network) == ["aten.matmul.default"]


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_outside_of_the_table_is_refused(index):
    codes = CODES.copy()
    codes[1, 1] = index
    refused_node(shared(codes=codes), r"Gather .* has indices from -\d to \d into 4 numbers")
