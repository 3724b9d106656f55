"""The shape and element type of every value of a network, without computing anything.

The graph runs on tensors without content (torch's "meta" device), with every dimension that
may vary set to one size. Views of one tensor share one storage there too.
"""

import math
from typing import Any

import torch
from torch import fx

from tersor.codes.code import Code
from tersor.errors import UnsupportedError
from tersor.network.network import Network, Port
from tersor.network.operations import guess
from tersor.network.quantizer import ActivationQuantizer
from tersor.network.quick import quick

Shape = tuple[int, ...]


def shapes(network: Network, size: int = 1) -> dict[str, tuple[Shape, torch.dtype]]:
    """Shape and element type of every node whose value is one tensor, by the node's name.

    Args:
        network: Any network.
        size: What every varying dimension is set to that `network.sizes` does not tell.

    Raises:
        UnsupportedError: An operation refuses these sizes, or its result's size depends on
            values; node and operation are named.
    """
    return {
        name: (tuple(value.shape), value.dtype)
        for name, value in values(network, size).items()
        if isinstance(value, torch.Tensor)
    }


def batch_size_for(network: Network, elements: int, most: int) -> int:
    """How many samples may run at once: the network's own size, if it has one.

    Args:
        network: Any network.
        elements: Numbers that all values of a batch together may hold, inputs not counted.
        most: No more than so many.
    """
    if network.fixed_batch is not None:
        return network.fixed_batch
    try:
        found = shapes(network)
    except UnsupportedError:
        return 1
    made = (n.name for n in network.graph.nodes if n.op != "get_attr" and n.all_input_nodes)
    each = sum(math.prod(found[name][0]) for name in made if name in found)
    return max(1, min(most, elements // max(1, each)))


def values(network: Network, size: int = 1) -> dict[str, Any]:
    """What every node gives, by name: empty tensors, numbers, or tuples of them.

    See `shapes`. Tensors share a storage where one is a view of another.
    """
    inputs = [
        torch.empty(
            _sizes(network, port, size), dtype=getattr(torch, port.dtype), device="meta"
        )
        for port in network.inputs
    ]
    propagation = _Propagation(network)
    with torch.no_grad():
        propagation.run(*inputs)
    return propagation.found


def _sizes(network: Network, port: Port, size: int) -> Shape:
    return tuple(d if isinstance(d, int) else network.sizes.get(d, size) for d in port.shape)


class _Propagation(fx.Interpreter):
    """Runs the graph on empty tensors and keeps all values."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.module, garbage_collect_values=False)
        self.network = network
        self.extra_traceback = False
        self.found: dict[str, Any] = {}
        self.weights: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            reason = str(error).split("\n", 1)[0].rstrip(".")
            raise UnsupportedError(
                node=n.name, op=str(n.target), opset="ATen", problem=f"refuses: {reason}"
            ) from error
        self.found[n.name] = result
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> torch.Tensor:
        return self._weight(str(target))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in _RESHAPES:  # strides of empty tensors may differ from the true ones
            target = torch.ops.aten.reshape.default
        known = guess(target, args, 0)
        known = quick(target, args, kwargs) if known is None else known
        if known is not None:
            return known
        if isinstance(target, torch._ops.OpOverload):
            args, kwargs = _on_meta(target, args, kwargs)
        return super().call_function(target, args, kwargs)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.network.module.get_submodule(str(target))
        if isinstance(module, Code):
            return self._weight(str(target))
        if isinstance(module, ActivationQuantizer):
            return torch.empty_like(args[0])
        raise TypeError(f"modules of type {type(module).__name__} are not known")

    def _weight(self, path: str) -> torch.Tensor:
        if path not in self.weights:
            tensor = self.network.tensor(path)
            self.weights[path] = torch.empty_like(tensor.detach(), device="meta")
        return self.weights[path]


_RESHAPES = {torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default}


def _on_meta(
    target: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The arguments with every device replaced by "meta"."""
    schema = target._schema.arguments
    if all(a.name != "device" for a in schema):
        return args, kwargs
    positions = [a.name for a in schema if not a.kwarg_only]
    if "device" in positions[: len(args)]:
        place = positions.index("device")
        return (*args[:place], torch.device("meta"), *args[place + 1 :]), kwargs
    return args, {**kwargs, "device": torch.device("meta")}
