"""Fused operators of ONNX Runtime's domain against ONNX Runtime."""

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import agree, by_runtime, floats, fused, model, node, refused_node

INT32 = TensorProto.INT32
X = {"x": floats(2, 5, 8)}
VECTORS = {"g": floats(8, seed=1) + 2, "b": floats(8, seed=2), "s": floats(2, 5, 8, seed=3)}


def check(made, names=("y",), weights=VECTORS, shape=("N", "S", 8), feeds=X, more=None):
    inputs = {"x": list(shape)} | (more or {})
    used = {k: v for k, v in weights.items() if k in made.input}
    return agree(model([made], inputs, list(names), used), feeds, oracle=by_runtime)


@pytest.mark.parametrize("op", ["Gelu", "QuickGelu", "FastGelu"])
def test_activations(op):
    check(fused(op, "x", "y"))


@pytest.mark.parametrize("op", ["BiasGelu", "FastGelu"])
def test_activations_with_a_bias(op):
    check(fused(op, "x b", "y"))


SKIPS = {
    "plain": ("x s g", "y"),
    "shift": ("x s g b", "y"),
    "bias": ("x s g b b", "y"),
    "sum": ("x s g b", "y - - sum"),
}


@pytest.mark.parametrize("case", SKIPS)
def test_skip_layer_normalization(case):
    inputs, outputs = SKIPS[case]
    made = fused("SkipLayerNormalization", inputs, outputs, epsilon=1e-5)
    check(made, [name for name in outputs.split() if name != "-"], shape=(2, 5, 8))


@pytest.mark.parametrize("inputs", ["x s g", "x s g b"])
def test_skip_simplified_layer_normalization(inputs):
    made = fused("SkipSimplifiedLayerNormalization", inputs, "y - - sum", epsilon=1e-5)
    check(made, ["y", "sum"], shape=(2, 5, 8))


def test_simplified_layer_normalization_stands_in_the_default_domain():
    check(node("SimplifiedLayerNormalization", "x g", "y", axis=-1, epsilon=1e-5))


@pytest.mark.parametrize("segments", [True, False])
def test_embeddings_are_added_and_normalized(segments):
    inputs = "ids segs w p t g b" if segments else "ids - w p - g b"
    made = fused("EmbedLayerNormalization", inputs, "y - sum", epsilon=1e-5)
    if segments:
        made.input.append("mask")
        made.output[1] = "lengths"
    weights = VECTORS | {
        "w": floats(20, 8, seed=4),
        "p": floats(6, 8, seed=5),
        "t": floats(2, 8, seed=6),
    }
    names = ["ids", "segs", "mask"] if segments else ["ids"]
    ids = np.random.default_rng(0).integers(0, 20, (3, 5)).astype(np.int32)
    feeds = {"ids": ids, "segs": ids % 2, "mask": np.ones_like(ids)}
    used = {k: v for k, v in weights.items() if k in made.input}
    outputs = [name for name in made.output if name]
    proto = model([made], {n: (["N", "S"], INT32) for n in names}, outputs, used)
    agree(proto, {n: feeds[n] for n in names}, oracle=by_runtime)


@pytest.mark.parametrize("more", [{}, {"unidirectional": 1}, {"scale": 0.5}], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_of_one_input(more, masked):
    made = fused("Attention", "x w c", "y", num_heads=2, **more)
    weights = {"w": floats(8, 24, seed=1) / 4, "c": floats(24, seed=2)}
    inputs, feeds = {"x": [2, 5, 8]}, dict(X)
    if masked:
        made.input.append("mask")
        inputs["mask"] = ([2, 5], INT32)
        feeds["mask"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    proto = model([made], inputs, ["y"], weights)
    if masked and "unidirectional" in more:
        refused_node(proto, "in one direction and with a mask cannot")
    else:
        agree(proto, feeds, oracle=by_runtime)


@pytest.mark.parametrize("inputs", ["x k v", "x k v c"])
def test_multi_head_attention(inputs):
    made = fused("MultiHeadAttention", inputs, "y", num_heads=2)
    weights = {"c": floats(24, seed=2)}
    more = {"k": ["N", "L", 8], "v": ["N", "L", 8]}
    feeds = X | {"k": floats(2, 7, 8, seed=3), "v": floats(2, 7, 8, seed=4)}
    check(made, weights=weights, more=more, feeds=feeds)


@pytest.mark.parametrize(
    "attributes", [{}, {"transB": 1, "alpha": 0.5}, {"transA": 1}], ids=str
)
def test_fused_matmul(attributes):
    shape = (2, 8, 5) if "transA" in attributes else (2, 5, 8)
    w = floats(3, 8, seed=1) if "transB" in attributes else floats(8, 3, seed=1)
    made = fused("FusedMatMul", "x w", "y", **attributes)
    check(made, weights={"w": w}, shape=shape, feeds={"x": floats(*shape)})


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh", ""])
def test_fused_convolution(activation):
    more = {"activation": activation} if activation else {}
    made = fused("FusedConv", "x w b", "y", pads=[1, 1, 1, 1], **more)
    weights = {"w": floats(4, 3, 3, 3, seed=1), "b": floats(4, seed=2)}
    feeds = {"x": floats(2, 3, 6, 6)}
    check(made, weights=weights, shape=("N", 3, 6, 6), feeds=feeds)


def test_fused_convolution_adds_its_fourth_input():
    made = fused("FusedConv", "x w b z", "y", pads=[1, 1, 1, 1], activation="Relu")
    weights = {"w": floats(3, 3, 3, 3, seed=1), "b": floats(3, seed=2)}
    feeds = {"x": floats(2, 3, 6, 6), "z": floats(2, 3, 6, 6, seed=5)}
    check(made, weights=weights, shape=(2, 3, 6, 6), feeds=feeds, more={"z": [2, 3, 6, 6]})


def test_fused_gemm():
    made = fused("FusedGemm", "x w b", "y", transB=1, activation="Relu")
    weights = {"w": floats(4, 8, seed=1), "b": floats(4, seed=2)}
    check(made, weights=weights, shape=("N", 8), feeds={"x": floats(3, 8)})


REFUSED = {
    "with the activation 'Sin'": fused("FusedGemm", "x w", "y", transB=1, activation="Sin"),
    "with transposed batches": fused("FusedMatMul", "x w", "y", transBatchA=1),
    "with a past": fused("MultiHeadAttention", "x x x - - - x", "y", num_heads=2),
    "packed or turned": fused("MultiHeadAttention", "x w w", "y", num_heads=2),
    "parts that do not fit": fused("Attention", "x w", "y", num_heads=2),
    "other than two dimensions": fused("MultiHeadAttention", "x x x - x", "y", num_heads=2),
    "has 3 heads": fused("MultiHeadAttention", "x x x", "y", num_heads=3),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_read_is_named(words):
    weights = {"w": floats(8, 8)}
    made = REFUSED[words]
    shape = ["N", 8] if made.op_type == "FusedGemm" else ["N", "S", 8]
    refused_node(model([made], {"x": shape}, ["y"], weights), words)
