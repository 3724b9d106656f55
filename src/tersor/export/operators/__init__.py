"""How each ATen operation is written in ONNX: one small function per overload, by theme."""

from collections.abc import Callable

from tersor.export.call import Call
from tersor.export.operators import (
    activation,
    arithmetic,
    convolution,
    indexing,
    linear,
    normalization,
    nothing,
    pooling,
    reshaping,
    sizes,
)
from tersor.export.writer import Writer

Operator = Callable[[Writer, Call], object]

OPERATORS: dict[str, Operator] = {
    **activation.OPERATORS,
    **arithmetic.OPERATORS,
    **convolution.OPERATORS,
    **indexing.OPERATORS,
    **linear.OPERATORS,
    **nothing.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **reshaping.OPERATORS,
    **sizes.OPERATORS,
}
