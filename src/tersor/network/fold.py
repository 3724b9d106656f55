"""Batch normalization in evaluation mode, folded into the layer before it.

    y = gamma * (W x + b - mean) / sqrt(var + eps) + beta
      = (s W) x + (s (b - mean) + beta),      s = gamma / sqrt(var + eps)

computed in float64, rounded once. The layer is a convolution, linear layer or product with
a constant matrix, whose result only the normalization reads and whose weight and bias
nobody shares; zeros of a `Masked` weight stay. A zero padding of its own, equal on both sides,
becomes the convolution's.
"""

from collections import Counter
from typing import Any

import torch
from torch import fx

from tersor.codes.masked import Masked
from tersor.network.arguments import arguments, op_name, set_argument
from tersor.network.layers import Layer, layers
from tersor.network.network import Network
from tersor.network.shapes import shapes

_NORMS = {"batch_norm", "_native_batch_norm_legit_no_training"}
_FOLDABLE = {"linear", "matmul", "addmm"}


def fold_batch_norm(network: Network) -> Network:
    """A network without the normalizations and paddings that a layer can take over."""
    result = network.copy()
    for node in list(result.graph.nodes):
        if op_name(node) in {"pad", "constant_pad_nd"}:
            _fold_padding(node)
    fitting = _pairs(result)
    for layer, product, norm in fitting:
        _fold(result, layer, product, norm)
    result.graph.eliminate_dead_code()
    result.module.recompile()
    return result.copy()  # leaves out tensors that no node reads


def _pairs(network: Network) -> list[tuple[Layer, fx.Node, fx.Node]]:
    """Each layer that can take over a normalization, its node, and the normalization."""
    nodes = {node.name: node for node in network.graph.nodes}
    reads = Counter(str(n.target) for n in nodes.values() for _ in n.users if _is_tensor(n))
    found = []
    for layer in layers(network):
        node = nodes[layer.node]
        users = list(node.users)
        if not (layer.op.startswith("conv") or layer.op in _FOLDABLE) or len(users) != 1:
            continue
        tensors = [t for t in (layer.weight, layer.bias) if t]
        stored = all(reads[t] == 1 for t in tensors) and _takes(network, layer)
        if layer.weight and stored and _is_fixed_norm(users[0], node):
            found.append((layer, node, users[0]))
    matrices = any(layer.op in _FOLDABLE for layer, _, _ in found)
    known = shapes(network) if matrices else {}
    return [
        (layer, node, norm)
        for layer, node, norm in found
        if layer.op not in _FOLDABLE or _is_matrix(layer, node, known[node.name][0])
    ]


def _is_tensor(node: fx.Node) -> bool:
    return node.op == "get_attr" or (node.op == "call_module" and not node.args)


def _takes(network: Network, layer: Layer) -> bool:
    """Whether its tensors can be multiplied: plain ones, and weights with zeros that stay."""
    plain = not layer.bias or network.code(layer.bias) is None
    held = network.code(layer.weight)
    return plain and (held is None or isinstance(held, Masked))


def _is_fixed_norm(node: fx.Node, source: fx.Node) -> bool:
    """Whether the node normalizes `source` with stored statistics."""
    if op_name(node) not in _NORMS:
        return False
    found = arguments(node)
    parameters = (found[k] for k in ("weight", "bias", "running_mean", "running_var"))
    return (
        found["input"] is source
        and not found.get("training")
        and all(p is None or p.op == "get_attr" for p in parameters)
        and found["running_mean"] is not None
    )


def _is_matrix(layer: Layer, node: fx.Node, shape: tuple[int, ...]) -> bool:
    """Whether the normalized axis, axis 1, is the layer's axis of channels."""
    if layer.op == "linear":
        return len(shape) == 2
    found = arguments(node)
    operand = found.get("mat2", found.get("other"))
    direct = isinstance(operand, fx.Node) and operand.target == layer.weight
    with_bias = layer.op != "addmm" or layer.bias is not None
    return direct and with_bias and len(shape) == 2 and len(layer.shape) == 2


def _fold(network: Network, layer: Layer, product: fx.Node, norm: fx.Node) -> None:
    found = arguments(norm)
    weight = network.tensor(layer.weight)

    def vector(name: str, default: float) -> torch.Tensor:
        node = found[name]
        if node is None:
            return torch.full_like(vector("running_mean", 0.0), default)
        return network.tensor(str(node.target)).detach().double()

    factor = vector("weight", 1.0) / (vector("running_var", 1.0) + found["eps"]).sqrt()
    shift = -vector("running_mean", 0.0)
    if layer.bias:
        shift = shift + network.tensor(layer.bias).detach().double()
    bias = (factor * shift + vector("bias", 0.0)).to(weight.dtype)
    held = network.code(layer.weight)
    latent = held.weight if isinstance(held, Masked) else weight
    scaled = _scaled(latent.detach().double(), factor, layer).to(weight.dtype)
    if isinstance(held, Masked):
        network.set_code(layer.weight, Masked.encode(scaled, held.mask))
    else:
        network.set_tensor(layer.weight, scaled)
    path = layer.bias or _free(network, layer.weight)
    network.set_tensor(path, bias)
    if not layer.bias:
        product = _with_bias(network.graph, product, path)
    for reader in _results(norm):
        reader.replace_all_uses_with(product)
        if reader is not norm:
            network.graph.erase_node(reader)
    network.graph.erase_node(norm)


def _results(norm: fx.Node) -> list[fx.Node]:
    """The nodes that stand for the normalized tensor."""
    if op_name(norm) == "batch_norm":
        return [norm]
    return [user for user in norm.users if user.args[1] == 0]


def _scaled(weight: torch.Tensor, factor: torch.Tensor, layer: Layer) -> torch.Tensor:
    """The weight with every output channel multiplied by its factor."""
    if layer.op.startswith(
        "conv_transpose"
    ):  # (C, O / groups, ...) -> (groups, C / groups, ...)
        parted = weight.reshape(layer.groups, -1, *weight.shape[1:])
        shaped = factor.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        return (parted * shaped).reshape(weight.shape)
    shape = [1] * weight.ndim
    shape[layer.channel_axis] = -1
    return weight * factor.reshape(shape)


def _free(network: Network, weight: str) -> str:
    """A name for a new bias: "x.bias" beside "x.weight", else "<weight>_bias"."""
    names = set(network.module.state_dict(keep_vars=True))
    owner, _, leaf = weight.rpartition(".")
    candidate = f"{owner}.bias" if owner and leaf == "weight" else f"{weight}_bias"
    while candidate in names:
        candidate += "_folded"
    return candidate


def _with_bias(graph: fx.Graph, node: fx.Node, path: str) -> fx.Node:
    """The node with the bias of that name."""
    with graph.inserting_before(node):
        bias = graph.get_attr(path)
    if "bias" in arguments(node):
        set_argument(node, "bias", bias)
        return node
    x, weight = list(arguments(node).values())[:2]
    with graph.inserting_after(node):
        sum_ = graph.call_function(torch.ops.aten.addmm.default, (bias, x, weight))
    sum_.meta = dict(node.meta)
    return sum_


def _fold_padding(node: fx.Node) -> None:
    """Let the convolution that alone reads a zero padding do it."""
    users = list(node.users)
    if len(users) != 1 or op_name(users[0]) not in {"conv1d", "conv2d", "conv3d"}:
        return
    conv, found = users[0], arguments(node)
    own = arguments(conv)["padding"]
    if isinstance(own, str) or arguments(conv)["input"] is not node:
        return
    added = _symmetric(found, int(op_name(conv)[4]))
    if added is not None:
        before = list(own) * (len(added) if len(own) == 1 else 1)
        set_argument(conv, "padding", [a + b for a, b in zip(before, added, strict=True)])
        conv.replace_input_with(node, found["self"])


def _symmetric(found: dict[str, Any], spatial: int) -> list[int] | None:
    """Zeros on each side of each spatial axis, first axis first; None if it is not so."""
    pads = list(found["pad"])
    if found.get("mode", "constant") != "constant" or found["value"]:
        return None
    if not all(isinstance(p, int) and p >= 0 for p in pads) or any(pads[2 * spatial :]):
        return None
    pads = (pads + [0] * 2 * spatial)[: 2 * spatial]
    if pads[::2] != pads[1::2]:
        return None
    return pads[::2][::-1]
