"""All operators that can be read: one function per name, by domain."""

from collections.abc import Callable

from tersor.network.from_onnx import (
    ops_arithmetic,
    ops_attention,
    ops_bits,
    ops_deform,
    ops_find,
    ops_integer,
    ops_microsoft,
    ops_nn,
    ops_normalize,
    ops_quantize,
    ops_recurrent,
    ops_reduce,
    ops_resize,
    ops_scatter,
    ops_select,
    ops_shape,
    ops_signal,
    ops_vision,
)
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Value

Result = Value | tuple[Value | None, ...]
Function = Callable[[Operation], Result | None]

OPERATORS: dict[str, Function] = {
    **ops_arithmetic.OPERATORS,
    **ops_attention.OPERATORS,
    **ops_bits.OPERATORS,
    **ops_deform.OPERATORS,
    **ops_find.OPERATORS,
    **ops_integer.OPERATORS,
    **ops_nn.OPERATORS,
    **ops_normalize.OPERATORS,
    **ops_quantize.OPERATORS,
    **ops_recurrent.OPERATORS,
    **ops_reduce.OPERATORS,
    **ops_resize.OPERATORS,
    **ops_scatter.OPERATORS,
    **ops_select.OPERATORS,
    **ops_shape.OPERATORS,
    # ONNX Runtime writes it without a domain
    "SimplifiedLayerNormalization": ops_normalize.rms_normalization,
    **ops_signal.OPERATORS,
    **ops_vision.OPERATORS,
}
MICROSOFT: dict[str, Function] = {
    **ops_integer.MICROSOFT,
    **ops_microsoft.OPERATORS,
    **ops_quantize.OPERATORS,
}
VALUES_MAKE_SIZES = frozenset(ops_find.OPERATORS)
"""Operators with results whose sizes depend on values."""
