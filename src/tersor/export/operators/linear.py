"""Products of matrices."""

import torch

from tersor.export.call import Call, Value
from tersor.export.writer import Writer


def transposed(w: Writer, matrix: Value) -> str:
    """The matrix with rows and columns exchanged.

    A weight that nobody else reads is stored that way; else it is a node.
    """
    if matrix.weight is None or matrix.users > 1:
        return w.node("Transpose", matrix.name, perm=[1, 0])
    w.transposed.add(matrix.weight)
    return matrix.name


def linear(w: Writer, call: Call) -> str:
    """X (..., I) times weight (O, I) transposed, plus bias (O): (..., O).

    A bias that is added by a node of its own is a float in all engines: it is stored as one.
    """
    x, weight, bias = call.x, call.value("weight"), call.maybe("bias")
    if x.rank == 2 and weight.rank == 2:
        rest = [bias.name] if bias else []
        return w.node("Gemm", x.name, weight.name, *rest, transB=1)
    if weight.rank != 2:
        product = w.node("MatMul", x.name, weight.name)
    else:
        product = w.node("MatMul", x.name, transposed(w, weight))
    if bias is None:
        return product
    if bias.weight is not None and bias.users == 1:
        w.floats.add(bias.weight)
    return w.node("Add", product, bias.name)


def matmul(w: Writer, call: Call) -> str:
    """The product as NumPy has it, also of vectors and stacks."""
    return w.node("MatMul", call.x.name, call.y.name)


def addmm(w: Writer, call: Call) -> str:
    """Beta * c (broadcast to N, M) + alpha * a (N, K) times b (K, M)."""
    c, a, b = call.value("self"), call.value("mat1"), call.value("mat2")
    scales = {"alpha": float(call.number("alpha")), "beta": float(call.number("beta"))}
    wanted = {key: value for key, value in scales.items() if value != 1.0}
    plain = w.transpose_of(b.name)
    if plain is not None:
        return w.node("Gemm", a.name, plain, c.name, transB=1, **wanted)
    return w.node("Gemm", a.name, b.name, c.name, **wanted)


def mm(w: Writer, call: Call) -> str:
    """A (N, K) times b (K, M); a b that was transposed for this is taken as it was."""
    plain = w.transpose_of(call.y.name)
    if plain is not None and call.x.is_float:
        return w.node("Gemm", call.x.name, plain, transB=1)
    return matmul(w, call)


def baddbmm(w: Writer, call: Call) -> str:
    """Beta * c + alpha * a (B, N, K) times b (B, K, M)."""
    terms = []
    product = w.node("MatMul", call.value("batch1").name, call.value("batch2").name)
    for name, key in ((call.x.name, "beta"), (product, "alpha")):
        factor = call.number(key)
        scale = w.constant(factor, call.result.dtype, key)
        terms.append(name if factor == 1 else w.node("Mul", name, scale))
    return w.node("Add", *terms)


def einsum(w: Writer, call: Call) -> str:
    """The sum of products that a text describes."""
    equation = call.get("equation")
    if not isinstance(equation, str) or "..." in equation:
        call.fail("has an equation without letters for all dimensions")
    operands = [v.name for v in call.values("tensors")]
    return w.node("Einsum", *operands, equation=equation.replace(" ", ""))


def outer(w: Writer, call: Call) -> str:
    """All products of the elements of two vectors."""
    axis = w.constant([1], torch.int64, "axis")
    return w.node("Mul", w.node("Unsqueeze", call.x.name, axis), call.y.name)


OPERATORS = {
    "aten.linear.default": linear,
    "aten.matmul.default": matmul,
    "aten.mm.default": mm,
    "aten.bmm.default": matmul,
    "aten.mv.default": matmul,
    "aten.dot.default": matmul,
    "aten.addmm.default": addmm,
    "aten.baddbmm.default": baddbmm,
    "aten.einsum.default": einsum,
    "aten.outer.default": outer,
}
