"""What the value of an ONNX graph is while the file is imported.

A value is one of four things:

    fx.Node    a tensor that is computed when the network runs
    Constant   a tensor that is known now: an initializer, a Constant node, or folded work
    Sizes      integers known as Python numbers or as symbolic sizes: what Shape gives, and
               what is computed from it; never a tensor, so that no shape depends on data
    Codes      what QuantizeLinear gives, until we know whether DequantizeLinear follows
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import fx

Size = int | fx.Node


@dataclass(eq=False, slots=True)
class Constant:
    """A tensor that is known while importing.

    Attributes:
        tensor: The value, on the CPU.
        name: What the file calls it.
        weight: True for what training may change: floats of rank 1 or more.
            Where the file names one as an initializer, it is never folded into others.
        given: True if the file gives it as an initializer, False if it was computed.
        bits: 4 for the elements of four bits, which are held by eight; else 0.
    """

    tensor: torch.Tensor
    name: str
    weight: bool = False
    given: bool = False
    bits: int = 0


Tensor = fx.Node | Constant


@dataclass(eq=False, slots=True)
class Sizes:
    """An integer (or boolean) array whose elements are numbers or symbolic sizes.

    Attributes:
        array: Of dtype object; elements are int, bool or fx.Node.
        dtype: What ONNX says that the elements are.
    """

    array: NDArray[np.object_]
    dtype: torch.dtype = torch.int64

    @property
    def is_known(self) -> bool:
        """Whether all elements are numbers."""
        return not any(isinstance(item, fx.Node) for item in self.array.flat)


@dataclass(eq=False, slots=True)
class Codes:
    """A tensor rounded to integers, kept as what it was made from.

    Attributes:
        source: The tensor before rounding.
        scale: One scale, or one per index of `axis`.
        zero_point: Like `scale`.
        dtype: Of the codes.
        axis: The dimension that has a scale per index; None for one scale.
        readers: What was already made of it: by the names "codes" and "real".
    """

    source: fx.Node
    scale: Tensor
    zero_point: Tensor
    dtype: torch.dtype
    axis: int | None
    readers: dict[str, fx.Node] = field(default_factory=dict)


Value = fx.Node | Constant | Sizes | Codes

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BOOL: torch.bool,
}
"""The torch dtypes of the ONNX element types that can be read."""


def sizes_of(items: list[Size]) -> Sizes:
    """A vector of sizes."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return Sizes(array)


def as_sizes(value: Value | None) -> Sizes | None:
    """`value` as sizes, if it is, or is a small constant of integers or booleans."""
    if isinstance(value, Sizes):
        return value
    if isinstance(value, Constant) and value.tensor.numel() <= 4096:
        dtype = value.tensor.dtype
        if dtype in {torch.int64, torch.int32, torch.bool}:
            return Sizes(value.tensor.numpy().astype(object), dtype)
    return None
