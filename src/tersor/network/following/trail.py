"""What a rule works with: the dimensions of all values, and what must be rewritten.

A rule is a function of a trail and a node that gives the node's axes. It ties what must be cut
together, freezes what must not be cut, and notes which numbers in the node's arguments count
positions, so that whoever cuts can write new ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.dims import Dim

Axes = tuple[Dim, ...]
POSITIONS = "it counts positions, not channels"


@dataclass(frozen=True, slots=True)
class Inferred:
    """Stands for -1 in sizes: the one that follows from the others.

    Attributes:
        dim: Of the axis.
    """

    dim: Dim


@dataclass(frozen=True, slots=True)
class Rewrite:
    """An operation whose arguments tell sizes.

    Attributes:
        arguments: By name; a Dim stands for its new size, `Inferred` for -1.
        target: Another operation to be called in its place, with these arguments alone; None
            for the same one.
    """

    arguments: Mapping[str, Any]
    target: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Scaled:
    """A mean of squares, or what is divided by its root.

    Attributes:
        dims: Over which the mean goes.
        power: The result (its weight, where the operation has one) is multiplied by (size
            after / size before) ** power.
    """

    dims: Axes
    power: float


@dataclass
class Trail:
    """Axes of values, as far as they have been followed.

    Attributes:
        values: What every node gives, as tensors without content; see `shapes.values`.
        axes: Of nodes that give a tensor, or one entry for each of several tensors.
        stored: Of tensors that the network holds, by their dotted names.
        rewrites: By node.
        scaled: By node.
    """

    values: Mapping[str, Any]
    axes: dict[fx.Node, Any] = field(default_factory=dict)
    stored: dict[str, Axes] = field(default_factory=dict)
    rewrites: dict[fx.Node, Rewrite] = field(default_factory=dict)
    scaled: dict[fx.Node, Scaled] = field(default_factory=dict)

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of the tensor that a node gives."""
        return tuple(self.values[node.name].shape)

    def of(self, node: Any) -> Axes:
        """The axes of the tensor that a node gives."""
        found = self.axes[node]
        if not isinstance(found, tuple):
            raise TypeError(f"{node} gives several tensors")
        return found

    def tensors(self, node: fx.Node) -> list[Axes]:
        """The axes of each tensor that a node gives."""
        return _tensors(self.axes.get(node))

    def rewrite(self, node: fx.Node, **given: Any) -> None:
        """The sizes in these arguments of a node change with its dimensions."""
        self.rewrites[node] = Rewrite(given)

    def freeze(self, node: fx.Node, *dims: Dim, why: str = "") -> None:
        """No position of these is cut, because of a node."""
        for dim in dims:
            dim.freeze(reason(node, why))

    def fresh(self, sizes: Sequence[int], frozen: str = "") -> Axes:
        """New dimensions."""
        return tuple(Dim(size, frozen) for size in sizes)

    def unknown(self, node: fx.Node, why: str = "is not followed") -> Any:
        """Freeze all that a node reads and gives."""
        text = reason(node, why)
        for read in node.all_input_nodes:
            for axes in self.tensors(read):
                for dim in axes:
                    dim.freeze(text)
        return self.given(self.values[node.name], text)

    def given(self, value: Any, frozen: str) -> Any:
        """Frozen axes for all tensors of a value."""
        if isinstance(value, torch.Tensor):
            return self.fresh(value.shape, frozen)
        if isinstance(value, list | tuple):
            return [self.given(one, frozen) for one in value]
        return ()


Rule = Callable[[Trail, fx.Node], Any]


def _tensors(axes: Any) -> list[Axes]:
    if isinstance(axes, list):
        return [one for part in axes for one in _tensors(part)]
    return [axes] if axes else []


def each(names: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for operations of several names, with spaces between."""
    return dict.fromkeys(names.split(), rule)


def reason(node: fx.Node, why: str = "") -> str:
    """As in "softmax_1 (softmax) needs all of them"."""
    name = op_name(node) or str(node.target).removeprefix("<").split(" ")[0]
    return f"{node.name} ({name}) {why or 'needs all of them'}"


def first_tensor(node: fx.Node) -> fx.Node:
    """The node that gives the first argument."""
    found = next(iter(arguments(node).values()))
    if not isinstance(found, fx.Node):
        raise TypeError(f"{node} does not begin with a tensor")
    return found


def axis_of(rank: int, axis: int) -> int:
    """A non-negative axis."""
    return axis % rank if rank else 0


def axes_of(rank: int, axes: Any) -> list[int]:
    """Non-negative axes; all of them for None and []."""
    if axes is None or (isinstance(axes, list | tuple) and not axes):
        return list(range(rank))
    given = axes if isinstance(axes, list | tuple) else [axes]
    return [axis_of(rank, axis) for axis in given]
