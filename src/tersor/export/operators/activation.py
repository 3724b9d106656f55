"""Activations: functions of one number, and softmax."""

import math
from collections.abc import Callable

import torch

from tersor.export.call import Call, Value
from tersor.export.operators.normalization import per_channel
from tersor.export.writer import Writer

Write = Callable[[Writer, Call], str]


def scalar(w: Writer, value: object, like: Value) -> str:
    """A constant of the element type of `like`."""
    return w.constant(value, like.dtype)


def simple(op: str) -> Write:
    """An operation that ONNX has too; whole numbers are cast where PyTorch casts them."""

    def write(w: Writer, call: Call) -> str:
        x = call.x
        cast = x.dtype != call.result.dtype
        return w.node(op, w.cast(x.name, call.result.dtype) if cast else x.name)

    return write


def clip(w: Writer, x: Value, low: object, high: object) -> str:
    """X limited to low..high; None does not limit."""
    limits = ["" if v is None else scalar(w, v, x) for v in (low, high)]
    while limits and not limits[-1]:
        limits.pop()
    return w.node("Clip", x.name, *limits)


def relu6(w: Writer, call: Call) -> str:
    """X limited to 0..6."""
    return clip(w, call.x, 0, 6)


def hardtanh(w: Writer, call: Call) -> str:
    """X limited to min_val..max_val."""
    return clip(w, call.x, call.number("min_val"), call.number("max_val"))


def with_alpha(op: str, name: str) -> Write:
    """An operation with one number `alpha`."""
    return lambda w, call: w.node(op, call.x.name, alpha=float(call.number(name)))


def celu(w: Writer, call: Call) -> str:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)); ONNX has this for float32 only."""
    x, wide = call.x, torch.float32
    if x.dtype == torch.float64:
        call.fail("is of float64")
    narrow = x.dtype != wide
    name = w.cast(x.name, wide) if narrow else x.name
    name = w.node("Celu", name, alpha=float(call.number("alpha")))
    return w.cast(name, x.dtype) if narrow else name


def elu(w: Writer, call: Call) -> str:
    """Scale * x where x > 0, else scale * alpha * (exp(input_scale * x) - 1)."""
    alpha, scale = float(call.number("alpha")), float(call.number("scale"))
    if call.number("input_scale") != 1:
        call.fail("scales its input")
    if scale == 1:
        return w.node("Elu", call.x.name, alpha=alpha)
    return w.node("Selu", call.x.name, alpha=alpha, gamma=scale)


def prelu(w: Writer, call: Call) -> str:
    """Weight * x where x < 0; one weight, or one per channel."""
    weight = call.value("weight")
    shaped = weight.name
    if weight.rank == 1 and weight.shape[0] != 1:
        shaped = per_channel(w, weight, call.x.rank)
    return w.node("PRelu", call.x.name, shaped)


def gelu(w: Writer, call: Call) -> str:
    """X * Phi(x), exact or through tanh."""
    x = call.x
    half, one = scalar(w, 0.5, x), scalar(w, 1.0, x)
    if call.get("approximate") == "tanh":
        cube = w.node("Mul", w.node("Mul", x.name, x.name), x.name)
        bent = w.node("Add", x.name, w.node("Mul", cube, scalar(w, 0.044715, x)))
        inner = w.node("Mul", bent, scalar(w, math.sqrt(2 / math.pi), x))
        shape = w.node("Tanh", inner)
    else:
        shape = w.node("Erf", w.node("Div", x.name, scalar(w, math.sqrt(2), x)))
    return w.node("Mul", w.node("Mul", x.name, w.node("Add", shape, one)), half)


def silu(w: Writer, call: Call) -> str:
    """X * sigmoid(x)."""
    return w.node("Mul", call.x.name, w.node("Sigmoid", call.x.name))


def mish(w: Writer, call: Call) -> str:
    """X * tanh(softplus(x))."""
    soft = w.node("Tanh", w.node("Softplus", call.x.name))
    return w.node("Mul", call.x.name, soft)


def hardsigmoid(w: Writer, call: Call) -> str:
    """X / 6 + 1 / 2, limited to 0..1."""
    return w.node("HardSigmoid", call.x.name, alpha=1 / 6, beta=0.5)


def softplus(w: Writer, call: Call) -> str:
    """log(1 + exp(beta * x)) / beta."""
    x, beta = call.x, call.number("beta")
    if beta == 1:
        return w.node("Softplus", x.name)
    factor = scalar(w, beta, x)
    return w.node("Div", w.node("Softplus", w.node("Mul", x.name, factor)), factor)


def log_sigmoid(w: Writer, call: Call) -> str:
    """-log(1 + exp(-x))."""
    return w.node("Neg", w.node("Softplus", w.node("Neg", call.x.name)))


def threshold(w: Writer, call: Call) -> str:
    """X where x > threshold, else value."""
    x = call.x
    above = w.node("Greater", x.name, scalar(w, call.number("threshold"), x))
    return w.node("Where", above, x.name, scalar(w, call.number("value"), x))


def glu(w: Writer, call: Call) -> str:
    """First half times the sigmoid of the second half."""
    first, second = w.node_of("Split", [call.x.name], 2, axis=call.axis("dim"))
    return w.node("Mul", first, w.node("Sigmoid", second))


def softmax(op: str) -> Write:
    """Softmax or its logarithm along one dimension, in the wanted type."""

    def write(w: Writer, call: Call) -> str:
        x = call.x
        cast = x.dtype != call.result.dtype
        name = w.cast(x.name, call.result.dtype) if cast else x.name
        return w.node(op, name, axis=call.axis("dim"))

    return write


def clamp(w: Writer, call: Call) -> str:
    """X limited from below, from above, or both, by numbers or tensors."""
    x, limited = call.x, call.result
    name = w.cast(x.name, limited.dtype) if x.dtype != limited.dtype else x.name
    for op, key in (("Max", "min"), ("Min", "max")):
        limit = call.get_or(key)
        if isinstance(limit, Value):
            cast = limit.dtype != limited.dtype
            name = w.node(op, name, w.cast(limit.name, limited.dtype) if cast else limit.name)
    low, high = (None if isinstance(v, Value) else v for v in map(call.get_or, ("min", "max")))
    if low is None and high is None:
        return name
    return clip(w, Value(name, limited.probes), low, high)


OPERATORS: dict[str, Write] = {
    "aten.relu.default": simple("Relu"),
    "aten.sigmoid.default": simple("Sigmoid"),
    "aten.tanh.default": simple("Tanh"),
    "aten.selu.default": simple("Selu"),
    "aten.hardswish.default": simple("HardSwish"),
    "aten.relu6.default": relu6,
    "aten.hardtanh.default": hardtanh,
    "aten.clamp.default": clamp,
    "aten.clamp.Tensor": clamp,
    "aten.clamp_min.default": clamp,
    "aten.clamp_max.default": clamp,
    "aten.clamp_min.Tensor": clamp,
    "aten.clamp_max.Tensor": clamp,
    "aten.leaky_relu.default": with_alpha("LeakyRelu", "negative_slope"),
    "aten.celu.default": celu,
    "aten.elu.default": elu,
    "aten.prelu.default": prelu,
    "aten._prelu_kernel.default": prelu,
    "aten.gelu.default": gelu,
    "aten.silu.default": silu,
    "aten.mish.default": mish,
    "aten.hardsigmoid.default": hardsigmoid,
    "aten.softplus.default": softplus,
    "aten.log_sigmoid.default": log_sigmoid,
    "aten.threshold.default": threshold,
    "aten.glu.default": glu,
    "aten.softmax.int": softmax("Softmax"),
    "aten._softmax.default": softmax("Softmax"),
    "aten.log_softmax.int": softmax("LogSoftmax"),
    "aten._log_softmax.default": softmax("LogSoftmax"),
}
