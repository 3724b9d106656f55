"""Convolutions as a processor runs them fastest: weights in its own order, clamps fused.

PyTorch brings the weight of a convolution into the order of oneDNN at every call, and on one
thread leaves small batches to slower kernels. Here the order is made once, and the activation
function behind a convolution runs while its result is in the cache. Results are the same to
rounding. Where PyTorch has no oneDNN, nothing changes.
"""

from collections.abc import Container
from typing import Any

import torch
from torch import fx

from tersor.network.arguments import arguments
from tersor.network.network import Network

aten = torch.ops.aten
Window = tuple[list[int], list[int], list[int], int]

_FUSED: dict[Any, str] = {
    aten.clamp.default: "hardtanh",
    aten.hardtanh.default: "hardtanh",
    aten.relu.default: "relu",
}


def pack(network: Network, keep: Container[str] = ()) -> None:
    """Pack the convolutions of two dimensions; only on a network of your own.

    What is fused keeps the name of the activation function. Weights that nobody reads then
    are gone.

    Args:
        network: In evaluation mode, for runs without gradients.
        keep: Names of nodes whose values somebody looks at.
    """
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if network.device.type != "cpu" or not available:
        return
    for node in list(network.graph.nodes):
        if node.target is aten.conv2d.default:
            _pack(network, node, keep)
    _forget_unread(network)
    network.module.recompile()


def convolution(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    window: Window,
    function: str,
    limits: list[float],
) -> torch.Tensor:
    """A packed convolution and what is fused to it.

    Args:
        x: float32 (batch, channels, height, width), or without the batch.
        packed: The weight, as `pack` made it.
        bias: float32 (channels,).
        window: Padding, stride, dilation and groups.
        function: The activation function: "none", "relu" or "hardtanh".
        limits: Of "hardtanh".
    """
    run = torch.ops.mkldnn._convolution_pointwise.default
    images = x if x.ndim == 4 else x[None]
    found: torch.Tensor = run(images, packed, bias, *window, function, limits, "")
    return found if x.ndim == 4 else found[0]


def _pack(network: Network, node: fx.Node, keep: Container[str]) -> None:
    given = arguments(node)
    held = given["weight"]
    if not isinstance(held, fx.Node) or held.op != "get_attr":
        return
    weight = network.tensor(str(held.target)).detach()
    if weight.dtype != torch.float32:
        return
    window: Window = (
        *(_pair(given[name]) for name in ("padding", "stride", "dilation")),
        given["groups"],
    )
    path = f"packed.{node.name}"
    network.set_tensor(path, torch.ops.mkldnn._reorder_convolution_weight(weight, *window))
    with network.graph.inserting_before(node):
        packed = network.graph.get_attr(path)
    node.target = convolution
    node.args = (given["input"], packed, given["bias"], window, "none", [])
    node.kwargs = {}
    if not held.users:
        network.graph.erase_node(held)
    reader = next(iter(node.users))
    if len(node.users) == 1 and node.name not in keep:
        _fuse(node, reader)


def _forget_unread(network: Network) -> None:
    """Let go of weights that are held packed only."""
    read = {str(node.target) for node in network.graph.nodes if node.op == "get_attr"}
    for path, _ in list(network.module.named_parameters()):
        owner, _, leaf = path.rpartition(".")
        if path not in read:
            del network.module.get_submodule(owner)._parameters[leaf]


def _fuse(node: fx.Node, reader: fx.Node) -> None:
    """Have the convolution run the activation function that reads it, if it can."""
    function = _FUSED.get(reader.target)
    if function is None:
        return
    limits = [] if function == "relu" else list(reader.args[1:])
    if function == "hardtanh" and (reader.kwargs or not _are_numbers(limits)):
        return
    reader.target, reader.args = convolution, (*node.args[:4], function, limits)
    node.graph.erase_node(node)


def _are_numbers(limits: list[Any]) -> bool:
    return len(limits) == 2 and all(isinstance(limit, float | int) for limit in limits)


def _pair(sizes: Any) -> list[int]:
    return list(sizes) * (2 if len(sizes) == 1 else 1)
