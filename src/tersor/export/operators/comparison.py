"""Comparisons, logic, and choices between two values."""

from collections.abc import Callable

import torch

from tersor.export.call import Call
from tersor.export.operators.arithmetic import as_type, promoted
from tersor.export.writer import Writer

Write = Callable[[Writer, Call], str]


def compare(op: str, *, negated: bool = False) -> Write:
    """A comparison in the common type of both sides."""

    def write(w: Writer, call: Call) -> str:
        dtype = promoted(call)
        if dtype == torch.bool and op != "Equal":
            dtype = torch.int32
        found = w.node(op, *(as_type(w, call.at(i), dtype, call) for i in (0, 1)))
        return w.node("Not", found) if negated else found

    return write


def logic(op: str) -> Write:
    """Logic on what is not 0."""

    def write(w: Writer, call: Call) -> str:
        return w.node(op, *(as_type(w, call.at(i), torch.bool, call) for i in (0, 1)))

    return write


def bitwise(op: str) -> Write:
    """Logic bit by bit; ONNX has it for truth values only, at this opset."""

    def write(w: Writer, call: Call) -> str:
        if call.result.dtype != torch.bool:
            call.fail("works on bits of whole numbers")
        return logic(op)(w, call)

    return write


def logical_not(w: Writer, call: Call) -> str:
    """Whether it is 0."""
    return w.node("Not", as_type(w, call.x, torch.bool, call))


def bitwise_not(w: Writer, call: Call) -> str:
    """The opposite truth value."""
    if call.x.dtype != torch.bool:
        call.fail("works on bits of whole numbers")
    return w.node("Not", call.x.name)


def where(w: Writer, call: Call) -> str:
    """The second where the condition holds, else the third."""
    dtype = call.result.dtype
    condition = as_type(w, call.at(0), torch.bool, call)
    return w.node("Where", condition, *(as_type(w, call.at(i), dtype, call) for i in (1, 2)))


def masked_fill(w: Writer, call: Call) -> str:
    """A number where the mask holds, else the input."""
    dtype = call.result.dtype
    value = as_type(w, call.get("value"), dtype, call)
    mask = as_type(w, call.value("mask"), torch.bool, call)
    return w.node("Where", mask, value, as_type(w, call.x, dtype, call))


def isinf(w: Writer, call: Call) -> str:
    """Whether it is infinite; ONNX has this for wider floats only."""
    x = call.x
    narrow = x.dtype == torch.float16
    return w.node("IsInf", w.cast(x.name, torch.float32) if narrow else x.name)


def isnan(w: Writer, call: Call) -> str:
    """Whether it is not a number."""
    return w.node("IsNaN", call.x.name)


_COMPARISONS = {
    "eq": compare("Equal"),
    "ne": compare("Equal", negated=True),
    "lt": compare("Less"),
    "le": compare("LessOrEqual"),
    "gt": compare("Greater"),
    "ge": compare("GreaterOrEqual"),
}

OPERATORS: dict[str, Write] = {
    **{f"aten.{name}.Tensor": write for name, write in _COMPARISONS.items()},
    **{f"aten.{name}.Scalar": write for name, write in _COMPARISONS.items()},
    "aten.logical_and.default": logic("And"),
    "aten.logical_or.default": logic("Or"),
    "aten.logical_xor.default": logic("Xor"),
    "aten.logical_not.default": logical_not,
    "aten.bitwise_and.Tensor": bitwise("And"),
    "aten.bitwise_or.Tensor": bitwise("Or"),
    "aten.bitwise_xor.Tensor": bitwise("Xor"),
    "aten.__and__.Tensor": bitwise("And"),
    "aten.__or__.Tensor": bitwise("Or"),
    "aten.__xor__.Tensor": bitwise("Xor"),
    "aten.bitwise_not.default": bitwise_not,
    "aten.where.self": where,
    "aten.where.ScalarSelf": where,
    "aten.where.ScalarOther": where,
    "aten.where.Scalar": where,
    "aten.masked_fill.Scalar": masked_fill,
    "aten.masked_fill.Tensor": masked_fill,
    "aten.isinf.default": isinf,
    "aten.isnan.default": isnan,
}
