"""Builder: makes the fx graph, and knows the shape and dtype of every value in it.

To know shapes, every operation is also run on torch's "meta" device, which computes no
numbers: once per world. The worlds differ in the sizes of the dimensions that may vary, so a
size that is the same in all worlds is fixed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_aggregate

from tersor.network.from_onnx.file import LARGEST_BYTES, too_large
from tersor.network.from_onnx.names import Paths, readable
from tersor.network.from_onnx.values import Constant, Size, Tensor
from tersor.network.operations import guess
from tersor.network.quick import quick

_FOLDED_MOST = 1 << 16  # elements
_CREATORS = {
    torch.ops.aten.arange.start_step,
    torch.ops.aten.full.default,
    torch.ops.aten.scalar_tensor.default,
}
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, AttributeError)


class MisfitError(Exception):
    """An operation refuses its inputs, in a world."""


class Builder:
    """The graph so far.

    Attributes:
        graph: What was emitted.
        root: Holds weights, codes and quantizers.
        paths: The attribute paths in use.
        name: Candidate for the names of emitted nodes.
        emitted: The nodes emitted since `name` was set.
    """

    def __init__(self, *, worlds: int, sizes_are_telling: bool) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.paths = Paths()
        self.name = ""
        self.emitted: set[fx.Node] = set()
        self._worlds = range(worlds)
        self._sizes_are_telling = sizes_are_telling
        self._seen: dict[fx.Node, tuple[Any, ...]] = {}
        self._attributes: dict[tuple[int, bool], fx.Node] = {}
        self._kept: list[Constant] = []
        self._measured: dict[tuple[fx.Node, int], fx.Node] = {}

    def placeholder(
        self, name: str, shapes: list[tuple[int, ...]], dtype: torch.dtype
    ) -> fx.Node:
        """A new input, whose shape in each world is given."""
        node = self.graph.placeholder(readable(name) or "input")
        node.target = node.name
        try:
            seen = tuple(torch.empty(s, dtype=dtype, device="meta") for s in shapes)
            self._seen[node] = _holdable(seen)
        except (*FAILURES, MisfitError):
            raise too_large(name) from None
        return node

    def emit(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """A call of `target`: a new node, or a Constant if that can be computed now.

        Arguments may hold nodes and constants, also in lists.

        Raises:
            MisfitError: The operation refuses its inputs.
        """
        folded = self._fold(target, args, kwargs)
        if folded is not None:
            return folded
        call = map_aggregate((args, kwargs), self._as_node)
        args, kwargs = call
        seen = tuple(self._meta(target, args, kwargs, world) for world in self._worlds)
        label = self._label(target)
        node = self.graph.create_node("call_function", target, args, kwargs, name=label)
        return self._note(node, seen)

    def call_module(self, path: str, module: nn.Module, *args: fx.Node) -> fx.Node:
        """A call of a new module that stands at `path`; its result looks like its argument."""
        self._put(path, module)
        node = self.graph.create_node("call_module", path, args, {}, name=readable(path))
        if args:
            return self._note(node, self._seen[args[0]])
        with torch.no_grad():
            result = module().to("meta")
        return self._note(node, (result,) * len(self._worlds))

    def attribute(self, constant: Constant, *, trained: bool = True) -> fx.Node:
        """The node that gives `constant`, which is held by the module from now on.

        Files share equal tensors: one that is trained in one place only is held twice.
        """
        is_parameter = trained and constant.tensor.is_floating_point()
        is_parameter = is_parameter and (constant.weight or constant.given)
        key = (id(constant), is_parameter)
        node = self._attributes.get(key)
        if node is not None:
            return node
        twin = self._attributes.get((id(constant), not is_parameter))
        tensor = constant.tensor if twin is None else constant.tensor.clone()
        path = self.paths.take(constant.name)
        self._put(path, nn.Parameter(tensor) if is_parameter else tensor)
        node = self.graph.create_node("get_attr", path, (), {}, name=readable(path))
        self._seen[node] = (tensor.to("meta"),) * len(self._worlds)
        self._attributes[key] = node
        self._kept.append(constant)
        return node

    def example(self, value: Tensor) -> torch.Tensor:
        """A tensor with the dtype and rank of `value`; sizes that vary are of one world."""
        if isinstance(value, Constant):
            return value.tensor
        found: torch.Tensor = self._seen[value][0]
        return found

    def shape(self, value: Tensor) -> tuple[int | None, ...]:
        """The sizes of `value`; None for those that vary."""
        if isinstance(value, Constant):
            return tuple(value.tensor.shape)
        shapes = [tuple(seen.shape) for seen in self._seen[value]]
        if not self._sizes_are_telling and value.op not in {"get_attr", "call_module"}:
            return (None,) * len(shapes[0])
        return tuple(s[0] if len(set(s)) == 1 else None for s in zip(*shapes, strict=True))

    def size(self, value: Tensor, dim: int) -> Size:
        """One size of `value`, symbolic if it varies."""
        known = self.shape(value)[dim]
        if known is not None:
            return known
        source: fx.Node = self._as_node(value)
        dim %= self.example(value).ndim
        node = self._measured.get((source, dim))
        if node is None:
            found = self.emit(torch.ops.aten.sym_size.int, source, dim)
            node = self._measured[source, dim] = self._as_node(found)
        return node

    def _fold(self, target: Callable[..., Any], args: Any, kwargs: Any) -> Constant | None:
        used: list[fx.Node | Constant] = []

        def look(leaf: Any) -> Any:
            if isinstance(leaf, fx.Node | Constant):
                used.append(leaf)
            return leaf.tensor if isinstance(leaf, Constant) else leaf

        real = map_aggregate((args, kwargs), look)
        if not all(_can_be_folded(leaf) for leaf in used):
            return None
        meta = map_aggregate(
            real, lambda x: x.to("meta") if isinstance(x, torch.Tensor) else x
        )
        result = _run(target, *meta, on_meta=True)
        if not isinstance(result, torch.Tensor) or result.numel() > _FOLDED_MOST:
            return None
        weight = any(isinstance(leaf, Constant) and leaf.weight for leaf in used)
        weight = weight and result.is_floating_point()
        return Constant(_run(target, *real), self.name, weight=weight)

    def _as_node(self, leaf: Any) -> Any:
        return self.attribute(leaf) if isinstance(leaf, Constant) else leaf

    def _meta(self, target: Callable[..., Any], args: Any, kwargs: Any, world: int) -> Any:
        def look(leaf: Any) -> Any:
            return self._seen[leaf][world] if isinstance(leaf, fx.Node) else leaf

        call = map_aggregate((args, kwargs), look)
        known = guess(target, call[0], world)
        known = quick(target, *call) if known is None else known
        return _run(target, *call, on_meta=True) if known is None else known

    def _note(self, node: fx.Node, seen: tuple[Any, ...]) -> fx.Node:
        self._seen[node] = _holdable(seen)
        self.emitted.add(node)
        return node

    def _label(self, target: Any) -> str:
        kind = getattr(target, "_opname", None) or getattr(target, "__name__", "value")
        return f"{self.name}_{kind}" if self.name else str(kind)

    def _put(self, path: str, value: nn.Module | torch.Tensor) -> None:
        *parts, leaf = path.split(".")
        owner = self.root
        for part in parts:
            child = owner._modules.get(part)
            if child is None:
                child = nn.Module()
                owner.add_module(part, child)
            owner = child
        if isinstance(value, nn.Module):
            owner.add_module(leaf, value)
        elif isinstance(value, nn.Parameter):
            owner.register_parameter(leaf, value)
        else:
            owner.register_buffer(leaf, value)


def _holdable(seen: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same, if each tensor is of a size that a machine may hold.

    Raises:
        MisfitError: One is not.
    """
    for x in seen:
        if isinstance(x, torch.Tensor) and x.numel() * x.itemsize > LARGEST_BYTES:
            raise MisfitError(f"it makes a tensor of {x.numel() * x.itemsize} bytes")
    return seen


def _can_be_folded(leaf: fx.Node | Constant) -> bool:
    """Whether it is small, and no weight that has its own name in the file."""
    if isinstance(leaf, fx.Node) or (leaf.weight and leaf.given):
        return False
    return leaf.tensor.numel() <= _FOLDED_MOST


def _run(target: Callable[..., Any], args: Any, kwargs: Any, *, on_meta: bool = False) -> Any:
    """`target` on these arguments; new tensors are on the meta device, if asked."""
    if on_meta and target in _CREATORS:
        kwargs = {**kwargs, "device": "meta"}
    try:
        with torch.no_grad():
            return target(*args, **kwargs)
    except FAILURES as error:
        raise MisfitError(str(error).strip().split("\n")[0]) from None
