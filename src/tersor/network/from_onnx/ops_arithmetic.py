"""Operators that work element by element, and casts."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import DTYPES, Constant, Tensor, Value

aten = torch.ops.aten
Function = Callable[[Operation], Any]


def _unary(target: Any) -> Function:
    return lambda op: op.call(target, op.tensor(0))


def _number_or_tensor(op: Operation, value: Tensor, other: Tensor) -> Tensor | float:
    """A single number, not trained, where `other` is computed and fixes the type."""
    if not isinstance(value, Constant) or not isinstance(other, fx.Node):
        return value
    if value.tensor.ndim or value.tensor.dtype != op.dtype(other):
        return value
    number: float = value.tensor.item()
    return number if value.tensor.dtype != torch.bool else value


def operands(op: Operation) -> tuple[Tensor, Tensor | float]:
    """Both inputs; the second may be a plain number."""
    a, b = op.tensor(0), op.tensor(1)
    return a, _number_or_tensor(op, b, a)


def _binary(target: Any) -> Function:
    return lambda op: op.call(target, *operands(op))


def _commutative(target: Any) -> Function:
    def function(op: Operation) -> Value:
        a, b = op.tensor(0), op.tensor(1)
        number = _number_or_tensor(op, a, b)
        a, other = (b, number) if number is not a else (a, _number_or_tensor(op, b, a))
        return op.call(target, a, other)

    return function


def _tensors(target: Any) -> Function:
    return lambda op: op.call(target, op.tensor(0), op.tensor(1))


def _fold(target: Any) -> Function:
    def function(op: Operation) -> Value:
        tensors = op.tensors()
        if not tensors:
            raise op.refuse("has no inputs")
        return functools.reduce(lambda a, b: op.call(target, a, b), tensors)

    return function


def div(op: Operation) -> Value:
    """Div: integers are divided towards zero."""
    a, b = operands(op)
    if op.dtype(a).is_floating_point:
        result = op.call(aten.div.Tensor, a, b)
    elif isinstance(b, int):
        result = op.call(aten.div.Scalar_mode, a, b, rounding_mode="trunc")
    else:
        result = op.call(aten.div.Tensor_mode, a, b, rounding_mode="trunc")
    return result


def mod(op: Operation) -> Value:
    """Mod: the sign of the divisor, or of the dividend where fmod is set."""
    target = aten.fmod.Tensor if op.integer("fmod", 0) else aten.remainder.Tensor
    return op.call(target, op.tensor(0), op.tensor(1))


def pow_(op: Operation) -> Value:
    """Pow: the result has the type of the base."""
    a, b = op.tensor(0), op.tensor(1)
    if isinstance(b, Constant) and b.tensor.ndim == 0 and op.dtype(a).is_floating_point:
        result = op.call(aten.pow.Tensor_Scalar, a, b.tensor.item())
    else:
        result = op.call(aten.pow.Tensor_Tensor, a, b)
    if op.dtype(result) != op.dtype(a):
        result = op.call(aten.to.dtype, result, op.dtype(a))
    return result


def mean(op: Operation) -> Value:
    """Mean of the inputs."""
    total = _fold(aten.add.Tensor)(op)
    return op.call(aten.div.Tensor, total, len(op.inputs))


def clip(op: Operation) -> Value:
    """Clip; limits are plain numbers where they are known."""
    x = op.tensor(0)
    if op.opset < 11:
        ends: list[Any] = [op.attribute(name, float, None) for name in ("min", "max")]
    else:
        ends = [op.maybe(i) for i in (1, 2)]
    if all(end is None for end in ends):
        return x
    if any(isinstance(end, fx.Node) for end in ends):
        return op.call(aten.clamp.Tensor, x, *ends)
    low, high = (e.tensor.item() if isinstance(e, Constant) else e for e in ends)
    if high is None:
        return op.call(aten.clamp_min.default, x, low)
    return op.call(aten.clamp.default, x, low, high)


def prelu(op: Operation) -> Value:
    """PRelu: a slope per channel where it is one, else any slope that broadcasts."""
    x, slope = op.tensor(0), op.tensor(1)
    shape = op.shape(slope)
    ones = [d for d in shape[1:] if d == 1]
    per_channel = len(shape) == op.rank(x) - 1 and len(ones) == len(shape) - 1
    single = all(d == 1 for d in shape)
    if (per_channel or single) and op.dtype(x).is_floating_point:
        flat = slope if len(shape) == 1 else op.call(aten.reshape.default, slope, [-1])
        return op.call(aten.prelu.default, x, flat)
    is_positive = op.call(aten.ge.Scalar, x, 0)
    return op.call(aten.where.self, is_positive, x, op.call(aten.mul.Tensor, x, slope))


def hard_sigmoid(op: Operation) -> Value:
    """HardSigmoid: clamp(alpha * x + beta, 0, 1)."""
    x, alpha, beta = op.tensor(0), op.real("alpha", 0.2), op.real("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return op.call(aten.hardsigmoid.default, x)
    line = op.call(aten.add.Tensor, op.call(aten.mul.Tensor, x, alpha), beta)
    return op.call(aten.clamp.default, line, 0.0, 1.0)


def selu(op: Operation) -> Value:
    """Selu: gamma * (x or alpha * (exp(x) - 1))."""
    alpha = op.real("alpha", 1.67326319217681884765625)
    gamma = op.real("gamma", 1.05070102214813232421875)
    return op.call(aten.elu.default, op.tensor(0), alpha, gamma)


def gelu(op: Operation) -> Value:
    """Gelu."""
    how = op.text("approximate", "none")
    if how not in {"none", "tanh"}:
        raise op.refuse(f"is approximated by {how!r}, which ONNX does not know")
    return op.call(aten.gelu.default, op.tensor(0), approximate=how)


def swish(op: Operation) -> Value:
    """Swish: x * sigmoid(alpha * x)."""
    x, alpha = op.tensor(0), op.real("alpha", 1.0)
    if alpha == 1.0:
        return op.call(aten.silu.default, x)
    gate = op.call(aten.sigmoid.default, op.call(aten.mul.Tensor, x, alpha))
    return op.call(aten.mul.Tensor, x, gate)


def thresholded_relu(op: Operation) -> Value:
    """ThresholdedRelu: x where x > alpha, else 0."""
    x = op.tensor(0)
    above = op.call(aten.gt.Scalar, x, op.real("alpha", 1.0))
    return op.call(aten.where.ScalarOther, above, x, 0.0)


def softsign(op: Operation) -> Value:
    """Softsign: x / (1 + |x|)."""
    x = op.tensor(0)
    below = op.call(aten.add.Tensor, op.call(aten.abs.default, x), 1.0)
    return op.call(aten.div.Tensor, x, below)


def shrink(op: Operation) -> Value:
    """Shrink: x moved by the bias towards 0 where it is beyond lambd, else 0."""
    x, edge, bias = op.tensor(0), op.real("lambd", 0.5), op.real("bias", 0.0)
    below, above = op.call(aten.lt.Scalar, x, -edge), op.call(aten.gt.Scalar, x, edge)
    raised, lowered = (op.call(aten.add.Scalar, x, b) for b in (bias, -bias))
    high = op.call(aten.where.ScalarOther, above, lowered, 0)
    result = op.call(aten.where.self, below, raised, high)
    return op.call(aten.to.dtype, result, op.dtype(x))


def is_inf(op: Operation) -> Value:
    """IsInf: of both signs, or of one."""
    x = op.tensor(0)
    signs = [op.integer(name, 1) for name in ("detect_negative", "detect_positive")]
    if all(signs):
        return op.call(aten.isinf.default, x)
    if not any(signs):
        return op.call(aten.zeros_like.default, x, dtype=torch.bool)
    return op.call(aten.eq.Scalar, x, float("-inf") if signs[0] else float("inf"))


def not_equal_to_itself(op: Operation) -> Value:
    """IsNaN."""
    x = op.tensor(0)
    return op.call(aten.ne.Tensor, x, x)


def cast(op: Operation) -> Value:
    """Cast."""
    to = op.integer("to")
    if to not in DTYPES:
        raise op.refuse(f"makes elements of type {to}, which cannot be read")
    return _to(op, DTYPES[to])


def cast_like(op: Operation) -> Value:
    """CastLike."""
    like = op.tensor(1)
    if isinstance(like, Constant) and like.bits:
        raise op.refuse("makes elements of four bits, which cannot be read")
    return _to(op, op.dtype(like))


def _to(op: Operation, dtype: torch.dtype) -> Value:
    x = op.tensor(0)
    if op.dtype(x) == dtype:
        return x
    if isinstance(x, Constant) and not (
        x.tensor.is_floating_point() or dtype.is_floating_point
    ):
        return Constant(x.tensor.to(dtype), op.name)
    if isinstance(x, Constant) and x.weight:  # a trained tensor stays one
        x = op.builder.attribute(x)
    return op.call(aten.to.dtype, x, dtype)


_UNARY = {
    "Abs": aten.abs.default,
    "Acos": aten.acos.default,
    "Acosh": aten.acosh.default,
    "Asin": aten.asin.default,
    "Asinh": aten.asinh.default,
    "Atan": aten.atan.default,
    "Atanh": aten.atanh.default,
    "Ceil": aten.ceil.default,
    "Cos": aten.cos.default,
    "Cosh": aten.cosh.default,
    "Erf": aten.erf.default,
    "Exp": aten.exp.default,
    "Floor": aten.floor.default,
    "HardSwish": aten.hardswish.default,
    "Log": aten.log.default,
    "Mish": aten.mish.default,
    "Neg": aten.neg.default,
    "Not": aten.logical_not.default,
    "Reciprocal": aten.reciprocal.default,
    "Relu": aten.relu.default,
    "Round": aten.round.default,
    "Sigmoid": aten.sigmoid.default,
    "Sign": aten.sign.default,
    "Sin": aten.sin.default,
    "Sinh": aten.sinh.default,
    "Softplus": aten.softplus.default,
    "Sqrt": aten.sqrt.default,
    "Tan": aten.tan.default,
    "Tanh": aten.tanh.default,
}
OPERATORS: dict[str, Function] = {
    **{name: _unary(target) for name, target in _UNARY.items()},
    "Add": _commutative(aten.add.Tensor),
    "And": _tensors(aten.logical_and.default),
    "Cast": cast,
    "CastLike": cast_like,
    "Celu": lambda op: op.call(aten.celu.default, op.tensor(0), op.real("alpha", 1.0)),
    "Clip": clip,
    "Det": _unary(aten.linalg_det.default),
    "Div": div,
    "Elu": lambda op: op.call(aten.elu.default, op.tensor(0), op.real("alpha", 1.0)),
    "Equal": _tensors(aten.eq.Tensor),
    "Gelu": gelu,
    "Greater": _tensors(aten.gt.Tensor),
    "GreaterOrEqual": _tensors(aten.ge.Tensor),
    "HardSigmoid": hard_sigmoid,
    "IsInf": is_inf,
    "IsNaN": not_equal_to_itself,
    "LeakyRelu": lambda op: op.call(
        aten.leaky_relu.default, op.tensor(0), op.real("alpha", 0.01)
    ),
    "Less": _tensors(aten.lt.Tensor),
    "LessOrEqual": _tensors(aten.le.Tensor),
    "Max": _fold(aten.maximum.default),
    "Mean": mean,
    "Min": _fold(aten.minimum.default),
    "Mod": mod,
    "Mul": _commutative(aten.mul.Tensor),
    "Or": _tensors(aten.logical_or.default),
    "PRelu": prelu,
    "Pow": pow_,
    "Selu": selu,
    "Shrink": shrink,
    "Softsign": softsign,
    "Sub": _binary(aten.sub.Tensor),
    "Sum": _fold(aten.add.Tensor),
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
    "Where": lambda op: op.call(aten.where.self, *op.tensors()),
    "Xor": _tensors(aten.logical_xor.default),
}
