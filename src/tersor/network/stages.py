"""Where blocks and stages end: the values that tell most of what a network does.

The channel axis of a value follows from the operations: convolutions and batch normalization
count channels by axis 1, linear layers, embeddings and layer normalization by the last one,
permutations move it, and whatever keeps rank and size of that axis keeps it. Values that come
of no such operation (masks, positions, heads of attention) have none.

An end is the value of an activation function, a sum or a concatenation with such an axis, if
more than an activation function reads it, or of a pool that reads no such value. It is on the
trunk if nothing that was computed before it is read after it: inner values of residual blocks
are not.

Blocks end at the ends on the trunk; where there are none, at all ends. Stages end at the last
one of each run of equal spatial sizes. Where the size never changes, as that of tokens, or
where a count is asked for, as many ends of blocks in even steps, the last one included.
"""

from collections.abc import Container
from itertools import compress
from typing import Any

import torch
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.network import Network
from tersor.network.shapes import Shape, shapes

_EVEN = 4  # values of a network without spatial stages
_FIRST = {"conv1d", "conv2d", "conv3d", "convolution", "batch_norm"}
_FIRST |= {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_LAST = {"linear", "addmm", "mm", "embedding", "layer_norm", "rms_norm"}
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"}
_ACTIVATIONS = {
    *("relu", "relu6", "hardtanh", "clamp", "leaky_relu", "prelu", "elu", "celu", "selu"),
    *("gelu", "silu", "mish", "hardswish", "softplus", "tanh"),
}
_ENDS = _ACTIVATIONS | {"add", "cat"}
_POOLS = {f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg") for n in (1, 2, 3)}


def channel_axes(network: Network) -> dict[str, int]:
    """The axis of channels, from 0 on, of each floating point value that has one, by node.

    Raises:
        UnsupportedError: As `network.shapes`.
    """
    found: dict[str, int] = {}
    known = _floats(network)
    for node in network.graph.nodes:
        if node.name in known and node.op not in {"placeholder", "get_attr"}:
            axis = _axis(node, known, found)
            if axis is not None:
                found[node.name] = axis
    return found


def blocks(network: Network, among: Container[str] | None = None) -> list[str]:
    """Where blocks end, in the order of the graph: the ends on the trunk, or else all ends.

    Args:
        network: Any network.
        among: Names of nodes that may be chosen; None for all.

    Raises:
        UnsupportedError: As `network.shapes`.
    """
    axes = channel_axes(network)
    found = [name for name in _ends(network, axes) if among is None or name in among]
    trunk = _trunk(network.graph, axes)
    return [name for name in found if name in trunk] or found


def stages(network: Network, count: int = 0, among: Container[str] | None = None) -> list[str]:
    """Nodes whose values tell most of what a network does, in the order of the graph.

    Args:
        network: Any network.
        count: How many, in even steps, or all if there are fewer; 0 for one for each stage.
        among: Names of nodes that may be chosen; None for all.

    Raises:
        UnsupportedError: As `network.shapes`.
    """
    found, axes, known = blocks(network, among), channel_axes(network), _floats(network)
    sizes = [_spatial(known[name], axes[name]) for name in found]
    if not count and len(set(sizes)) > 1:
        last = [own != after for own, after in zip(sizes, [*sizes[1:], None], strict=True)]
        return list(compress(found, last))
    return _evenly(found, count or _EVEN)


def _evenly(names: list[str], count: int) -> list[str]:
    steps = min(count, len(names))
    return [names[-(-i * len(names) // steps) - 1] for i in range(1, steps + 1)]


def _spatial(shape: Shape, axis: int) -> Shape:
    return tuple(size for i, size in enumerate(shape) if i not in {0, axis})


def _ends(network: Network, axes: dict[str, int]) -> list[str]:
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    given = {node.name for node in output.all_input_nodes}
    return [
        node.name
        for node in network.graph.nodes
        if _is_end(node) and node.name in axes and node.name not in given
    ]


def _is_end(node: fx.Node) -> bool:
    if op_name(node) in _POOLS:
        return all(op_name(source) not in _ENDS for source in node.all_input_nodes)
    read = any(op_name(user) not in _ACTIVATIONS for user in node.users)
    return op_name(node) in _ENDS and read


def _floats(network: Network) -> dict[str, Shape]:
    """Shapes of floating point values of two axes or more."""
    return {
        name: shape
        for name, (shape, dtype) in shapes(network).items()
        if dtype.is_floating_point and len(shape) > 1
    }


def _axis(node: fx.Node, known: dict[str, Shape], found: dict[str, int]) -> int | None:
    """The channel axis of one value; `found` has those of the values before it."""
    name, last = op_name(node), len(known[node.name]) - 1
    if name in _FIRST:
        return 1
    if name in _LAST or _is_state(node) or (name == "matmul" and _has_weight(node)):
        return last
    sources = [source for source in node.all_input_nodes if source.name in found]
    if not sources or name in _PRODUCTS:
        return None
    if name in {"transpose", "permute"}:
        return _moved(node, found[sources[0].name], last + 1)
    axes = {found[source.name] for source in sources}
    if name == "cat":
        return axes.pop() if len(axes) == 1 else None
    return _kept(known[node.name], [(known[s.name], found[s.name]) for s in sources])


def _kept(shape: Shape, sources: list[tuple[Shape, int]]) -> int | None:
    """The axis of the first source of the same rank and as many channels."""
    for before, axis in sources:
        if len(before) == len(shape) and before[axis] == shape[axis]:
            return axis
    return None


def _moved(node: fx.Node, axis: int, rank: int) -> int:
    given = arguments(node)
    if op_name(node) == "permute":
        return [int(d) % rank for d in given["dims"]].index(axis)
    one, other = int(given["dim0"]) % rank, int(given["dim1"]) % rank
    return {one: other, other: one}.get(axis, axis)


def _has_weight(node: fx.Node) -> bool:
    """Whether the right side of a product is a weight."""
    right: Any = node.args[1]
    return isinstance(right, fx.Node) and right.op in {"get_attr", "call_module"}


def _is_state(node: fx.Node) -> bool:
    """Whether it is a sequence that a recurrent layer gives."""
    source: Any = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or op_name(source) not in _RECURRENT:
        return False
    return node.args[1:] == (0,)


def _trunk(graph: fx.Graph, axes: dict[str, int]) -> set[str]:
    """Values with channels after which nothing is read that was computed before them.

    Only what comes from values with channels counts: masks and sizes may be read anywhere.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    follows: set[fx.Node] = set()
    found: set[str] = set()
    furthest = -1  # the last reader of anything before this node
    for node in graph.nodes:
        if node.name not in axes and follows.isdisjoint(node.all_input_nodes):
            continue
        if isinstance(node.meta.get("val"), torch.SymInt) or op_name(node).startswith("sym_"):
            continue
        follows.add(node)
        if furthest <= place[node] and node.name in axes:
            found.add(node.name)
        furthest = max([furthest, *(place[user] for user in node.users)])
    return found
