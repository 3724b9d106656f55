"""Operation: one ONNX node, as the functions that import operators see it."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import NodeProto
from torch import fx

from tersor.errors import UnsupportedError
from tersor.network.from_onnx.builder import Builder
from tersor.network.from_onnx.values import (
    Codes,
    Constant,
    Size,
    Sizes,
    Tensor,
    Value,
    as_sizes,
)

aten = torch.ops.aten


@dataclass(slots=True)
class Operation:
    """A node, its inputs, and the graph that it adds to.

    Attributes:
        builder: The graph so far.
        node: As the file has it.
        name: Name of the node; where it has none, of its first output.
        opset: Version of the default operator set.
        inputs: Values; None for those left out.
        wanted: For each output, whether anybody reads it.
        tensor_of: Makes a tensor of a TensorProto.
    """

    builder: Builder
    node: NodeProto
    name: str
    opset: int
    inputs: list[Value | None]
    wanted: list[bool]
    tensor_of: Callable[[onnx.TensorProto], torch.Tensor]

    def refuse(self, problem: str) -> UnsupportedError:
        """The error that names this node."""
        opset = f"opset {self.opset}"
        return UnsupportedError(
            node=self.name, op=self.node.op_type, opset=opset, problem=problem
        )

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """See `Builder.emit`."""
        return self.builder.emit(target, *args, **kwargs)

    def node_of(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Like `call`, where the result is surely computed when the network runs."""
        return self._as_node(self.call(target, *args, **kwargs))

    # Inputs

    def has(self, i: int) -> bool:
        """Whether input `i` is there."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def value(self, i: int) -> Value:
        """Input `i`, of any kind."""
        value = self.inputs[i] if i < len(self.inputs) else None
        if value is None:
            raise self.refuse(f"lacks input {i}")
        return value

    def tensor(self, i: int) -> Tensor:
        """Input `i` as a tensor."""
        return self.as_tensor(self.value(i))

    def maybe(self, i: int) -> Tensor | None:
        """Input `i` as a tensor, or None if it is left out."""
        return self.tensor(i) if self.has(i) else None

    def tensors(self) -> list[Tensor]:
        """All inputs as tensors."""
        return [self.tensor(i) for i in range(len(self.inputs))]

    def as_tensor(self, value: Value) -> Tensor:
        """`value` as a tensor, made of sizes or codes if need be."""
        if isinstance(value, Sizes):
            return self._stack(value)
        if isinstance(value, Codes):
            if "codes" not in value.readers:
                value.readers["codes"] = quantized(self, value)
            return value.readers["codes"]
        return value

    def known(self, i: int) -> torch.Tensor:
        """Input `i`, which must be known now."""
        value = self.value(i)
        if isinstance(value, Sizes) and value.is_known:
            return torch.tensor(value.array.tolist(), dtype=value.dtype)
        if not isinstance(value, Constant):
            raise self.refuse(f"has an input {i} that is not constant")
        return value.tensor

    def number(self, i: int, default: float) -> int | float:
        """Input `i`, which must be one number known now; the default if it is left out."""
        if not self.has(i):
            return default
        tensor = self.known(i)
        if tensor.numel() != 1:
            raise self.refuse(f"has {tensor.numel()} numbers as input {i}, where 1 belongs")
        return tensor.item()

    def sizes(self, i: int) -> list[Size]:
        """Input `i` as a list of numbers and symbolic sizes."""
        sizes = as_sizes(self.value(i))
        if sizes is None:
            raise self.refuse(f"has an input {i} that would make shapes depend on data")
        return list(sizes.array.reshape(-1))

    def numbers(self, i: int) -> list[int]:
        """Input `i` as integers known now."""
        sizes = self.sizes(i)
        if any(isinstance(s, fx.Node) for s in sizes):
            raise self.refuse(f"has an input {i} that is not constant")
        return [int(s) for s in sizes]  # type: ignore[arg-type]

    # Facts about values

    def shape(self, value: Tensor) -> tuple[int | None, ...]:
        """Sizes; None for those that vary."""
        return self.builder.shape(value)

    def fixed_shape(self, value: Tensor) -> tuple[int, ...]:
        """Sizes, all of which must be fixed."""
        shape = self.shape(value)
        fixed = tuple(d for d in shape if d is not None)
        if len(fixed) != len(shape):
            raise self.refuse("needs fixed sizes here, but some vary")
        return fixed

    def rank(self, value: Tensor) -> int:
        """How many dimensions."""
        return self.builder.example(value).ndim

    def dtype(self, value: Tensor) -> torch.dtype:
        """Type of the elements."""
        return self.builder.example(value).dtype

    def size(self, value: Tensor, dim: int) -> Size:
        """See `Builder.size`."""
        return self.builder.size(value, dim)

    def arithmetic(self, function: Callable[[Any, Any], Any], a: Size, b: Size) -> Size:
        """`function` of two sizes: a number if both are, else symbolic."""
        if isinstance(a, fx.Node) or isinstance(b, fx.Node):
            return self.node_of(function, a, b)
        return int(function(a, b))

    def item(self, several: Tensor, i: int) -> fx.Node:
        """Result `i` of an operation that gives several tensors."""
        return self.node_of(operator.getitem, several, i)

    # Attributes

    def attribute(self, name: str, kind: type, default: Any) -> Any:
        """The attribute, which must be of that type; the default if it is not set."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if isinstance(value, bytes) and kind is str:
                    return value.decode("utf-8", "replace")
                if not isinstance(value, kind):
                    raise self.refuse(f"has an attribute {name} that is no {kind.__name__}")
                return value
        return default

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is an integer."""
        return int(self.attribute(name, int, default))

    def real(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a number."""
        return float(self.attribute(name, float, default))

    def text(self, name: str, default: str = "") -> str:
        """An attribute that is a text."""
        return str(self.attribute(name, str, default))

    def integers(self, name: str, default: list[int] | None = None) -> list[int] | None:
        """An attribute that is a list of integers."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                if attribute.type != onnx.AttributeProto.INTS:
                    raise self.refuse(f"has an attribute {name} that is no list of integers")
                return [int(i) for i in attribute.ints]
        return default

    def axis(self, default: int, rank: int, name: str = "axis") -> int:
        """An attribute that names a dimension, counted from the front."""
        return self.from_front(self.integer(name, default), rank)

    def from_front(self, axis: int, rank: int) -> int:
        """`axis`, which may be negative, counted from the front."""
        if not -rank <= axis < max(rank, 1):
            raise self.refuse(f"names axis {axis} of {rank}")
        return axis % rank if rank else 0

    def axes(self, since: int, index: int = 1) -> list[int] | None:
        """Axes, which are input `index` since an opset, and an attribute before."""
        if self.opset >= since:
            return self.numbers(index) if self.has(index) else None
        return self.integers("axes")

    def _as_node(self, value: Tensor) -> fx.Node:
        return self.builder.attribute(value) if isinstance(value, Constant) else value

    def _stack(self, sizes: Sizes) -> Tensor:
        if sizes.is_known:
            tensor = torch.tensor(sizes.array.tolist(), dtype=sizes.dtype)
            return Constant(tensor.reshape(sizes.array.shape), self.name)
        make = aten.scalar_tensor.default
        items = [self.call(make, s, dtype=sizes.dtype) for s in sizes.array.reshape(-1)]
        if sizes.array.ndim == 0:
            result: Tensor = items[0]
            return result
        stacked = self.call(aten.stack.default, items)
        if sizes.array.ndim > 1:
            stacked = self.call(aten.reshape.default, stacked, list(sizes.array.shape))
        return stacked


def quantized(op: Operation, codes: Codes) -> fx.Node:
    """round(x / scale) + zero_point, clamped: what QuantizeLinear computes."""
    rank, info = op.rank(codes.source), torch.iinfo(codes.dtype)
    x = op.call(aten.to.dtype, codes.source, torch.float32)
    steps = op.call(aten.div.Tensor, x, along(op, codes.scale, codes.axis, rank))
    rounded = op.call(aten.round.default, steps)
    zero = op.call(aten.to.dtype, codes.zero_point, torch.float32)
    shifted = op.call(aten.add.Tensor, rounded, along(op, zero, codes.axis, rank))
    clamped = op.call(aten.clamp.default, shifted, info.min, info.max)
    return op.node_of(aten.to.dtype, clamped, codes.dtype)


def along(op: Operation, per_index: Tensor, axis: int | None, rank: int) -> Tensor:
    """A vector, shaped so that it broadcasts along `axis` of `rank` dimensions."""
    if axis is None or op.rank(per_index) != 1:
        return per_index
    shape = [-1 if i == axis else 1 for i in range(rank)]
    return op.call(aten.reshape.default, per_index, shape)
