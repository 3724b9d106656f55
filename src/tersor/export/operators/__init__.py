"""How each ATen operation is written in ONNX: one small function per overload, by theme."""

from collections.abc import Callable

from tersor.export.call import Call
from tersor.export.operators import (
    activation,
    arithmetic,
    attention,
    casting,
    comparison,
    convolution,
    creation,
    indexing,
    linear,
    normalization,
    nothing,
    pooling,
    reduction,
    reshaping,
    resizing,
    sizes,
    unary,
)
from tersor.export.writer import Writer

Operator = Callable[[Writer, Call], object]

OPERATORS: dict[str, Operator] = {
    **activation.OPERATORS,
    **arithmetic.OPERATORS,
    **attention.OPERATORS,
    **casting.OPERATORS,
    **comparison.OPERATORS,
    **convolution.OPERATORS,
    **creation.OPERATORS,
    **indexing.OPERATORS,
    **linear.OPERATORS,
    **normalization.OPERATORS,
    **nothing.OPERATORS,
    **pooling.OPERATORS,
    **reduction.OPERATORS,
    **reshaping.OPERATORS,
    **resizing.OPERATORS,
    **sizes.OPERATORS,
    **unary.OPERATORS,
}
