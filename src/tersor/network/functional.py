"""Operations that work in place, replaced by their twins that give a new tensor.

`relu_(x)` becomes `relu(x)`, and whoever reads x later reads the result. That is right
only if nobody later reads the old memory under another name (a view of x taken before, or what
x is a view of); such graphs are left to torch, which rewrites views in general.
"""

import torch
from torch import fx

from tersor.network.arguments import is_aten

# Give their input itself in evaluation mode, which their schemas do not say.
_MAY_PASS_ON = {
    "alpha_dropout",
    "dropout",
    "feature_alpha_dropout",
    "feature_dropout",
    "_unsafe_view",
}


def works_in_place(node: fx.Node) -> bool:
    """Whether the node changes one of its arguments."""
    return is_aten(node) and node.target._schema.is_mutable  # type: ignore[union-attr]


def functionalize(graph: fx.Graph) -> bool:
    """Replace every operation that works in place, if that can be done one by one.

    Returns:
        False if it cannot; the graph is then half changed and must be thrown away.
    """
    memory = _memory(graph)
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if works_in_place(node) and not _replace(node, memory, order):
            return False
    return True


def _replace(node: fx.Node, memory: dict[fx.Node, int], order: dict[fx.Node, int]) -> bool:
    twin = _twin(node)
    changed = node.args[0] if node.args else None
    if twin is None or not isinstance(changed, fx.Node) or changed.op == "get_attr":
        return False
    for other, place in memory.items():
        if other is changed or order[other] >= order[node] or place != memory[changed]:
            continue
        if any(order[user] > order[node] for user in other.users):
            return False
    if not _same_type(node, changed):
        return False
    node.target = twin
    node._rename(twin._opname)
    for user in list(changed.users):
        if order[user] > order[node]:
            user.replace_input_with(changed, node)
    return True


def _twin(node: fx.Node) -> torch._ops.OpOverload | None:
    """The operation of the same name without the underscore, with the same arguments."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)  # noqa: S101 - works_in_place said so
    name = target._opname
    if not name.endswith("_") or target.namespace != "aten":
        return None
    packet = getattr(torch.ops.aten, name[:-1], None)
    found = getattr(packet, target._overloadname, None)
    if found is None or found._schema.is_mutable:
        return None
    names = [a.name for a in target._schema.arguments]
    return found if [a.name for a in found._schema.arguments] == names else None


def _same_type(node: fx.Node, changed: fx.Node) -> bool:
    """Whether all operands have one element type, which then is the twin's result's."""
    wanted = changed.meta["val"].dtype
    tensors = [n.meta["val"] for n in node.all_input_nodes]
    return all(not hasattr(t, "dtype") or t.dtype == wanted for t in tensors)


def _memory(graph: fx.Graph) -> dict[fx.Node, int]:
    """A number for every node; nodes that may share memory have the same one."""
    place: dict[fx.Node, int] = {}
    for i, node in enumerate(graph.nodes):
        place[node] = i
        for source in _shared_with(node):
            old, new = place[source], place[node]
            place.update({n: new for n, p in place.items() if p == old})
    return place


def _shared_with(node: fx.Node) -> list[fx.Node]:
    """The inputs whose memory the node's result may share."""
    if not is_aten(node):
        return node.all_input_nodes if node.op == "call_function" else []
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)  # noqa: S101 - is_aten said so
    aliased = any(r.alias_info is not None for r in target._schema.returns)
    first = node.args[0] if node.args else None
    passes_on = aliased or target._opname in _MAY_PASS_ON
    return [first] if passes_on and isinstance(first, fx.Node) else []
