"""Channel groups: which channels, of which weights, must be cut together.

The graph is followed node by node, and every axis of every value is a dimension
(`network.dims`). What an operation does with positions ties dimensions, divides them or
freezes them (`network.following`), whatever module it came from. A dimension without parts
that is not frozen in the end, and stands in a weight, is a group: any of its channels can be
cut.

    conv -> add <- conv       one group: both lose the same channels
    cat                       a group for each part
    view to (heads, width)    two groups: whole heads, or the same channels of each head
    grouped convolution       two groups: whole groups of channels, or the same ones of each

What is not followed is frozen, and the reason names the node. Inputs and outputs of the
network are frozen, and weights that are held by a code.
"""

import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.codes.code import Code
from tersor.errors import InputError, ModelError, UnsupportedError
from tersor.network.arguments import is_aten, op_name
from tersor.network.dims import Dim, Kept, all_owners, product, squared
from tersor.network.following import moves, norms, products, same
from tersor.network.following.trail import Axes, Rule, Trail
from tersor.network.layers import Layer, layers
from tersor.network.network import Network
from tersor.network.shapes import values

_RULES: dict[str, Rule] = {**same.RULES, **moves.RULES, **products.RULES, **norms.RULES}
_SPECIAL = {"prelu", "_prelu_kernel"}  # of those that torch calls elementwise
_CODED = "it is held by a code"
_PINNED = "pinned by `ignore`"
_SINGLE = "it has one channel"
_APART = "its channels are tied to others in another order"
_SIZES = (2, 1)  # that varying dimensions are set to, the first that will do


@dataclass(frozen=True, slots=True)
class Member:
    """An axis of a tensor in which channels of a group stand.

    Attributes:
        path: Dotted name of the tensor.
        axis: Of the tensor.
        channels: (size of the axis), the channel of the group at each position; -1 for
            those of other groups.
        makes: Whether the channels are a layer's results there.
        reads: Whether they are what a layer adds up. If neither, one number per channel
            stands there: of a normalization, a bias, ...
    """

    path: str
    axis: int
    channels: NDArray[np.intp]
    makes: bool
    reads: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that can be cut, each by itself.

    Attributes:
        name: Name of the first layer that makes them; with "[a:b]" if they are only some of
            its channels, with "/k" if they are the k-th factor of (groups, channels of each).
        size: How many there are.
        members: Where they stand, in the order of the graph.
        dim: The dimension.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    dim: Dim = field(repr=False, compare=False)

    def describe(self) -> dict[str, object]:
        """Where the channels stand, as JSON holds it."""
        makers = [member.path for member in self.members if member.makes]
        readers = [member.path for member in self.members if member.reads]
        others = len(self.members) - len(makers) - len(readers)
        found = {"name": self.name, "size": self.size, "makers": makers, "readers": readers}
        return {**found, "others": others}


@dataclass(frozen=True, slots=True)
class Frozen:
    """Channels of a layer that cannot be cut.

    Attributes:
        layer: Name of the layer that makes them.
        count: How many of its output channels.
        reason: Why, with the node that froze them.
    """

    layer: str
    count: int
    reason: str


@dataclass(frozen=True)
class Channels:
    """The channels of a network.

    Attributes:
        groups: In the order of the graph.
        frozen: In the order of the graph.
        trail: Axes of all values, and what has to be rewritten after a cut.
    """

    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    trail: Trail = field(repr=False)

    def keeping(self, keep: Mapping[str, Kept]) -> dict[Dim, Kept]:
        """What stays of each dimension.

        Args:
            keep: Of groups by name, (size,); all others stay whole.

        Raises:
            InputError: There is no such group, an array has another size, or nothing stays.
        """
        known = {group.name: group for group in self.groups}
        found: dict[Dim, Kept] = {}
        for name, mask in keep.items():
            if name not in known:
                raise InputError("group", got=name, allowed=f"one of {', '.join(known)}")
            mask = np.asarray(mask, bool)
            if mask.shape != (known[name].size,) or not mask.any():
                allowed = f"{known[name].size} truth values, at least one of them true"
                raise InputError(f"kept of {name}", got=mask.tolist(), allowed=allowed)
            found[known[name].dim.root] = mask
        return found

    def describe(self) -> dict[str, list[dict[str, object]]]:
        """What `tersor inspect --groups` shows, as JSON holds it."""
        return {
            "groups": [group.describe() for group in self.groups],
            "frozen": [
                {"layer": each.layer, "channels": each.count, "reason": each.reason}
                for each in self.frozen
            ],
        }


def channels(network: Network, ignore: Sequence[str] = ()) -> Channels:
    """The channel groups of a network.

    Args:
        network: Any network.
        ignore: Names of layers whose results must stay whole; "re:..." is a regular
            expression that a name must match from its start.

    Raises:
        UnsupportedError: The network cannot run on empty tensors.
        ModelError: `ignore` names a layer that there is not.
        InputError: A regular expression is none.
    """
    trail = Trail(_values(network))
    for node in network.graph.nodes:
        trail.axes[node] = _followed(network, trail, node)
        _freeze_squared(trail, [node])
    _freeze_squared(trail, trail.axes)  # what was tied later
    for node in network.graph.output_node().all_input_nodes:
        for dim in trail.of(node):
            dim.freeze("it is an output of the network")
    found = layers(network)
    makers = _makers(trail, found)
    for layer in _pinned(found, ignore):
        for dim in _results(trail, makers, layer):
            dim.freeze(_PINNED)
    weights = {layer.weight for layer in found if not _is_scale(layer)}
    return Channels(
        groups=tuple(_groups(trail, makers, weights)),
        frozen=tuple(_frozen(makers)),
        trail=trail,
    )


def _values(network: Network) -> Mapping[str, Any]:
    for size in _SIZES[:-1]:
        try:
            return values(network, size)
        except UnsupportedError:
            continue
    return values(network, _SIZES[-1])


def _followed(network: Network, trail: Trail, node: fx.Node) -> Any:
    """The axes of what a node gives."""
    if node.op == "placeholder":
        return trail.given(trail.values[node.name], "it is an input of the network")
    if node.op in {"get_attr", "call_module"} and not node.all_input_nodes:
        return _stored(network, trail, str(node.target))
    if node.op == "call_module":
        return trail.of(node.all_input_nodes[0])
    if node.target is operator.getitem:
        return trail.axes[node.all_input_nodes[0]][node.args[1]]
    is_computed = is_aten(node) or "tersor" in str(node.target)
    return _by_rule(trail, node) if is_computed else ()


def _by_rule(trail: Trail, node: fx.Node) -> Any:
    name = op_name(node) or str(node.target).removesuffix(".default")
    tags = getattr(node.target, "tags", ())
    rule = _RULES.get(name)
    if torch.Tag.pointwise in tags and name not in _SPECIAL:
        rule = same.broadcast
    if rule is None or any(0 in _shape(trail.values[r.name]) for r in node.all_input_nodes):
        return trail.unknown(node)
    return rule(trail, node)


def _freeze_squared(trail: Trail, nodes: Iterable[fx.Node]) -> None:
    """What stands twice in a product stays: no position of it is that of one channel alone."""
    known: set[Dim] = set()
    for node in nodes:
        for axes in trail.tensors(node):
            new = {dim.root for dim in axes} - known
            known |= new
            for dim in new:
                trail.freeze(node, *squared(dim), why="has pairs of them on one axis")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _stored(network: Network, trail: Trail, path: str) -> Axes:
    if path not in trail.stored:
        coded = isinstance(network.code(path), Code)
        shape = tuple(network.tensor(path).shape)
        trail.stored[path] = trail.fresh(shape, _CODED if coded else "")
    return trail.stored[path]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Where a layer's results are counted.

    Attributes:
        dim: What they are made of.
        path: Dotted name of the weight; "" if an earlier layer has the same one.
        axes: Of the weight.
    """

    dim: Dim
    path: str
    axes: tuple[int, ...]


def _makers(trail: Trail, found: Sequence[Layer]) -> dict[str, _Maker]:
    """What counts the results of each layer, by the layer's name."""
    nodes = {node.name: node for node in trail.axes}
    makers: dict[str, _Maker] = {}
    for layer in found:
        if layer.weight not in trail.stored or _is_scale(layer):
            continue
        dims, node = trail.stored[layer.weight], nodes[layer.node]
        axes = _made_axes(layer, node, len(dims))
        dim = product([dims[axis] for axis in axes]) if len(axes) > 1 else dims[axes[0]]
        if layer.op.startswith("conv_transpose") and layer.groups > 1:
            dim = trail.of(node)[1]
        is_first = layer.name == layer.weight.removesuffix(".weight")
        makers[layer.name] = _Maker(dim, layer.weight if is_first else "", axes)
    return makers


def _made_axes(layer: Layer, node: fx.Node, rank: int) -> tuple[int, ...]:
    if layer.op in {"embedding", "embedding_bag"}:
        return (rank - 1,)
    found: tuple[int, ...] = ()
    if layer.op == "einsum":
        found = products.axes_of_result(node, layer.weight, rank)
    return found or (layer.channel_axis % rank,)


def _is_scale(layer: Layer) -> bool:
    return layer.reason.startswith("it has one number")


def _results(trail: Trail, makers: Mapping[str, _Maker], layer: Layer) -> Axes:
    """What must stay for a layer's results to stay whole."""
    if layer.name in makers:
        return (makers[layer.name].dim,)
    if layer.weight in trail.stored:
        return trail.stored[layer.weight]
    return next(trail.of(node) for node in trail.axes if node.name == layer.node)


def _pinned(found: Sequence[Layer], ignore: Sequence[str]) -> list[Layer]:
    matched: list[Layer] = []
    for pattern in ignore:
        fits = _matcher(pattern)
        hits = [layer for layer in found if fits(layer.name)]
        if not hits:
            raise ModelError(pattern, "is not a layer", "See `tersor inspect` for names.")
        matched += hits
    return matched


def _matcher(pattern: str) -> Callable[[str], object]:
    if not pattern.startswith("re:"):
        return pattern.__eq__
    try:
        return re.compile(pattern[3:]).match
    except re.error as error:
        allowed = f"a regular expression after re: ({error})"
        raise InputError("ignore", got=pattern, allowed=allowed) from None


def _groups(
    trail: Trail, makers: Mapping[str, _Maker], weights: Collection[str]
) -> list[Group]:
    """Every leaf that may be cut and stands in a stored tensor."""
    places: dict[Dim, list[tuple[str, int]]] = {}
    for path, axes in trail.stored.items():
        for axis, dim in enumerate(axes):
            for leaf in dict.fromkeys(dim.leaves()):
                if not leaf.frozen and leaf.size > 1:
                    places.setdefault(leaf, []).append((path, axis))
    own = {(maker.path, axis) for maker in makers.values() for axis in maker.axes}
    names = _names(makers)
    taken: set[str] = set()
    known = {dim.root: all_owners(dim) for axes in trail.stored.values() for dim in axes}
    found = []
    for leaf, where in places.items():
        members = []
        for path, axis in where:
            makes, axes = (path, axis) in own, trail.stored[path]
            reads = not makes and path in weights and len(axes) > 1
            members.append(Member(path, axis, known[axes[axis].root][leaf], makes, reads))
        name = _free(names.get(leaf, where[0][0]), taken)
        found.append(Group(name, leaf.size, tuple(members), leaf))
    return found


def _names(makers: Mapping[str, _Maker]) -> dict[Dim, str]:
    """What users know channels by: the first layer that makes them, and which of its own."""
    found: dict[Dim, str] = {}
    for layer, maker in makers.items():
        dim = maker.dim
        leaves = list(dim.leaves())
        fresh = [leaf for leaf in dict.fromkeys(leaves) if leaf not in found]
        known = all_owners(dim) if fresh else {}
        for leaf in fresh:
            places = np.flatnonzero(known[leaf] >= 0)
            if dim.is_leaf:
                found[leaf] = layer
            elif len(places) == leaf.size:
                found[leaf] = f"{layer}[{places[0]}:{places[-1] + 1}]"
            else:
                found[leaf] = f"{layer}/{leaves.index(leaf)}"
    return found


def _free(name: str, taken: set[str]) -> str:
    """A name that is not taken yet, and is now."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    taken.add(found)
    return found


def _frozen(makers: Mapping[str, _Maker]) -> list[Frozen]:
    """Channels of which no leaf may be cut, each counted once."""
    found = []
    for layer, maker in makers.items():
        stay = np.ones(maker.dim.size, bool)
        known = all_owners(maker.dim)
        for leaf, own in known.items():
            if not leaf.frozen and leaf.size > 1:
                stay &= own < 0
        reasons: dict[str, int] = {}
        for leaf, own in known.items():
            count = int((stay & (own >= 0)).sum())
            if count:
                why = leaf.frozen or (_SINGLE if maker.dim.size == 1 else _APART)
                reasons[why] = reasons.get(why, 0) + count
                stay &= own < 0
        found += [Frozen(layer, count, why) for why, count in reasons.items()]
    return found
