"""Rows of attention that see nothing: their zeros move behind the product with the values.

A softmax over nothing but minus infinity is NaN, and exporters put zeros there,

    where(isnan(p), 0, p) @ v,    p = softmax(scores)

A row of p is NaN as a whole or not at all, and so is that row of the product: if values
are finite, where(isnan(p @ v), 0, p @ v) is the same. Engines know softmax and both products
next to each other as attention, and run them as one kernel.
"""

from operator import attrgetter
from typing import NamedTuple

import torch
from torch import fx, nn

from tersor.network.arguments import op_name

aten = torch.ops.aten
_SOFTMAX = {"softmax", "_softmax"}


class _Guard(NamedTuple):
    """choice = where(unequal, zero, p),  unequal = p != p."""

    choice: fx.Node
    unequal: fx.Node
    zero: fx.Node
    p: fx.Node


def move_guards(graph: fx.Graph, root: nn.Module) -> None:
    """Move every such choice of zeros in `graph`, whose tensors are those of `root`."""
    for node in list(graph.nodes):
        parts = node.args if op_name(node) == "where" else ()
        nodes = [part for part in parts if isinstance(part, fx.Node)]
        if len(nodes) == 3 and _holds(guard := _Guard(node, *nodes), root):
            _move(graph, guard)


def _holds(guard: _Guard, root: nn.Module) -> bool:
    """Whether it is one, of a softmax, and only multiplies others."""
    choice, unequal, zero, p = guard
    if op_name(p) not in _SOFTMAX or set(p.users) != {unequal, choice}:
        return False
    if op_name(unequal) != "ne" or unequal.args != (p, p) or set(unequal.users) != {choice}:
        return False
    held = attrgetter(str(zero.target))(root) if zero.op == "get_attr" else None
    if held is None or held.numel() != 1 or bool(held.any()):
        return False
    return all(op_name(u) == "matmul" and u.args[0] is choice for u in choice.users)


def _move(graph: fx.Graph, guard: _Guard) -> None:
    for product in list(guard.choice.users):
        product.replace_input_with(guard.choice, guard.p)
        readers = list(product.users)
        with graph.inserting_after(product):
            absent = graph.call_function(aten.isnan.default, (product,))
        with graph.inserting_after(absent):
            found = graph.call_function(aten.where.self, (absent, guard.zero, product))
        for reader in readers:
            reader.replace_input_with(product, found)
    graph.erase_node(guard.choice)
    graph.erase_node(guard.unequal)
