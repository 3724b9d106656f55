"""Zero padding of one end more than the other, done by the convolution behind it.

A padded copy of a value takes longer than the convolution that reads it, but convolutions pad
both ends alike. So the kernel gets zeros instead: with a padding of l in front and r behind,

    l < r     padding r at both ends, r - l zeros in front of the kernel
    l > r     padding l at both ends, l - r zeros behind it

The windows are as many as before and see the same numbers, and further ones times zero:
results of finite numbers are the same. That pays where each result is made of one channel;
where many are summed up, the zeros would cost more than the copy.
"""

from collections.abc import Container
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from tersor.network.arguments import arguments
from tersor.network.network import Network

aten = torch.ops.aten
_PAIRS = ("padding", "dilation")
_MOST = 2  # zeros along an axis: a kernel of three becomes one of five


def zeros_around(node: fx.Node) -> list[Any] | None:
    """How many zeros a node pads its first argument with; None if it does anything else.

    Of the last axis in front and behind, then of the axis before, and so on.
    """
    if node.target not in {aten.constant_pad_nd.default, aten.pad.default}:
        return None
    given = arguments(node)
    is_zero = given.get("mode", "constant") == "constant" and not given["value"]
    return list(given["pad"]) if is_zero else None


def absorb_padding(network: Network, keep: Container[str] = ()) -> None:
    """Have convolutions of two dimensions pad for themselves; only on a network of your own.

    Args:
        network: Its convolutions read plain weights; codes are left alone.
        keep: Names of nodes whose values somebody looks at.
    """
    for node in list(network.graph.nodes):
        source = node.args[0] if node.target is aten.conv2d.default else None
        if not isinstance(source, fx.Node) or source.name in keep:
            continue
        pads, given = zeros_around(source), arguments(node)
        plain = given["weight"].op == "get_attr" and {int} >= set(map(type, pads or ()))
        if pads and plain and _absorb(network, node, given, pads):
            node.replace_input_with(source, source.all_input_nodes[0])
            for unread in (source, given["weight"]):
                if not unread.users:
                    network.graph.erase_node(unread)


def _absorb(network: Network, node: fx.Node, given: dict[str, Any], pads: list[int]) -> bool:
    """Give a convolution the padding and the kernel; False if they do not fit."""
    pads = pads + [0] * (4 - len(pads))
    weight = network.tensor(str(given["weight"].target)).detach()
    if min(pads) < 0 or any(pads[4:]):
        return False
    padding, zeros = [], []
    for axis, (front, behind) in enumerate((pads[2:4], pads[:2])):
        own, dilation = (given[name][min(axis, len(given[name]) - 1)] for name in _PAIRS)
        more, rest = divmod(abs(front - behind), dilation)
        if rest or more > (_MOST if weight.shape[1] == 1 else 0):
            return False
        padding.append(own + max(front, behind))
        zeros.append((more, 0) if front < behind else (0, more))
    wider = {}
    if any(map(any, zeros)):
        path = f"padded.{node.name}"
        network.set_tensor(path, functional.pad(weight, (*zeros[1], *zeros[0])))
        with network.graph.inserting_before(node):
            wider["weight"] = network.graph.get_attr(path)
    node.args, node.kwargs = tuple((given | wider | {"padding": padding}).values()), {}
    return True
