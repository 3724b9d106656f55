"""Attention heads: which channel groups are heads, and what each head does.

Attention is a product of weights, which a softmax gave, and values:

    (..., head, query, key) x (..., head, key, width) -> (..., head, query, width)

An axis that all three have is one of heads if it can be cut, and stands in every stored tensor
where the width of the values does: in the layer that makes the values, and in those that read
the result. Of grouped queries these are the heads of keys and values, each with its queries.

The layers that read what the heads give are their readers. A head with rows V in the layer
that makes the values, (width, inputs), and columns O in a reader, (outputs, width), has the
norm |O V|, Frobenius': what it can do, whatever it attends to. Rows and columns are found by
sending their numbers through the graph, as long as nothing but moves lies between.
"""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.channels import Channels, Group
from tersor.network.cost import is_stored
from tersor.network.dims import Dim, owners
from tersor.network.layers import Layer, layers
from tersor.network.network import Network
from tersor.network.points import input_of

_FUSED = "scaled_dot_product_attention"
_PRODUCTS = {"matmul", "bmm", "einsum"}
_SOFTMAX = {"softmax", "_softmax"}
_ON_THE_WAY = {
    *("view", "reshape", "expand", "clone", "contiguous", "to", "_to_copy", "type_as"),
    *("dropout", "permute", "transpose", "mul", "where", "masked_fill", "nan_to_num"),
}
_MOVES = _ON_THE_WAY - {"mul", "where", "masked_fill", "nan_to_num"} | {
    *("unbind", "select", "split", "split_with_sizes", "chunk", "slice", "unsqueeze"),
    *("squeeze", "flatten", "unflatten", "movedim"),
}
_LAYERS = {"linear", "addmm", "matmul", "conv1d", "conv2d"}


@dataclass(frozen=True, slots=True)
class Reader:
    """A layer that reads what heads give.

    Attributes:
        layer: Which.
        source: Name of the node that it reads.
        axis: Of what it reads, on which the heads stand.
        heads: The head at each position of that axis, -1 for none.
        by_sample: Whether the samples of a batch follow each other on the first axis.
    """

    layer: Layer
    source: str
    axis: int
    heads: NDArray[np.intp]
    by_sample: bool


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of one attention.

    Attributes:
        group: The channel group of which each channel is a head.
        node: Name of the node that multiplies weights and values.
        values: Name of the node that gives the values.
        readers: In the order of the graph.
    """

    group: Group
    node: str
    values: str
    readers: tuple[Reader, ...] = field(repr=False)


def heads(network: Network, known: Channels) -> tuple[Heads, ...]:
    """The heads of a network that can be cut, in the order of the graph.

    Args:
        network: Any network.
        known: Its channels.
    """
    groups = {group.dim.root: group for group in known.groups}
    found = layers(network)
    taken: set[str] = set()
    result = []
    for node, weights, values in _attentions(network.graph):
        for leaf in _shared(known, node, weights, values):
            group = groups.get(leaf)
            if group is None or group.name in taken:
                continue
            readers = tuple(_readers(known, group, found))
            if readers:
                taken.add(group.name)
                result.append(Heads(group, node.name, values.name, readers))
    return tuple(result)


def _attentions(graph: fx.Graph) -> Iterator[tuple[fx.Node, fx.Node, fx.Node]]:
    """Products, with what tells the weights and what gives the values."""
    for node in graph.nodes:
        if op_name(node) == _FUSED:
            given = arguments(node)
            yield node, given["query"], given["value"]
        elif op_name(node) in _SOFTMAX:
            for weights, product in _multiplied(node):
                others = [read for read in product.all_input_nodes if read is not weights]
                if len(others) == 1:
                    yield product, weights, others[0]


def _multiplied(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """The products that read a value, at most moved, masked or scaled on the way."""
    for user in node.users:
        if op_name(user) in _PRODUCTS:
            yield node, user
        elif op_name(user) in _ON_THE_WAY:
            yield from _multiplied(user)


def _leaves(axes: Any) -> set[Dim]:
    return {leaf.root for dim in axes for leaf in dim.leaves()}


def _shared(known: Channels, node: fx.Node, weights: fx.Node, values: fx.Node) -> list[Dim]:
    """Dimensions of weights, values and result that stand wherever the values' width does."""
    trail = known.trail
    scored = trail.of(weights)
    if op_name(node) == _FUSED:
        scored = scored[:-1]
    result = trail.of(node)
    common = _leaves(result) & _leaves(trail.of(values))
    width = {leaf for leaf in common - _leaves(scored) if leaf.size > 1}
    stored = [_leaves([dim]) for axes in trail.stored.values() for dim in axes]
    with_width = [leaves for leaves in stored if leaves & width]
    ordered = dict.fromkeys(leaf.root for dim in result for leaf in dim.leaves())
    return [
        leaf
        for leaf in ordered
        if leaf in common - width and with_width and all(leaf in each for each in with_width)
    ]


def _readers(known: Channels, group: Group, found: list[Layer]) -> Iterator[Reader]:
    """The layers on whose inputs the heads stand."""
    nodes = {node.name: node for node in known.trail.axes}
    batches = {
        known.trail.of(node)[0].root
        for node in known.trail.axes
        if node.op == "placeholder" and known.trail.of(node)
    }
    places = {(member.path, member.axis) for member in group.members}
    for layer in found:
        inputs = {axis for path, axis in places if path == layer.weight} - {layer.channel_axis}
        source = input_of(nodes[layer.node])
        if layer.op not in _LAYERS or not inputs or not isinstance(source, fx.Node):
            continue
        axes = known.trail.of(source)
        for axis, dim in enumerate(axes):
            of = owners(dim, group.dim)
            if (of >= 0).any():
                by_sample = axes[0].factors()[0].root in batches
                yield Reader(layer, source.name, axis, of, by_sample)


def norms(network: Network, known: Channels, found: Heads) -> NDArray[np.float64] | None:
    """|O V| of each head, over all readers, (heads,); None where rows cannot be followed.

    Args:
        network: Any network.
        known: Its channels.
        found: Heads of it.
    """
    nodes = {node.name: node for node in known.trail.axes}
    product, values = nodes[found.node], nodes[found.values]
    maker = _maker(values)
    layer = next((a for a in layers(network) if a.node == maker.name and a.weight), None)
    if layer is None or layer.op not in _LAYERS:
        return None
    made = _sent(known, values, maker, _channels_of(known, maker, layer))
    v = _matrix(network, layer, 0)
    squares = np.zeros(found.group.size)
    for reader in found.readers:
        read = _sent(known, nodes[reader.source], product, _counted(known, product))
        o = _matrix(network, reader.layer, 1)
        if made is None or read is None or len(o) != len(reader.heads):
            return None
        first = read.movedim(reader.axis, -1).reshape(-1, len(o))[0].numpy()
        at = np.unravel_index(first, known.trail.shape(product))
        rows = made.numpy()[_placed(known, product, values, at)]
        own = [i for i, dim in enumerate(known.trail.of(product)) if _holds(dim, found.group)]
        for number in np.unique(at[own[0]]):
            its = np.flatnonzero(at[own[0]] == number)
            both = (o[its] @ o[its].T) * (v[rows[its]] @ v[rows[its]].T)
            squares[reader.heads[its[0]]] += both.sum()
    return np.sqrt(squares)


def _maker(node: fx.Node) -> fx.Node:
    """The node whose value another only moves, a bias added at most."""
    while op_name(node) in _MOVES or node.target is operator.getitem or _adds_stored(node):
        node = next(read for read in node.all_input_nodes if not is_stored(read))
    return node


def _adds_stored(node: fx.Node) -> bool:
    return op_name(node) == "add" and sum(map(is_stored, node.all_input_nodes)) == 1


def _sent(known: Channels, node: fx.Node, source: fx.Node, numbers: torch.Tensor) -> Any:
    """What stands at a node if numbers stand at its source; None if not only moved there."""
    if node is source:
        return numbers
    if _adds_stored(node):
        (value,) = (read for read in node.all_input_nodes if not is_stored(read))
        return _sent(known, value, source, numbers)
    if op_name(node) not in _MOVES and node.target is not operator.getitem:
        return None
    given = {
        read: _sent(known, read, source, numbers)
        if isinstance(known.trail.values[read.name], torch.Tensor | list | tuple)
        else known.trail.values[read.name]
        for read in node.all_input_nodes
    }
    if any(value is None for value in given.values()) or not callable(node.target):
        return None
    args, kwargs = fx.map_arg((node.args, node.kwargs), given.__getitem__)
    return node.target(*args, **kwargs)


def _counted(known: Channels, node: fx.Node) -> torch.Tensor:
    """A number for each element."""
    shape = known.trail.shape(node)
    return torch.arange(math.prod(shape), dtype=torch.int32).reshape(shape)


def _channels_of(known: Channels, node: fx.Node, layer: Layer) -> torch.Tensor:
    """Of each element of a layer's result, which channel it is."""
    shape = known.trail.shape(node)
    axis = 1 if layer.op.startswith("conv") else len(shape) - 1
    sizes = [-1 if i == axis else 1 for i in range(len(shape))]
    return torch.arange(shape[axis], dtype=torch.int32).reshape(sizes).expand(shape)


def _placed(
    known: Channels, product: fx.Node, values: fx.Node, at: tuple[NDArray[np.intp], ...]
) -> tuple[Any, ...]:
    """Where the values stand that make elements of a product; of keys the first."""
    result = known.trail.of(product)
    found: list[Any] = []
    for dim in known.trail.of(values):
        same = [i for i, each in enumerate(result) if each.root is dim.root]
        repeated = [i for i, each in enumerate(result) if dim.root in _leaves([each])]
        if same:
            found.append(at[same[-1]])
        elif repeated:
            found.append(owners(result[repeated[0]], dim)[at[repeated[0]]])
        else:
            found.append(0)
    return tuple(found)


def _holds(dim: Dim, group: Group) -> bool:
    return group.dim.root in _leaves([dim])


def _matrix(network: Network, layer: Layer, side: int) -> NDArray[np.float64]:
    """A weight as rows: of output channels (side 0) or of inputs (side 1)."""
    axis = layer.channel_axis if side == 0 else 1 - layer.channel_axis
    weight = network.tensor(layer.weight).detach().cpu().double().movedim(axis, 0)
    return weight.reshape(len(weight), -1).numpy()
