"""From a network to the work of its layers, for the shapes that it has or might have.

What is no layer moves elements past the processor: all activations that it reads and writes
are counted. Nothing is counted for what engines fold into the layer before (batch
normalization, a plain activation function, a sum), for views, and for what depends on weights
only.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.network import Network
from tersor.network.shapes import values
from tersor.timing.work import GATES, Shape, Work

Changed = Mapping[str, Mapping[int, int]]  # new sizes by node and axis
Reader = Callable[[fx.Node, "Values"], list[Work]]

_CACHED_BYTES = 1 << 23  # of all weights of a network; what caches keep from run to run
_REUSED = 256  # uses of a weight, from which on it does not matter where it is
_LEAST_MOVED = 1024  # elements; of fewer only the operation as such takes time
_VIEWS = {
    *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze"),
    *("expand", "expand_as", "slice", "select", "split", "split_with_sizes", "chunk"),
    *("dropout", "alias", "detach", "contiguous", "clone", "to", "_to_copy", "sym_size"),
}
_PADS = {"pad", "constant_pad_nd"}
_LINEAR = {"batch_norm", "_native_batch_norm_legit_no_training", "add", "dropout"}
_ACTIVATIONS = {
    "relu": "relu",
    "leaky_relu": "relu",
    **dict.fromkeys(("relu6", "hardtanh", "clamp"), "clip"),
}
_FOLDED = {*_LINEAR, *_ACTIVATIONS}


@dataclass(frozen=True, slots=True)
class Task:
    """The work of one node; a recurrent one may have several.

    Attributes:
        node: Name of the node.
        work: What it asks of an engine.
    """

    node: str
    work: Work


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of a graph's values.

    Attributes:
        shapes: By the node's name, of those that are tensors.
        live: Nodes that depend on an input of the network.
    """

    shapes: Mapping[str, Shape]
    live: frozenset[fx.Node]

    def __call__(self, node: fx.Node) -> Shape:
        """The shape of a node's value; () if it is no tensor."""
        return self.shapes.get(node.name, ())


class Tasks:
    """The tasks of one network, read once, for any sizes that pruning may leave."""

    def __init__(self, network: Network, batch: int = 1) -> None:
        """Read the graph.

        Args:
            network: Any network.
            batch: Samples in a run, where the network leaves that open.

        Raises:
            UnsupportedError: A value's size depends on other values.
        """
        self._shapes = {
            name: tuple(value.shape)
            for name, value in values(network, batch).items()
            if isinstance(value, torch.Tensor)
        }
        self._live = frozenset(_live(network.graph))
        self._nodes = list(_working(network.graph, self._live))
        works = self._works(Values(self._shapes, self._live))
        self._is_large = sum(w.weight_bytes for _, w in works) > _CACHED_BYTES

    def __call__(self, changed: Changed | None = None) -> list[Task]:
        """All tasks in the order of the graph.

        Args:
            changed: New sizes of values, weights among them, by name of the node and axis,
                as a cut would leave them.
        """
        new = {
            name: tuple(axes.get(i, size) for i, size in enumerate(self._shapes[name]))
            for name, axes in (changed or {}).items()
            if name in self._shapes
        }
        found = self._works(Values({**self._shapes, **new}, self._live))
        return [Task(name, self._placed(work)) for name, work in found]

    def _works(self, known: Values) -> Iterator[tuple[str, Work]]:
        for node, is_fed in self._nodes:
            first, *further = _READERS.get(_kind(node), _moved)(node, known)
            fed = is_fed and first.op != "move"
            yield node.name, replace(first, is_fed=True) if fed else first
            yield from ((node.name, work) for work in further)

    def _placed(self, work: Work) -> Work:
        """The work with where its weights are."""
        is_cold = self._is_large and work.reuse < _REUSED
        return replace(work, is_cold=True) if is_cold else work


def works(network: Network, batch: int = 1, changed: Changed | None = None) -> list[Task]:
    """The tasks of `network`; see `Tasks`, which is faster for many changes of one network.

    Raises:
        UnsupportedError: A value's size depends on other values.
    """
    return Tasks(network, batch)(changed)


def _kind(node: fx.Node) -> str:
    """The operation's name, also of the one that is our own."""
    return "gru_reset_first" if str(node.target) == "tersor.gru.default" else op_name(node)


def _live(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on an input."""
    live: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not live.isdisjoint(node.all_input_nodes):
            live.add(node)
    return live


def _working(graph: fx.Graph, live: Set[fx.Node]) -> Iterator[tuple[fx.Node, bool]]:
    """Nodes that compute something at run time, and whether an input reaches them as it is."""
    raw: set[fx.Node] = set()  # inputs, and views of them
    ends: set[fx.Node] = set()  # at which a layer's result is folded further
    for node in graph.nodes:
        name = _kind(node)
        if node.op == "placeholder":
            raw.add(node)
        if node not in live or node.op in {"placeholder", "output"}:
            continue
        is_view = name in _VIEWS or not name or _is_padding(node)
        is_fed = not raw.isdisjoint(node.all_input_nodes)
        if is_view and is_fed:
            raw.add(node)
        if name in _READERS or (name in _FOLDED and _follows(node, ends)):
            ends.add(node)
        if name in _READERS or not (node in ends or is_view):
            yield node, is_fed


def _follows(node: fx.Node, ends: set[fx.Node]) -> bool:
    """Whether it takes a result that nobody else takes."""
    return any(n in ends and len(n.users) == 1 for n in node.all_input_nodes)


def _is_padding(node: fx.Node) -> bool:
    """Whether it adds zeros for one convolution, which engines do while they convolve."""
    users = [op_name(user) for user in node.users]
    return op_name(node) in _PADS and len(users) == 1 and users[0].startswith("conv")


def _moved(node: fx.Node, known: Values) -> list[Work]:
    """All activations that it reads and writes."""
    passing = [n for n in (node, *node.all_input_nodes) if n in known.live]
    return [_moving(sum(math.prod(known(n)) for n in passing))]


def _moving(elements: int) -> Work:
    return Work("move", ((max(_LEAST_MOVED, elements),),))


def _conv(node: fx.Node, known: Values) -> list[Work]:
    found = arguments(node)
    x, w, out = known(found["input"]), known(found["weight"]), known(node)
    if len(x) < len(w):  # a single sample
        x, out = (1, *x), (1, *out)
    transposed = bool(found.get("transposed", "transpose" in op_name(node)))
    groups = out[1] // w[1] if transposed else x[1] // w[1]
    dilation, padding = _each(found["dilation"], x), found["padding"]
    if isinstance(padding, str):
        reach = [d * (k - 1) // 2 for d, k in zip(dilation, w[2:], strict=True)]
        padding = reach if padding == "same" else 0
    options = _each(found["stride"], x), _each(padding, x), dilation, groups
    op = "conv_transpose" if transposed else "conv"
    return [Work(op, (x, w), *options, activation=_activation(node))]


def _activation(node: fx.Node) -> str:
    """What a layer's result alone goes through in the end, as `Work.activation`."""
    while len(node.users) == 1:
        (node,) = node.users
        if op_name(node) in _ACTIVATIONS:
            return _ACTIVATIONS[op_name(node)]
        if op_name(node) not in _LINEAR:
            break
    return ""


def _each(value: Any, x: Shape) -> Shape:
    """One number for each spatial axis."""
    given = value if isinstance(value, list | tuple) else [value]
    return tuple(given) if len(given) == len(x) - 2 else tuple(given) * (len(x) - 2)


def _linear(node: fx.Node, known: Values) -> list[Work]:
    found = arguments(node)
    x, w = known(found["input"]), known(found["weight"])
    k = w[-1]
    return [Work("matmul", ((math.prod(x) // k, k), (k, math.prod(w) // k)))]


def _matmul(node: fx.Node, known: Values) -> list[Work]:
    """Of matrices, at least one of them an activation; vectors are matrices of one row."""
    factors = [n for n in node.all_input_nodes if known(n)][-2:]  # behind what is added
    left, right = factors[0], factors[-1]
    a, b = known(left), known(right)
    a, b = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if right not in known.live and len(b) == 2:
        return [Work("matmul", ((math.prod(a[:-1]), b[0]), b))]
    if left not in known.live and len(a) == 2:  # as the product of the transposes
        return [Work("matmul", ((math.prod(b) // b[-2], a[1]), (a[1], a[0])))]
    batch = math.prod(np.broadcast_shapes(a[:-2], b[:-2]))
    return [Work("product", ((batch, *a[-2:]), (batch, *b[-2:])))]


def _einsum(node: fx.Node, known: Values) -> list[Work]:
    """Two operands are a product: letters of both and the result are its batch."""
    found = arguments(node)
    terms, _, out = found["equation"].replace(" ", "").partition("->")
    names = terms.split(",")
    if len(names) != 2 or "." in terms:
        return _moved(node, known)
    left, right = (set(name) for name in names)
    sizes: dict[str, int] = {}
    for name, tensor in zip(names, found["tensors"], strict=True):
        sizes.update(zip(name, known(tensor), strict=True))
    parts = (left & right & set(out), left - right, (left & right) - set(out), right - left)
    b, m, k, n = (math.prod(sizes[letter] for letter in part) for part in parts)
    return [Work("product", ((b, m, k), (b, k, n)))]


def _attention(node: fx.Node, known: Values) -> list[Work]:
    found = arguments(node)
    q, k, v = (known(found[name]) for name in ("query", "key", "value"))
    heads = (math.prod(q[:-3]), q[-3] if len(q) > 2 else 1)
    return [Work("attention", tuple((*heads, *x[-2:]) for x in (q, k, v)))]


def _recurrent(node: fx.Node, known: Values) -> list[Work]:
    """One work for each layer, directions together."""
    found = arguments(node)
    if "input" not in found:  # of packed sequences
        return _moved(node, known)
    x = known(found["input"])
    steps, batch = (x[1], x[0]) if found["batch_first"] else x[:2]
    directions = 2 if found["bidirectional"] else 1
    each = len(found["params"]) // (found["num_layers"] * directions)
    first = found["params"][:: each * directions]  # of each layer: the matrix of its input
    op = op_name(node).partition("_")[0]
    return [_of_steps(op, steps, batch, (directions, *known(matrix))) for matrix in first]


def _gru_reset_first(node: fx.Node, known: Values) -> list[Work]:
    found = arguments(node)
    steps, batch = known(found["x"])[:2]
    return [_of_steps("gru", steps, batch, (1, *known(found["w_ih"])))]


def _of_steps(op: str, steps: int, batch: int, of_input: Shape) -> Work:
    directions, rows, inputs = of_input
    return Work(op, ((steps, batch, inputs), of_input, (directions, rows, rows // GATES[op])))


def _embedding(node: fx.Node, known: Values) -> list[Work]:
    """Rows are read and written."""
    return [_moving(2 * math.prod(known(node)))]


_READERS: dict[str, Reader] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv),
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm"), _matmul),
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "gru_reset_first": _gru_reset_first,
    "embedding": _embedding,
}
