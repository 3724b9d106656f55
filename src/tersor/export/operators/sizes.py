"""Arithmetic on sizes: int64 vectors of one element."""

from collections.abc import Callable

import torch

from tersor.export.call import Call, Size, Value
from tersor.export.writer import Writer


def size_of(w: Writer, value: Value, dim: int) -> int | str:
    """The size of one dimension: a number, or where it varies the name of a vector."""
    dim %= value.rank
    fixed = value.shape[dim]
    if fixed is not None:
        return fixed
    return w.node("Shape", value.name, start=dim, end=dim + 1)


def sym_size(w: Writer, call: Call) -> int | str:
    """The size of a dimension."""
    return size_of(w, call.x, call.axis("dim"))


def operand(w: Writer, call: Call, index: int) -> str:
    """One side of a sum or product of sizes."""
    found = call.at(index)
    if isinstance(found, Size):
        return found.name
    if isinstance(found, int):
        return w.constant([found], torch.int64, "size")
    return call.fail("mixes sizes and other numbers")


def binary(op: str) -> Callable[[Writer, Call], str]:
    """An operation on two sizes. Sizes are not negative, so that division truncates."""

    def write(w: Writer, call: Call) -> str:
        return w.node(op, operand(w, call, 0), operand(w, call, 1))

    return write


def negative(w: Writer, call: Call) -> str:
    """The size, negated."""
    return w.node("Neg", operand(w, call, 0))


def getitem(_w: Writer, call: Call) -> object:
    """One of several results."""
    several, index = call.at(0), call.at(1)
    if not isinstance(several, list) or not isinstance(index, int):
        call.fail("does not take one of several results")
    found = several[index]
    if isinstance(found, Value) and not found.name and call.node.users:
        call.fail(f"takes result {index}, which has no ONNX form")
    return found


OPERATORS = {
    "aten.sym_size.int": sym_size,
    "operator.getitem": getitem,
    "operator.add": binary("Add"),
    "operator.sub": binary("Sub"),
    "operator.mul": binary("Mul"),
    "operator.floordiv": binary("Div"),
    "operator.mod": binary("Mod"),
    "operator.neg": negative,
    "torch.sym_max": binary("Max"),
    "torch.sym_min": binary("Min"),
}
