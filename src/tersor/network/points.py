"""Which activations are rounded, so that integer kernels run from end to end.

Operations fall into five kinds:

compute   has a weight: convolutions, linear, matmul with a constant side. Runs in integers if
          its input is rounded and its weight is held by integers.
join      no weight, but makes new values: add, average pool, mean. Runs in integers
          if inputs and result are rounded, which pays only where somebody wants the result.
carrier   moves values without changing them: max pool, reshape, slice, zero padding, concat.
          Its input and its result have the same scale, so it is exact on integers.
fused     relu, clamp: engines run it inside the operation before it; rounding comes after.
float     everything else: normalization, softmax, gelu. Engines run it in floats.

Walking backwards, every compute wants its input rounded; what a carrier passes on, and what
a join makes, is wanted from them in turn. Values that meet in a carrier share one range.
What a float kernel makes is rounded as late as possible, behind carriers that only give it
another shape or order: engines move floats faster, or let the float kernel do it.
A value that an integer kernel makes is read rounded by all, except by the network's output:
the kernel writes integers only. A value that a float kernel makes is there in floats anyway,
and is read rounded by integer kernels only: the residual sum behind a normalization keeps its
precision. A pool that nobody wants rounded stays float, but what a compute hands it is
rounded: some engines have no integer kernel that writes floats.
"""

from dataclasses import dataclass, field

from torch import fx

from tersor.network.layers import Layer
from tersor.network.padding import zeros_around

_POOLS = {
    "aten.avg_pool2d.default",
    "aten.avg_pool1d.default",
    "aten.adaptive_avg_pool2d.default",
    "aten.mean.dim",
}
_JOINS = {"aten.add.Tensor", *_POOLS}
_VIEWS = {
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.dropout.default",
    "aten.flatten.using_ints",
    "aten.permute.default",
    "aten.reshape.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.transpose.int",
    "aten.unsqueeze.default",
    "aten.view.default",
}
_CARRIERS = _VIEWS | {
    "aten.cat.default",
    "aten.constant_pad_nd.default",
    "aten.max_pool1d.default",
    "aten.max_pool2d.default",
    "aten.pad.default",
    "aten.slice.Tensor",
}
FUSED = {"aten.relu.default", "aten.clamp.default", "aten.hardtanh.default"}


@dataclass
class Points:
    """The values to round.

    Attributes:
        groups: Sets of nodes whose results share one range, in graph order.
        of: The group of each node, an index into `groups`.
        readers: For each node, who reads its result rounded.
    """

    groups: list[list[fx.Node]] = field(default_factory=list)
    of: dict[fx.Node, int] = field(default_factory=dict)
    readers: dict[fx.Node, list[fx.Node]] = field(default_factory=dict)


def operation(node: fx.Node) -> str:
    """The name of an ATen overload, as in "aten.relu.default"; "" for what is none."""
    return str(node.target) if node.op == "call_function" else ""


def input_of(node: fx.Node) -> object:
    """The activation that a compute with a weight reads."""
    return node.args[1 if operation(node) == "aten.addmm.default" else 0]


def points(graph: fx.Graph, layers: list[Layer]) -> Points:
    """Where to round, if `layers` are to run in integers."""
    compute = {layer.node for layer in layers}  # names of nodes
    wanted: dict[fx.Node, None] = {}
    integer: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.name in compute:
            values = [input_of(node)]
        elif (operation(node) in _JOINS and _is_wanted(node, wanted)) or (
            is_carrier(node) and node in wanted and not _shows_floats(node, compute)
        ):
            values = list(_activations(node))
        else:
            if operation(node) in _POOLS and _is_made_by(compute, node.args[0]):
                _want(node.args[0], wanted)
            continue
        integer.add(node)
        for value in values:
            _want(value, wanted)
    result = _grouped([n for n in graph.nodes if n in wanted])
    for node in result.of:
        every = node in integer or node.op != "call_function" or operation(node) in FUSED
        result.readers[node] = [
            user for user in node.users if user in integer or (every and user.op != "output")
        ]
    return result


def only_moves(node: fx.Node, found: Points) -> bool:
    """Whether a node gives nothing but zeros and all that its group has anyway.

    A pool or a slice chooses some of its values, and is none of these.
    """
    whole = _VIEWS | {"aten.cat.default", "aten.constant_pad_nd.default", "aten.pad.default"}
    sources = _activations(node) if operation(node) in whole and is_carrier(node) else []
    return bool(sources) and all(found.of.get(s) == found.of[node] for s in sources)


def _want(value: object, wanted: dict[fx.Node, None]) -> None:
    if isinstance(value, fx.Node):
        wanted[value] = None


def _is_made_by(compute: set[str], value: object) -> bool:
    """Whether a compute makes the value, itself or with what is fused or moves it."""
    while isinstance(value, fx.Node) and value.name not in compute:
        if operation(value) not in FUSED and not is_carrier(value):
            return False
        value = value.args[0]
    return isinstance(value, fx.Node)


def _is_wanted(node: fx.Node, wanted: dict[fx.Node, None]) -> bool:
    """Whether the result is wanted, itself or after what is fused to it."""
    if node in wanted:
        return True
    return any(operation(u) in FUSED and _is_wanted(u, wanted) for u in node.users)


def _activations(node: fx.Node) -> list[fx.Node]:
    """The tensors that a join or carrier reads; a constant stays as it is."""
    first = node.args[0]
    if isinstance(first, list | tuple):
        values = list(first)
    elif operation(node) == "aten.add.Tensor":
        values = list(node.args[:2])
    else:
        values = [first]
    found = [v for v in values if isinstance(v, fx.Node) and v.op != "get_attr"]
    return found if len(found) == len(values) else []


def is_carrier(node: fx.Node) -> bool:
    """Whether a node moves values without changing them; zeros may come in between."""
    name = operation(node)
    if name not in _CARRIERS:
        return False
    pads = {"aten.constant_pad_nd.default", "aten.pad.default"}
    return name not in pads or zeros_around(node) is not None


def _shows_floats(node: fx.Node, compute: set[str]) -> bool:
    """Whether a carrier gives what a float kernel makes another shape or order."""
    if operation(node) not in _VIEWS:
        return False
    while operation(node) in _VIEWS | FUSED:
        node = node.all_input_nodes[0]
    no_float = node.name in compute or operation(node) in _JOINS | _CARRIERS
    return node.op == "call_function" and not no_float


def _grouped(nodes: list[fx.Node]) -> Points:
    """Union of the values that meet in carriers."""
    parent = {node: node for node in nodes}

    def root(node: fx.Node) -> fx.Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    for node in nodes:
        if is_carrier(node):
            for value in _activations(node):
                if value in parent:
                    parent[root(value)] = root(node)
    result = Points()
    index: dict[fx.Node, int] = {}
    for node in nodes:
        group = index.setdefault(root(node), len(result.groups))
        if group == len(result.groups):
            result.groups.append([])
        result.groups[group].append(node)
        result.of[node] = group
    return result
