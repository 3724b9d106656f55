"""Functions of one number, element by element."""

import math
from collections.abc import Callable

from tersor.export.call import Call
from tersor.export.operators.activation import simple
from tersor.export.operators.arithmetic import truncated
from tersor.export.writer import Writer

Write = Callable[[Writer, Call], str]


def operand(w: Writer, call: Call) -> str:
    """The input in the type of the result."""
    dtype = call.result.dtype
    return call.x.name if call.x.dtype == dtype else w.cast(call.x.name, dtype)


def rounding(op: str) -> Write:
    """A rounding: whole numbers stay as they are."""

    def write(w: Writer, call: Call) -> str:
        if not call.x.is_float:
            return call.x.name
        if call.get_or("decimals"):
            call.fail("rounds to decimals")
        return w.node(op, call.x.name)

    return write


def trunc(w: Writer, call: Call) -> str:
    """X without its fraction."""
    return truncated(w, call.x.name, call.x.dtype) if call.x.is_float else call.x.name


def after(first: str, second: str) -> Write:
    """Two operations, one after the other."""
    return lambda w, call: w.node(second, w.node(first, operand(w, call)))


def square(w: Writer, call: Call) -> str:
    """X * x."""
    return w.node("Mul", call.x.name, call.x.name)


def logarithm(base: float) -> Write:
    """The logarithm to a base."""

    def write(w: Writer, call: Call) -> str:
        natural = w.node("Log", operand(w, call))
        return w.node("Div", natural, w.constant(math.log(base), call.result.dtype, "base"))

    return write


def log1p(w: Writer, call: Call) -> str:
    """log(1 + x)."""
    one = w.constant(1, call.result.dtype, "one")
    return w.node("Log", w.node("Add", operand(w, call), one))


def expm1(w: Writer, call: Call) -> str:
    """exp(x) - 1."""
    one = w.constant(1, call.result.dtype, "one")
    return w.node("Sub", w.node("Exp", operand(w, call)), one)


def exp2(w: Writer, call: Call) -> str:
    """2 to the power of x."""
    two = w.constant(2, call.result.dtype, "two")
    return w.node("Pow", two, operand(w, call))


_SAME_NAME = (
    "Abs Neg Exp Log Sqrt Erf Reciprocal Sign Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh "
    "Acosh Atanh"
)

OPERATORS: dict[str, Write] = {
    **{f"aten.{op.lower()}.default": simple(op) for op in _SAME_NAME.split()},
    "aten.linalg_det.default": simple("Det"),
    "aten.sgn.default": simple("Sign"),
    "aten.rsqrt.default": after("Sqrt", "Reciprocal"),
    "aten.square.default": square,
    "aten.log2.default": logarithm(2),
    "aten.log10.default": logarithm(10),
    "aten.log1p.default": log1p,
    "aten.expm1.default": expm1,
    "aten.exp2.default": exp2,
    "aten.floor.default": rounding("Floor"),
    "aten.ceil.default": rounding("Ceil"),
    "aten.round.default": rounding("Round"),
    "aten.round.decimals": rounding("Round"),
    "aten.trunc.default": trunc,
}
