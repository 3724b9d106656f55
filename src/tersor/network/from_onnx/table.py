"""All operators that can be read: one function per name, by domain."""

from collections.abc import Callable

from tersor.network.from_onnx import (
    ops_arithmetic,
    ops_bits,
    ops_find,
    ops_nn,
    ops_normalize,
    ops_quantize,
    ops_recurrent,
    ops_reduce,
    ops_resize,
    ops_scatter,
    ops_select,
    ops_shape,
)
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Value

Result = Value | tuple[Value | None, ...]
Function = Callable[[Operation], Result]

OPERATORS: dict[str, Function] = {
    **ops_arithmetic.OPERATORS,
    **ops_bits.OPERATORS,
    **ops_find.OPERATORS,
    **ops_nn.OPERATORS,
    **ops_normalize.OPERATORS,
    **ops_quantize.OPERATORS,
    **ops_recurrent.OPERATORS,
    **ops_reduce.OPERATORS,
    **ops_resize.OPERATORS,
    **ops_scatter.OPERATORS,
    **ops_select.OPERATORS,
    **ops_shape.OPERATORS,
}
MICROSOFT: dict[str, Function] = {}
VALUES_MAKE_SIZES = frozenset(ops_find.OPERATORS)
"""Operators with results whose sizes depend on values."""
