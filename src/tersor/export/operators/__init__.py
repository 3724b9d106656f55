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
    recurrent,
    reduction,
    reshaping,
    resizing,
    scattering,
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
    **recurrent.OPERATORS,
    **reduction.OPERATORS,
    **reshaping.OPERATORS,
    **resizing.OPERATORS,
    **scattering.OPERATORS,
    **sizes.OPERATORS,
    **unary.OPERATORS,
}
