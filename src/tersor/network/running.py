"""A network as it runs fastest here: for looking at its values, not for changing it.

Activation functions and roundings overwrite what they read where nobody else reads it: a fresh
tensor costs more than their arithmetic, since its pages have to be mapped and cleared. Weights
that codes hold are decoded once. Convolutions are packed, see `network.packed`, and pad for
themselves, see `network.padding`.
"""

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from tersor.codes.code import Code
from tersor.data.samples import Samples
from tersor.errors import UnsupportedError
from tersor.network.cost import live_activation_bytes
from tersor.network.network import Network
from tersor.network.packed import convolution, pack
from tersor.network.padding import absorb_padding
from tersor.network.points import is_carrier
from tersor.network.quantizer import ActivationQuantizer, round_in_place, rounded_value

_LIVE = 5 << 23  # bytes of all values of a batch that live at once

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
    convolution,
    *_IN_PLACE.values(),  # done to what was fresh, and is all that is left of it
}


def for_running(
    network: Network,
    keep: Container[str] = (),
    *,
    packed: bool = True,
    overwrite: bool = True,
) -> Network:
    """The same network for runs without gradients; nodes keep their names.

    Args:
        network: In evaluation mode.
        keep: Names of nodes whose values somebody else looks at, before any other node runs.
        packed: Whether convolutions are packed; not where weights are to be replaced later.
        overwrite: Whether nodes may overwrite what they read, if no other node reads it.
    """
    result = network.copy()
    _round_once(result, keep)
    _decode(result)
    if packed:
        absorb_padding(result, keep)
        pack(result, keep)
    for node in result.graph.nodes:
        source: Any = next(iter(node.args), None)
        if overwrite and _is_free(source, node):
            _overwrite(result, node)
    result.module.recompile()
    result.graph.owning_module = None  # else weights would outlive their last reader
    return result


class Runner(fx.Interpreter):
    """Runs a graph node by node."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.module)
        self.extra_traceback = False
        self.weights: dict[str, Any] = {}

    def fetch_attr(self, target: str) -> Any:
        """A weight; the way to it takes longer than a small operation, and is gone once."""
        if target not in self.weights:
            self.weights[target] = super().fetch_attr(target)
        return self.weights[target]


def each_value(
    network: Network, arrays: list[torch.Tensor], of: Container[str] | None = None
) -> Iterator[tuple[str, Any]]:
    """Nodes and their values, one after the other; none is kept after its last reader.

    Whoever changes a value in place changes what later nodes read.

    Args:
        network: In evaluation mode.
        arrays: One per input.
        of: Names of the nodes to stop at; None for all.
    """
    runner = Runner(network)
    runner.args_iter = iter([array.to(network.device) for array in arrays])
    for node in network.graph.nodes:
        runner.env[node] = runner.run_node(node)
        for dead in runner.user_to_last_uses.get(node, []):
            del runner.env[dead]
        if of is None or node.name in of:
            yield node.name, runner.env[node]


def _round_once(network: Network, keep: Container[str]) -> None:
    """Leave out roundings of what was rounded to the same grid, and only moved since."""
    for node in list(network.graph.nodes):
        before: Any = rounded_value(network, node)
        while isinstance(before, fx.Node) and is_carrier(before):
            before = before.args[0]
        is_same = isinstance(before, fx.Node) and before.target == node.target
        if is_same and node.name not in keep:
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)


def _overwrite(network: Network, node: fx.Node) -> None:
    """Have a node give its result in the memory of its first argument, if it can."""
    if node.target in _IN_PLACE:
        node.target = _IN_PLACE[node.target]
    elif node.op == "call_module":
        module = network.module.get_submodule(str(node.target))
        if isinstance(module, ActivationQuantizer):
            node.op, node.target = "call_function", round_in_place
            node.args = (node.args[0], *module.constants())


def batch_size_of(network: Network, samples: Samples, most: int) -> int:
    """How many samples run at once: the network's own size, if it has one.

    Args:
        network: Any network.
        samples: Tell sizes that vary.
        most: No more than so many, and no more than memory bears.
    """
    if network.fixed_batch is not None:
        return network.fixed_batch
    given = {name: array.shape[1:] for name, array in samples.inputs.items()}
    known = {
        axis: size
        for port in network.inputs
        for axis, size in zip(port.shape[1:], given.get(port.name, ()), strict=False)
        if isinstance(axis, str)
    }
    try:
        live = live_activation_bytes(replace(network, sizes={**network.sizes, **known}))
    except UnsupportedError:
        return 1
    return max(1, min(most, _LIVE // max(1, *live.values())))


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
    of_floats = reader.target is aten.relu.default or reader.op == "call_module"
    return source.target in _FRESH or (source.target is aten.add.Tensor and of_floats)
