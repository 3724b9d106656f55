"""The arguments of a node by the names of its operation's schema, defaults included."""

from functools import lru_cache
from typing import Any

import torch
from torch import fx


@lru_cache(maxsize=512)
def _parameters(target: torch._ops.OpOverload) -> tuple[tuple[str, bool, Any], ...]:
    """Name, whether by keyword only, and default of each argument."""
    return tuple(
        (a.name, a.kwarg_only, a.default_value if a.has_default_value() else None)
        for a in target._schema.arguments
    )


def is_aten(node: fx.Node) -> bool:
    """Whether the node calls an ATen operation."""
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)


def op_name(node: fx.Node) -> str:
    """The operation without its overload, as in "conv2d"; "" for what is no operation.

    >>> graph = fx.Graph()
    >>> op_name(graph.call_function(torch.ops.aten.add.Tensor, (1, 2)))
    'add'
    """
    if not is_aten(node):
        return ""
    assert isinstance(node.target, torch._ops.OpOverload)  # noqa: S101 - just checked
    return node.target._opname if node.target.namespace == "aten" else ""


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a node that calls an ATen operation.

    >>> graph = fx.Graph()
    >>> x = graph.placeholder("x")
    >>> arguments(graph.call_function(torch.ops.aten.dropout.default, (x, 0.5, False)))
    {'input': x, 'p': 0.5, 'train': False}
    """
    assert isinstance(node.target, torch._ops.OpOverload)  # noqa: S101 - the caller's promise
    found = {name: default for name, _, default in _parameters(node.target)}
    found.update(zip(found, node.args, strict=False))
    found.update(node.kwargs)
    return found


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Give an argument of an ATen operation a new value, where it stands or as a keyword."""
    assert isinstance(node.target, torch._ops.OpOverload)  # noqa: S101 - the caller's promise
    names = [n for n, keyword_only, _ in _parameters(node.target) if not keyword_only]
    place = names.index(name) if name in names else len(node.args)
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)
