"""Residual branches: what can be left out of a network whole, since a sum has another operand.

    y = x + f(x)        without the branch:  y = x

A sum has a branch f if the value x, the skip, has the sum's own shape and type, and f is
computed from x. Inside the branch is all that nobody would read if the sum were x: layers
with their weights, dropout, scales of layers or of whole samples. What follows the sum stays:
relu(x + f(x)) becomes relu(x), a normalized sum LN(x + f(x)) becomes LN(x).

A branch cannot be removed if something else reads a value between x and f(x), or if both sides
of the sum are computed from x: without f a shortcut that projects or pads would stand alone. A
layer in a plain sequence is no branch, even if its input and its result have one shape.

Two sums may stand in each other: the long skip of a network, the short ones of its blocks.
Both are branches, and removing the longer one removes what is inside. Branches that follow
each other in one block, attention and perceptron of a transformer, belong to one block: the
block's name is what the names of their layers have in common, up to the last part that counts
("encoder.layers.3").
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from torch import fx

from tersor.errors import ModelError, UnsupportedError
from tersor.network.arguments import arguments, op_name
from tersor.network.cost import LayerCost, cost, is_stored
from tersor.network.network import Network
from tersor.network.quantizer import rounded_value
from tersor.network.shapes import shapes

_SAME = {
    *("dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "alias"),
    *("detach", "to", "_to_copy", "type_as", "lift_fresh_copy"),
}
_SIZES = (2, 1)  # that varying dimensions are set to, the first that will do
_COUNTS = re.compile(r".*\d$")


@dataclass(frozen=True, slots=True)
class Branch:
    """One side of a sum, which the network can go without.

    Attributes:
        name: What the names of its layers have in common; that of its first layer, where
            branches would be called alike.
        block: Common to the branches of a block, one after the other.
        sum: Name of the node that adds it.
        skip: Name of the node whose value is left; "" if it cannot be removed.
        nodes: Names of the nodes that go with it, in the order of the graph.
        layers: Names of the layers among them.
        parameters: Elements of the weights that nothing else reads.
        macs: Multiply-accumulates of the layers for one sample.
        reason: Why it cannot be removed; "" if it can.
    """

    name: str
    block: str
    sum: str
    skip: str
    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    parameters: int
    macs: int
    reason: str = ""


def branches(network: Network) -> tuple[Branch, ...]:
    """The residual branches of a network in the order of their sums, removable or not.

    Raises:
        UnsupportedError: The network cannot run on empty tensors.
    """
    search = _Search(network)
    found = [each for node in network.graph.nodes if (each := search.at(node)) is not None]
    return tuple(_named(found, search.first))


def blocks(found: Iterable[Branch]) -> tuple[tuple[Branch, ...], ...]:
    """Branches that follow each other in one block; blocks with one that must stay left out.

    Args:
        found: Branches of one network, in order.
    """
    groups = (tuple(group) for _, group in groupby(found, key=lambda branch: branch.block))
    return tuple(g for g in groups if not any(branch.reason for branch in g))


def without(network: Network, gone: Iterable[Branch | str]) -> Network:
    """A network without some branches, nor the weights that only they read.

    Args:
        network: Stays as it is.
        gone: Branches of this network, or their names.

    Raises:
        ModelError: There is no such branch, or it cannot be removed; the reason is told.
    """
    chosen = _looked_up(network, list(gone))
    result = network.copy()
    place = {node.name: i for i, node in enumerate(result.graph.nodes)}
    own = {node.name: node for node in result.graph.nodes}
    for branch in sorted(chosen, key=lambda b: place[b.sum], reverse=True):
        own[branch.sum].replace_all_uses_with(own[branch.skip])
    result.graph.eliminate_dead_code(_is_end)  # torch itself would keep dropout
    result.module.recompile()
    return result.copy()  # leaves out tensors that no node reads


def _looked_up(network: Network, gone: Sequence[Branch | str]) -> list[Branch]:
    by_name = any(isinstance(each, str) for each in gone)
    known = {branch.name: branch for branch in branches(network)} if by_name else {}
    nodes = {node.name for node in network.graph.nodes}
    found = []
    for each in gone:
        branch = known.get(each) if isinstance(each, str) else each
        if branch is None or not {branch.sum, branch.skip or branch.sum} <= nodes:
            name = each if isinstance(each, str) else each.name
            names = ", ".join(b.name for b in branches(network)) or "none"
            raise ModelError(name, "is no branch of the network", f"There are: {names}.")
        if branch.reason:
            raise ModelError(branch.name, f"cannot be removed: {branch.reason}", "Leave it.")
        found.append(branch)
    return found


class _Side(NamedTuple):
    """What goes if a sum loses one of its operands.

    Attributes:
        top: The operand.
        nodes: All that nobody reads then, in the order of the graph.
        layers: Those of them that are layers.
        entries: What these read that stays.
    """

    top: fx.Node
    nodes: tuple[fx.Node, ...]
    layers: tuple[LayerCost, ...]
    entries: frozenset[fx.Node]


class _Search:
    """Looks at the sums of a network, in the order of the graph.

    Attributes:
        first: Name of the first layer of each branch found, by its sum.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._place = {node: i for i, node in enumerate(network.graph.nodes)}
        self._before = _before(network.graph, self._place)
        self._known = _shapes(network)
        self._rows: dict[str, list[LayerCost]] = {}
        for row in cost(network).layers:
            self._rows.setdefault(row.layer.node, []).append(row)
        self._stored: dict[str, set[fx.Node]] = {}
        for node in network.graph.nodes:
            if is_stored(node):
                self._stored.setdefault(str(node.target), set()).add(node)
        self._trained = {name for name, _ in network.module.named_parameters()}
        self._skips: dict[fx.Node, fx.Node] = {}
        self.first: dict[str, str] = {}

    def at(self, node: fx.Node) -> Branch | None:
        """The branch that a node adds to its skip; None if it is no such sum."""
        operands = _operands(node)
        if operands is None:
            return None
        sides = [self._side(node, operand) for operand in operands]
        for skip, side in zip(operands, reversed(sides), strict=True):
            root = self._root(skip, side.top)
            if root is not None:
                return self._with_skip(node, side, skip, root)
        return self._with_shortcut(node, sides)

    def _side(self, node: fx.Node, operand: fx.Node) -> _Side:
        """All that is computed for one operand alone."""
        gone: set[fx.Node] = set()
        entries: set[fx.Node] = set()
        waiting = [operand]
        while waiting:
            each = waiting.pop()
            left = set(each.users) - gone - ({node} if each is operand else set())
            if left or each.op == "placeholder":
                entries.add(each)
                continue
            gone.add(each)
            waiting += each.all_input_nodes
        nodes = tuple(sorted(gone, key=self._place.__getitem__))
        rows = tuple(row for n in nodes for row in self._rows.get(n.name, ()))
        kept = frozenset(e for e in entries - gone if not (is_stored(e) or _is_size(e)))
        return _Side(operand, nodes, rows, kept)

    def _root(self, skip: fx.Node, top: fx.Node) -> fx.Node | None:
        """What the other operand is computed from: the skip, or what it is but for sums."""
        found: fx.Node | None = skip
        while found is not None and not self._before[top] >> self._place[found] & 1:
            found = self._skips.get(found) or self._source(found)
        return found

    def _source(self, node: fx.Node) -> fx.Node | None:
        """What a node passes on as it is."""
        if op_name(node) in _SAME:
            return node.all_input_nodes[0]
        rounded = rounded_value(self._network, node)
        return rounded if isinstance(rounded, fx.Node) else None

    def _with_skip(
        self, node: fx.Node, side: _Side, skip: fx.Node, root: fx.Node
    ) -> Branch | None:
        """A sum of a value, and of another that is computed from it by layers."""
        inside = self._between(root, side.top)
        rows = [row for n in inside for row in self._rows.get(n.name, ())]
        if not _macs(rows) or self._known.get(skip.name) != self._known.get(node.name):
            return None
        branch = self._branch(node, side, inside, self._against(node, skip, inside, side))
        if branch.reason:
            return branch
        self._skips[node] = skip
        return replace(branch, skip=skip.name)

    def _against(
        self, node: fx.Node, skip: fx.Node, inside: Sequence[fx.Node], side: _Side
    ) -> str:
        """Why a branch cannot be removed; "" if it can."""
        given = arguments(node)
        if given["other"] is skip and (op_name(node) == "sub" or given["alpha"] != 1):
            return "its input is multiplied in the sum"
        gone = {*side.nodes, node}
        for inner in inside:
            for user in inner.users:
                if inner not in gone and user not in gone and not self._leads(user, side.top):
                    return f"{user.name} reads {inner.name}, which is inside, too"
        return ""

    def _leads(self, node: fx.Node, top: fx.Node) -> bool:
        return node is top or bool(self._before[top] >> self._place[node] & 1)

    def _between(self, root: fx.Node, top: fx.Node) -> list[fx.Node]:
        """What is computed from `root` for `top`."""
        start = self._place[root]
        return [
            node
            for node in self._place
            if self._before[node] >> start & 1 and self._leads(node, top)
        ]

    def _with_shortcut(self, node: fx.Node, sides: Sequence[_Side]) -> Branch | None:
        """The larger side of a sum whose sides are both computed from one value."""
        small, large = sorted(sides, key=lambda side: _macs(side.layers))
        own = next((row.layer.name for row in small.layers if row.macs), None)
        is_one = len(large.entries) == 1 and small.entries == large.entries
        if not is_one or not _macs(large.layers):
            return None
        reason = f"its shortcut changes what it adds to ({op_name(small.top)})"
        if own is not None:
            reason = f"its shortcut has a layer, {own}"
        return self._branch(node, large, large.nodes, reason)

    def _branch(
        self, node: fx.Node, side: _Side, inside: Sequence[fx.Node], reason: str
    ) -> Branch:
        """What a side of a sum is, as what it reads on the way from the skip is called."""
        names = self._names(inside) or [side.top.name]
        self.first[node.name] = names[0]
        parts = [name.split(".") for name in names]
        parents = [each[:-1] for each in parts if each[:-1]]
        return Branch(
            name=".".join(_common(parts)) or f"{names[0]} to {names[-1]}",
            block=".".join(_counted(_common(parents))) or node.name,
            sum=node.name,
            skip="",
            nodes=tuple(n.name for n in side.nodes),
            layers=tuple(row.layer.name for row in side.layers),
            parameters=self._parameters(side.nodes),
            macs=_macs(side.layers),
            reason=reason,
        )

    def _names(self, inside: Sequence[fx.Node]) -> list[str]:
        """The layers' names; or those of all that holds tensors, if files renamed weights."""
        rows = [row.layer for n in inside for row in self._rows.get(n.name, ())]
        names = [layer.weight.removesuffix(".weight") for layer in rows if layer.compressible]
        if any("." in name for name in names):
            return names
        read = [str(t.target) for n in inside for t in n.all_input_nodes if is_stored(t)]
        return [path.rpartition(".")[0] for path in read if path.count(".") > 1] or names

    def _parameters(self, nodes: Sequence[fx.Node]) -> int:
        """Elements of what only these nodes read, buffers left out."""
        own, network = set(nodes), self._network
        paths = {str(node.target) for node in nodes if is_stored(node)}
        return sum(
            network.tensor(path).numel()
            for path in paths
            if self._stored[path] <= own and (path in self._trained or network.is_coded(path))
        )


def _is_end(node: fx.Node) -> bool:
    return node.op in {"placeholder", "output"}


def _operands(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The two values of a sum or difference."""
    if op_name(node) not in {"add", "sub"}:
        return None
    one, other = list(arguments(node).values())[:2]
    if not isinstance(one, fx.Node) or not isinstance(other, fx.Node) or one is other:
        return None
    return one, other


def _macs(rows: Iterable[LayerCost]) -> int:
    return sum(row.macs for row in rows)


def _is_size(node: fx.Node) -> bool:
    return op_name(node).startswith("sym_")


def _before(graph: fx.Graph, place: dict[fx.Node, int]) -> dict[fx.Node, int]:
    """For each node the bits of those that its value depends on; not by their sizes alone."""
    found: dict[fx.Node, int] = {}
    for node in graph.nodes:
        bits = 0
        for read in () if _is_size(node) else node.all_input_nodes:
            bits |= found[read] | 1 << place[read]
        found[node] = bits
    return found


def _shapes(network: Network) -> dict[str, object]:
    """Shape and type of every tensor."""
    for size in _SIZES[:-1]:
        try:
            return dict(shapes(network, size))
        except UnsupportedError:
            continue
    return dict(shapes(network, _SIZES[-1]))


def _common(paths: Sequence[Sequence[str]]) -> list[str]:
    """The parts that all paths begin with."""
    found = list(paths[0]) if paths else []
    for path in paths[1:]:
        same = (i for i, (a, b) in enumerate(zip(found, path, strict=False)) if a != b)
        found = found[: next(same, min(len(found), len(path)))]
    return found


def _counted(parts: list[str]) -> list[str]:
    """Up to the last part that is a number, or else ends with one."""
    for count in (str.isdigit, _COUNTS.match):
        places = [i for i, part in enumerate(parts) if count(part)]
        if places:
            return parts[: places[-1] + 1]
    return []


def _named(found: Sequence[Branch], first: Mapping[str, str]) -> list[Branch]:
    """Names that none of another branch begins with, but for one inside; each only once.

    Args:
        found: All branches.
        first: The first layer of each, by its sum: what it is called then.
    """
    taken: set[str] = set()
    result = []
    for branch in found:
        others = (each for each in found if not _related(branch, each))
        if any(f"{each.name}.".startswith(f"{branch.name}.") for each in others):
            branch = replace(branch, name=first[branch.sum])
        free, number = branch.name, 2
        while free in taken:
            free, number = f"{branch.name} ({number})", number + 1
        taken.add(free)
        result.append(replace(branch, name=free))
    return result


def _related(one: Branch, other: Branch) -> bool:
    """Whether a branch is inside another."""
    a, b = set(one.nodes), set(other.nodes)
    return a <= b or b <= a
