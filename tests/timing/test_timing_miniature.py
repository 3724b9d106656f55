"""Miniatures: as many layers as asked for, and what they compute."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tersor import engines
from tersor.timing.miniature import model
from tersor.timing.work import OPS, Work

WORKS = {
    "conv": Work("conv", ((2, 3, 6, 5), (4, 3, 3, 3)), (1, 1), (1, 1), (1, 1)),
    "conv_transpose": Work("conv_transpose", ((1, 4, 5), (4, 3, 2)), (2,), (0,), (1,), 2),
    "matmul": Work("matmul", ((7, 3), (3, 5))),
    "product": Work("product", ((4, 7, 3), (4, 3, 5))),
    "attention": Work("attention", ((1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 3))),
    "lstm": Work("lstm", ((6, 2, 3), (2, 16, 3), (2, 16, 4))),
    "gru": Work("gru", ((6, 2, 3), (1, 12, 3), (1, 12, 4))),
    "rnn": Work("rnn", ((6, 2, 3), (1, 4, 3), (1, 4, 4))),
    "move": Work("move", ((1024,),)),
    "call": Work("call", ()),
}
KERNELS = {
    "conv": "Conv",
    "conv_transpose": "ConvTranspose",
    "matmul": "Gemm",
    "product": "MatMul",
    "attention": "Softmax",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn": "RNN",
    "move": "LayerNormalization",
}


def run(content, feeds, name="onnxruntime"):
    (result,) = engines.find(name).prepare(content, threads=1).run(feeds).values()
    return result


def nodes(content):
    return Counter(node.op_type for node in onnx.load_model_from_string(content).graph.node)


def test_there_is_one_for_every_operation():
    assert tuple(WORKS) == OPS


@pytest.mark.parametrize("op", KERNELS)
def test_layers_are_as_many_as_asked_for(op):
    for copies in (1, 3):
        assert nodes(model(WORKS[op], copies)[0])[KERNELS[op]] == copies


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("op", OPS)
def test_engines_run_them(op, name):
    if engines.find(name).version() is None:
        pytest.skip(f"{name} is not installed")
    result = run(*model(WORKS[op], 2), name)
    assert np.isfinite(result).all()
    if op not in {"conv", "conv_transpose", "move", "call"}:
        assert result.shape == WORKS[op].output


def test_the_same_work_gives_the_same_bytes():
    for work in WORKS.values():
        assert model(work, 2)[0] == model(work, 2)[0]


def test_products_are_added_up():
    content, feeds = model(WORKS["matmul"], 3)
    arrays = map(numpy_helper.to_array, onnx.load_model_from_string(content).graph.initializer)
    w0, b0, w1, b1, w2, b2 = arrays
    expected = feeds["x0"] @ (w0 + w1 + w2) + b0 + b1 + b2
    np.testing.assert_allclose(run(content, feeds), expected, rtol=1e-4, atol=1e-5)


def test_weights_of_layers_differ():
    for op in ("conv", "lstm"):
        found = onnx.load_model_from_string(model(WORKS[op], 2)[0]).graph.initializer
        half = len(found) // 2
        for one, other in zip(found[:half], found[half:], strict=True):
            assert one.raw_data != other.raw_data


@pytest.mark.parametrize(("activation", "op"), [("relu", "Relu"), ("clip", "Clip")])
def test_activations_follow_convolutions(activation, op):
    work = Work("conv", ((1, 3, 6), (4, 3, 3)), (1,), (1,), (1,), 1, activation)
    content, feeds = model(work, 2)
    assert nodes(content)[op] == 2
    assert run(content, feeds).min() >= 0


def test_convolutions_have_the_settings_of_the_work():
    work = Work("conv", ((1, 4, 9, 9), (6, 2, 3, 3)), (2, 1), (1, 0), (1, 3), 2)
    conv = onnx.load_model_from_string(model(work, 1)[0]).graph.node[0]
    assert {a.name: onnx.helper.get_attribute_value(a) for a in conv.attribute} == {
        "strides": [2, 1],
        "pads": [1, 0, 1, 0],
        "dilations": [1, 3],
        "group": 2,
    }


def test_of_convolutions_one_element_per_channel_is_taken():
    assert run(*model(WORKS["conv"], 3)).shape == (2, 3 * 4, 1, 1)


def test_moved_elements_are_read_and_written():
    """Half of them are the input, as many the result."""
    content, feeds = model(WORKS["move"], 1)
    assert feeds["x0"].size + run(content, feeds).size == 1024
