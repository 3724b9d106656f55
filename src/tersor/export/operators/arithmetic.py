"""Arithmetic of tensors and numbers, element by element, with PyTorch's type promotion."""

from collections.abc import Callable

import torch

from tersor.export.call import Call, Size, Value
from tersor.export.writer import Writer

Write = Callable[[Writer, Call], str]


def as_type(w: Writer, operand: object, dtype: torch.dtype, call: Call) -> str:
    """A tensor, number or size with elements of type `dtype`."""
    if isinstance(operand, Value):
        return operand.name if operand.dtype == dtype else w.cast(operand.name, dtype)
    if isinstance(operand, Size):
        axis = w.constant([0], torch.int64, "axis")
        scalar = w.node("Squeeze", operand.name, axis)
        return scalar if dtype == torch.int64 else w.cast(scalar, dtype)
    if isinstance(operand, (bool, int, float)):
        return w.constant(operand, dtype)
    return call.fail("has an operand that is neither tensor nor number")


def promoted(call: Call) -> torch.dtype:
    """The type in which PyTorch compares the two operands."""
    sides = [call.at(i) for i in (0, 1)]
    known = [o.probes[0] if isinstance(o, (Value, Size)) else o for o in sides]
    dtype: torch.dtype = torch.result_type(*known)  # type: ignore[call-overload]
    return dtype


def binary(op: str) -> Write:
    """An operation of two operands in the type of its result."""

    def write(w: Writer, call: Call) -> str:
        dtype = call.result.dtype
        sides = (as_type(w, call.at(i), dtype, call) for i in (0, 1))
        return w.node(op, *sides)

    return write


def scaled(op: str) -> Write:
    """A sum or difference whose second operand is multiplied by `alpha`."""
    return lambda w, call: combine(w, call, op, call.at(0), call.at(1))


def reverse_difference(w: Writer, call: Call) -> str:
    """The second operand less `alpha` times the first."""
    return combine(w, call, "Sub", call.at(1), call.at(0))


def combine(w: Writer, call: Call, op: str, first: object, second: object) -> str:
    """`first` op `alpha` * `second`."""
    dtype, alpha = call.result.dtype, call.number("alpha")
    if dtype == torch.bool:
        return w.node("Or", *(as_type(w, side, dtype, call) for side in (first, second)))
    if isinstance(second, (int, float)):
        other = w.constant(second * alpha, dtype)
    else:
        other = as_type(w, second, dtype, call)
        if alpha != 1:
            other = w.node("Mul", other, w.constant(alpha, dtype, "alpha"))
    return w.node(op, as_type(w, first, dtype, call), other)


def multiply(w: Writer, call: Call) -> str:
    """The product; of truth values, both."""
    return binary("And" if call.result.dtype == torch.bool else "Mul")(w, call)


def quotient(w: Writer, call: Call, mode: object) -> str:
    """A / b, exact or rounded down ("floor") or towards zero ("trunc")."""
    dtype = call.result.dtype
    a, b = (as_type(w, call.at(i), dtype, call) for i in (0, 1))
    if mode == "floor" and not dtype.is_floating_point:
        a = w.node("Sub", a, w.node("Mod", a, b))
    ratio = w.node("Div", a, b)
    if mode is None or not dtype.is_floating_point:
        return ratio
    return w.node("Floor", ratio) if mode == "floor" else truncated(w, ratio, dtype)


def truncated(w: Writer, x: str, dtype: torch.dtype) -> str:
    """X without its fraction: the floor of what is above zero, the ceiling of the rest."""
    above = w.node("Greater", x, w.constant(0, dtype))
    return w.node("Where", above, w.node("Floor", x), w.node("Ceil", x))


def divide(w: Writer, call: Call) -> str:
    """A quotient, with or without rounding."""
    return quotient(w, call, call.get_or("rounding_mode"))


def floor_divide(w: Writer, call: Call) -> str:
    """A quotient, rounded down."""
    return quotient(w, call, "floor")


def remainder(w: Writer, call: Call) -> str:
    """What a division that rounds down leaves: it has the sign of the divisor."""
    dtype = call.result.dtype
    a, b = (as_type(w, call.at(i), dtype, call) for i in (0, 1))
    if not dtype.is_floating_point:
        return w.node("Mod", a, b)
    return w.node("Sub", a, w.node("Mul", w.node("Floor", w.node("Div", a, b)), b))


def fmod(w: Writer, call: Call) -> str:
    """What a division that rounds towards zero leaves: it has the sign of the dividend."""
    dtype = call.result.dtype
    a, b = (as_type(w, call.at(i), dtype, call) for i in (0, 1))
    return w.node("Mod", a, b, fmod=1)


def power(w: Writer, call: Call) -> str:
    """A to the power of b; squares and roots by their own operations."""
    base, exponent, dtype = call.at(0), call.at(1), call.result.dtype
    if dtype.is_floating_point and isinstance(base, Value):
        x = as_type(w, base, dtype, call)
        if exponent == 2:
            return w.node("Mul", x, x)
        if exponent == 0.5:
            return w.node("Sqrt", x)
    a, b = (as_type(w, o, dtype, call) for o in (base, exponent))
    return w.node("Pow", a, b)


def fused(op: str) -> Write:
    """X + value * a op b."""

    def write(w: Writer, call: Call) -> str:
        dtype, value = call.result.dtype, call.number("value")
        parts = [as_type(w, call.value(n), dtype, call) for n in ("tensor1", "tensor2")]
        product = w.node(op, *parts)
        if value != 1:
            product = w.node("Mul", product, w.constant(value, dtype, "value"))
        return w.node("Add", as_type(w, call.x, dtype, call), product)

    return write


def lerp(w: Writer, call: Call) -> str:
    """A + weight * (b - a)."""
    dtype = call.result.dtype
    a, b = call.x.name, call.value("end").name
    weight = as_type(w, call.get("weight"), dtype, call)
    return w.node("Add", a, w.node("Mul", weight, w.node("Sub", b, a)))


OPERATORS: dict[str, Write] = {
    "aten.add.Tensor": scaled("Add"),
    "aten.add.Scalar": scaled("Add"),
    "aten.sub.Tensor": scaled("Sub"),
    "aten.sub.Scalar": scaled("Sub"),
    "aten.rsub.Tensor": reverse_difference,
    "aten.rsub.Scalar": reverse_difference,
    "aten.mul.Tensor": multiply,
    "aten.mul.Scalar": multiply,
    "aten.div.Tensor": divide,
    "aten.div.Scalar": divide,
    "aten.div.Tensor_mode": divide,
    "aten.div.Scalar_mode": divide,
    "aten.floor_divide.default": floor_divide,
    "aten.floor_divide.Scalar": floor_divide,
    "aten.remainder.Tensor": remainder,
    "aten.remainder.Scalar": remainder,
    "aten.fmod.Tensor": fmod,
    "aten.fmod.Scalar": fmod,
    "aten.pow.Tensor_Scalar": power,
    "aten.pow.Tensor_Tensor": power,
    "aten.pow.Scalar": power,
    "aten.maximum.default": binary("Max"),
    "aten.minimum.default": binary("Min"),
    "aten.max.other": binary("Max"),
    "aten.min.other": binary("Min"),
    "aten.addcmul.default": fused("Mul"),
    "aten.addcdiv.default": fused("Div"),
    "aten.lerp.Scalar": lerp,
    "aten.lerp.Tensor": lerp,
}
