"""Who makes a value, and can give it with every channel divided by a factor.

A LayerNorm or RMSNorm over the last axis, and a linear layer, do it by their weight and bias.
A relu behind them lets positive factors pass, and so does an attention, whose result is linear
in its values: channel c of the joined heads is channel c of the layer that makes the values.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.network import Network

_NORMS = {"layer_norm", "rms_norm"}


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes a value.

    Attributes:
        title: Name of its weight without ".weight".
        weight: Dotted name of the weight: (C,), or (C, inputs).
        bias: Dotted name of the bias (C,), or None.
    """

    title: str
    weight: str
    bias: str | None

    def divide(self, network: Network, factors: torch.Tensor) -> None:
        """Divide channel c by `factors[c]`; only on a network of your own."""
        weight = network.tensor(self.weight).detach()
        shape = [-1] + [1] * (weight.ndim - 1)
        network.set_tensor(self.weight, weight / factors.reshape(shape))
        if self.bias is not None:
            network.set_tensor(self.bias, network.tensor(self.bias).detach() / factors)


def maker_of(network: Network, node: fx.Node, readers: Collection[str]) -> Maker | None:
    """The maker of the value of `node`, if nodes named `readers` are its only readers.

    None if there is no such maker, if others read what it makes, or its weights.
    """
    if any(user.name not in readers for user in node.users):
        return None
    while op_name(node) in {"relu", "dropout"}:
        node = node.all_input_nodes[0]
        if len(node.users) > 1:
            return None
    if op_name(node) in {"reshape", "view"}:
        found = _values_of(node)
        if found is None:
            return None
        node = found
    return _maker(network, node)


def _maker(network: Network, node: fx.Node) -> Maker | None:
    name = op_name(node)
    if name not in {*_NORMS, "linear"}:
        return None
    found = arguments(node)
    if name in _NORMS and len(found["normalized_shape"]) != 1:
        return None
    weight, bias = found["weight"], found.get("bias")
    tensors = [t for t in (weight, bias) if t is not None]
    if weight is None or not all(_is_own(network, t) for t in tensors):
        return None
    path = str(weight.target)
    return Maker(path.removesuffix(".weight"), path, str(bias.target) if bias else None)


def _is_own(network: Network, tensor: fx.Node) -> bool:
    """Whether the tensor is stored as it is, and read once only."""
    reads = [
        n for n in network.graph.nodes if n.op == "get_attr" and n.target == tensor.target
    ]
    return tensor.op == "get_attr" and sum(len(n.users) for n in reads) == 1


def _values_of(joined: fx.Node) -> fx.Node | None:
    """The linear layer that makes the values of the attention whose heads are joined here.

    joined = reshape(transpose(weights @ v, 1, 2)),  v = transpose(view(linear), 1, 2)
    """
    turned = _before(joined, {"transpose"})
    product = _before(turned, {"matmul", "scaled_dot_product_attention"})
    if turned is None or product is None or not _swaps_heads(turned):
        return None
    place = 1 if op_name(product) == "matmul" else 2
    values = product.args[place]
    if not isinstance(values, fx.Node) or len(values.users) > 1:
        return None
    split = _before(values, {"view", "reshape"})
    layer = _before(split, {"linear"})
    if split is None or layer is None or not _swaps_heads(values):
        return None
    sizes = [split.args[1], joined.args[1]]
    if not all(isinstance(s, list | tuple) for s in sizes):
        return None
    heads, whole = sizes
    if len(heads) != 4 or len(whole) != 3:  # type: ignore[arg-type]
        return None
    return layer if _width(heads[2:]) in {_width(whole[2:]), None} else None  # type: ignore[index]


def _width(sizes: object) -> int | None:
    """The product of fixed sizes."""
    assert isinstance(sizes, list | tuple)  # noqa: S101 - a part of a list
    total = 1
    for size in sizes:
        if not isinstance(size, int) or size < 0:
            return None
        total *= size
    return total


def _before(node: fx.Node | None, names: set[str]) -> fx.Node | None:
    """What `node` reads first, if that is one of these operations and nobody else reads it."""
    if node is None or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source = node.args[0]
    return source if op_name(source) in names and len(source.users) == 1 else None


def _swaps_heads(node: fx.Node) -> bool:
    """Whether it exchanges the second and the third of four axes."""
    if op_name(node) != "transpose":
        return False
    found = arguments(node)
    return {found["dim0"], found["dim1"]} in ({1, 2}, {-3, -2}, {1, -2}, {-3, 2})
