"""Small ONNX models written by hand, for trying engines."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[np.generic]
Ports = dict[str, tuple[int, Sequence[int | str]]]

CHANNELS = 8
SIZE = 6
FEATURES = 12
HIDDEN = 16
CLASSES = 5


def perceptron(*, absolute: bool = False) -> bytes:
    """From x (n, 12) -> Gemm -> Relu -> Gemm -> y (n, 5), float32.

    `absolute` gives the same with the magnitudes of all weights.
    """
    rng = np.random.default_rng(1)
    shapes = {"w1": (FEATURES, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["y"]),
    ]
    weights = _normal(rng, shapes, absolute=absolute)
    ports: Ports = {"x": (TensorProto.FLOAT, ("n", FEATURES))}
    return _model(nodes, ports, {"y": (TensorProto.FLOAT, ("n", CLASSES))}, weights)


def convolutional(*, absolute: bool = False) -> bytes:
    """From x (n, 3, 6, 6) -> conv, relu, conv, plus first relu, relu, mean -> y (n, 8, 1, 1).

    `absolute` gives the same with the magnitudes of all weights.
    """
    rng = np.random.default_rng(2)
    shapes = {
        "w1": (CHANNELS, 3, 3, 3),
        "b1": (CHANNELS,),
        "w2": (CHANNELS, CHANNELS, 3, 3),
        "b2": (CHANNELS,),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"]),
        helper.make_node("Relu", ["s"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["y"]),
    ]
    weights = _normal(rng, shapes, absolute=absolute)
    ports: Ports = {"x": (TensorProto.FLOAT, ("n", 3, SIZE, SIZE))}
    return _model(nodes, ports, {"y": (TensorProto.FLOAT, ("n", CHANNELS, 1, 1))}, weights)


INPUT_STEP = 0.031  # scales of `quantized`; none is a simple multiple of another
HIDDEN_STEP = 0.017
BRANCH_STEP = 0.0157  # of what is added to the input
OUTPUT_STEP = 0.0617


def quantized() -> bytes:
    """From x (n, 8, 6, 6) -> conv, relu, conv, plus the input -> y, all in 8-bit integers.

    Weights are symmetric int8 per output channel, activations uint8 per tensor, written as
    QuantizeLinear/DequantizeLinear. No weight code exceeds 64, so that two products fit
    into 16 bits: processors without VNNI then compute exactly too.
    """
    rng = np.random.default_rng(3)
    writer = _QdqWriter(rng)
    x = writer.rounded("x", INPUT_STEP, 128)
    h = writer.convolution(x, "1", input_scale=INPUT_STEP)
    writer.nodes.append(helper.make_node("Relu", [h], ["relu"]))
    h = writer.rounded("relu", HIDDEN_STEP, 0)
    h = writer.convolution(h, "2", input_scale=HIDDEN_STEP)
    h = writer.rounded(h, BRANCH_STEP, 128)
    writer.nodes.append(helper.make_node("Add", [h, x], ["sum"]))
    y = writer.rounded("sum", OUTPUT_STEP, 128)
    shape = ("n", CHANNELS, SIZE, SIZE)
    ports: Ports = {"x": (TensorProto.FLOAT, shape)}
    return _model(writer.nodes, ports, {y: (TensorProto.FLOAT, shape)}, writer.weights)


def several_ends() -> bytes:
    """Two inputs, two outputs, neither pair in alphabetical order.

    right, left (n, 4) -> sum = right - left (float32), best = argmax of sum (int64).
    """
    nodes = [
        helper.make_node("Sub", ["right", "left"], ["sum"]),
        helper.make_node("ArgMax", ["sum"], ["best"], axis=1, keepdims=0),
    ]
    ports: Ports = dict.fromkeys(("right", "left"), (TensorProto.FLOAT, ("n", 4)))
    outputs: Ports = {
        "sum": (TensorProto.FLOAT, ("n", 4)),
        "best": (TensorProto.INT64, ("n",)),
    }
    return _model(nodes, ports, outputs, {})


def relu() -> bytes:
    """From x (n, 4) -> Relu -> y: what an engine might be tempted to compute in place."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    port = (TensorProto.FLOAT, ("n", 4))
    return _model(nodes, {"x": port}, {"y": port}, {})


class _QdqWriter:
    """Collects nodes and weights of a quantized model."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}

    def rounded(self, value: str, scale: float, zero_point: int) -> str:
        """Round a value to uint8 codes and back; returns the name of the result."""
        ends = [f"{value}_scale", f"{value}_zero_point"]
        self.weights[ends[0]] = np.asarray(scale, np.float32)
        self.weights[ends[1]] = np.asarray(zero_point, np.uint8)
        pair = [f"{value}_codes", f"{value}_rounded"]
        self.nodes += [
            helper.make_node("QuantizeLinear", [value, *ends], [pair[0]]),
            helper.make_node("DequantizeLinear", [pair[0], *ends], [pair[1]]),
        ]
        return pair[1]

    def convolution(self, value: str, tag: str, *, input_scale: float) -> str:
        """A 3x3 convolution, 8 to 8 channels, weights int8, bias int32."""
        shape = (CHANNELS, CHANNELS, 3, 3)
        scales = self.rng.uniform(0.0015, 0.003, CHANNELS).astype(np.float32)
        self.weights |= {
            f"w{tag}_codes": self.rng.integers(-64, 65, shape).astype(np.int8),
            f"w{tag}_scale": scales,
            f"w{tag}_zero_point": np.zeros(CHANNELS, np.int8),
            f"b{tag}_codes": self.rng.integers(-999, 1000, CHANNELS).astype(np.int32),
            f"b{tag}_scale": scales * np.float32(input_scale),
            f"b{tag}_zero_point": np.zeros(CHANNELS, np.int32),
        }
        for name in (f"w{tag}", f"b{tag}"):
            inputs = [f"{name}_codes", f"{name}_scale", f"{name}_zero_point"]
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
        inputs = [value, f"w{tag}", f"b{tag}"]
        pads = [1, 1, 1, 1]
        self.nodes.append(helper.make_node("Conv", inputs, [f"conv{tag}"], pads=pads))
        return f"conv{tag}"


def _normal(
    rng: np.random.Generator, shapes: dict[str, tuple[int, ...]], *, absolute: bool
) -> dict[str, Array]:
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    return {n: np.abs(w) if absolute else w for n, w in weights.items()}


def _model(
    nodes: Sequence[NodeProto], inputs: Ports, outputs: Ports, weights: dict[str, Array]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "made_by_hand",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())
