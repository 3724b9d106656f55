"""Values of inner nodes, taken in the same run of the graph that gives the outputs."""

from collections.abc import Sequence
from typing import Any

import torch

from tersor.errors import ModelError
from tersor.network.network import Network


def tapped(network: Network, names: Sequence[str]) -> Network:
    """A network whose module gives the values of some nodes, too, behind its outputs.

    Args:
        network: Stays as it is; tensors are shared.
        names: Of the nodes, in the order in which their values are given.

    Raises:
        ModelError: There is no such node.
    """
    if not names:
        return network
    result = network.copy()
    nodes = {node.name: node for node in result.graph.nodes}
    (output,) = (node for node in result.graph.nodes if node.op == "output")
    for name in names:
        if name not in nodes or nodes[name] is output:
            raise ModelError(name, "is no node of the network", "See `tersor inspect`.")
    given: Any = output.args[0]
    output.args = ((*given, *(nodes[name] for name in names)),)
    result.module.recompile()
    return result


def parted(
    given: Sequence[torch.Tensor], names: Sequence[str]
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """What the module of `tapped` gave: the outputs, and the values by name.

    What products in bf16 left is float32 again.
    """
    halves = (torch.bfloat16, torch.float16)
    found = [each.float() if each.dtype in halves else each for each in given]
    count = len(found) - len(names)
    return tuple(found[:count]), dict(zip(names, found[count:], strict=True))
