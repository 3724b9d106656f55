"""A network as it runs fastest here: for looking at its values, not for changing it.

Activation functions overwrite what they read where nobody else reads it: a fresh tensor costs
more than their arithmetic, since its pages have to be mapped and cleared. Weights that codes
hold are decoded once.
"""

from collections.abc import Container, Iterator
from typing import Any

import torch
from torch import fx

from tersor.codes.code import Code
from tersor.network.network import Network
from tersor.network.shapes import batch_size_for

_ELEMENTS = 3 << 24  # of all values of a batch together: far more than live at once

aten = torch.ops.aten
_IN_PLACE = {
    aten.clamp.default: aten.clamp_.default,
    aten.hardtanh.default: aten.hardtanh_.default,
    aten.relu.default: aten.relu_.default,
}
_FRESH = {  # operations whose result is of floats and shares no memory with anything
    aten.addmm.default,
    aten.batch_norm.default,
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.linear.default,
}


def for_running(network: Network, keep: Container[str] = ()) -> Network:
    """The same network for runs without gradients; nodes keep their names.

    Args:
        network: In evaluation mode.
        keep: Names of nodes whose values somebody else looks at.
    """
    result = _in_place(network, keep)
    _decode(result)
    result.module.recompile()
    return result


def each_value(network: Network, arrays: list[torch.Tensor]) -> Iterator[tuple[str, Any]]:
    """Every node and its value, one after the other; none is kept after its last reader.

    Whoever changes a value in place changes what later nodes read.
    """
    interpreter = fx.Interpreter(network.module)
    interpreter.args_iter = iter([array.to(network.device) for array in arrays])
    for node in network.graph.nodes:
        interpreter.env[node] = interpreter.run_node(node)
        for dead in interpreter.user_to_last_uses.get(node, []):
            del interpreter.env[dead]
        yield node.name, interpreter.env[node]


def _in_place(network: Network, keep: Container[str]) -> Network:
    result = network.copy()
    for node in result.graph.nodes:
        source: Any = next(iter(node.args), None) if node.target in _IN_PLACE else None
        if _is_free(source, node) and source.name not in keep:
            node.target = _IN_PLACE[node.target]
    result.module.recompile()
    return result


def batch_size_of(network: Network, most: int) -> int:
    """How many samples run at once, so that memory is bounded; see `shapes.batch_size_for`."""
    return batch_size_for(network, _ELEMENTS, most)


def _decode(network: Network) -> None:
    found: dict[str, Code] = {}
    for node in list(network.graph.nodes):
        if node.op != "call_module" or node.args or node.kwargs:
            continue
        path = str(node.target)
        code = network.code(path)
        if code is not None:
            found[path] = code
        with network.graph.inserting_after(node):
            plain = network.graph.get_attr(path)
        node.replace_all_uses_with(plain)
        network.graph.erase_node(node)
    for path, code in found.items():
        with torch.no_grad():
            network.set_tensor(path, code.decode())


def _is_free(source: Any, reader: fx.Node) -> bool:
    """Whether the source's result is new memory that `reader` alone reads."""
    if not isinstance(source, fx.Node) or len(source.users) > 1:
        return False
    whole = source.target is aten.add.Tensor and reader.target is aten.relu.default
    return source.target in _FRESH or whole
