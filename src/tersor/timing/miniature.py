"""ONNX models of a layer alone, as often as wanted, so that a clock can see it.

A run of a model costs more than its layers: the call, feeding and fetching, and bringing
values into the order that the engine likes. So the same work is done by 1 and by 1 + k layers
with weights of their own, which read the same input, and the difference counts:

    ms of a layer = (ms of 1 + k layers - ms of 1 layer) / k

Results have to go somewhere. Of a convolution's result a pooling of one element takes one per
channel, which costs nothing, and activations are as in the network: not all engines compute
them on the way. Results of other layers are added up, which is little against the layer.
Moving elements is seen by a chain of normalizations, which no engine merges.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tersor.timing.work import CONVOLUTIONS, GATES, Shape, Work

Array = NDArray[np.float32]

_OPSET, _IR_VERSION = 17, 8
_ZERO, _SIX = np.float32(0), np.float32(6)
_ROW = 256  # elements that are normalized together


class Miniature:
    """A model under construction: nodes, weights and the inputs' shapes."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.inputs: dict[str, Shape] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def take(self, shape: Shape) -> str:
        """An input of the model."""
        name = f"x{len(self.inputs)}"
        self.inputs[name] = shape
        return name

    def weight(self, *shape: int) -> str:
        """New weights, small enough for any sum of a few layers."""
        values = self._random.standard_normal(shape) / 16
        return self.constant(values.astype(np.float32))

    def constant(self, values: NDArray[np.generic] | np.float32) -> str:
        """An array of the model."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The result of a new node."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def model(self, output: str) -> bytes:
        """The ONNX file."""
        of = helper.make_tensor_value_info
        ends = [of(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()]
        results = [of(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self._nodes, "layers", ends, results, self._weights)
        opset = helper.make_opsetid("", _OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        return bytes(made.SerializeToString())


def model(work: Work, copies: int) -> tuple[bytes, dict[str, Array]]:
    """An ONNX model that does `work` several times, and what to feed it.

    Args:
        work: Of any operation.
        copies: How many layers, at least 1.
    """
    made = Miniature(work)
    result = _BUILDERS[work.op](made, copies)
    random = np.random.default_rng(1)
    feeds = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in made.inputs.items()
    }
    return made.model(result), feeds


def _summed(layer: Callable[[Miniature, list[str]], str]) -> Callable[[Miniature, int], str]:
    """Builds the sum of so many layers on the same inputs."""

    def build(made: Miniature, copies: int) -> str:
        shapes = made.work.shapes
        weighted = made.work.weight_bytes > 0
        inputs = [made.take(shape) for shape in (shapes[:1] if weighted else shapes)]
        total = layer(made, inputs)
        for _ in range(copies - 1):
            total = made.node("Add", layer(made, inputs), total)
        return total

    return build


def _pooled(made: Miniature, copies: int) -> str:
    """Convolutions of one input, and of every result one element per channel."""
    x = made.take(made.work.shapes[0])
    sides = made.work.output[2:]
    corners = [
        made.node("MaxPool", _conv(made, [x]), kernel_shape=[1] * len(sides), strides=sides)
        for _ in range(copies)
    ]
    return made.node("Concat", *corners, axis=1)


def _conv(made: Miniature, inputs: list[str]) -> str:
    work = made.work
    bias = made.weight(work.output[1])
    op = "Conv" if work.op == "conv" else "ConvTranspose"
    result = made.node(
        *(op, *inputs, made.weight(*work.shapes[1]), bias),
        strides=work.stride,
        pads=work.padding * 2,
        dilations=work.dilation,
        group=work.groups,
    )
    if work.activation == "relu":
        return made.node("Relu", result)
    if work.activation == "clip":
        return made.node("Clip", result, made.constant(_ZERO), made.constant(_SIX))
    return result


def _matmul(made: Miniature, inputs: list[str]) -> str:
    k, n = made.work.shapes[1]
    return made.node("Gemm", *inputs, made.weight(k, n), made.weight(n))


def _product(made: Miniature, inputs: list[str]) -> str:
    left, right = inputs
    return made.node("MatMul", made.node("Mul", left, made.weight()), right)


def _attention(made: Miniature, inputs: list[str]) -> str:
    query, key, value = inputs
    scaled = made.node("Mul", query, made.weight())
    turned = made.node("Transpose", key, perm=[0, 1, 3, 2])
    shares = made.node("Softmax", made.node("MatMul", scaled, turned), axis=-1)
    return made.node("MatMul", shares, value)


def _recurrent(made: Miniature, inputs: list[str]) -> str:
    op, (_, of_input, of_state) = made.work.op, made.work.shapes
    directions, rows, _ = of_input
    as_torch: dict[str, Any] = {"linear_before_reset": 1} if op == "gru" else {}
    return made.node(
        *(op.upper(), *inputs, made.weight(*of_input), made.weight(*of_state)),
        made.weight(directions, 2 * rows),
        hidden_size=of_state[-1],
        direction="forward" if directions == 1 else "bidirectional",
        **as_torch,
    )


def _move(made: Miniature, copies: int) -> str:
    """Each normalization reads and writes half of the elements."""
    rows = max(1, math.ceil(made.work.shapes[0][0] / 2 / _ROW))
    x = made.take((rows, _ROW))
    for _ in range(copies):
        x = made.node("LayerNormalization", x, made.weight(_ROW), made.weight(_ROW), axis=-1)
    return x


def _call(made: Miniature, copies: int) -> str:
    del copies
    return made.node("Relu", made.take((1, 1)))


_BUILDERS: dict[str, Callable[[Miniature, int], str]] = {
    **dict.fromkeys(CONVOLUTIONS, _pooled),
    "matmul": _summed(_matmul),
    "product": _summed(_product),
    "attention": _summed(_attention),
    **dict.fromkeys(GATES, _summed(_recurrent)),
    "move": _move,
    "call": _call,
}
