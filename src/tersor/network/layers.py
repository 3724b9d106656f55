"""The layers of a network: every operation that has a weight, or multiplies like one.

A layer is one node with one weight; a recurrent node is as many layers as it has matrices,
"gru.weight_ih_l0" and so on. The weight is followed through transpositions to the tensor that
is stored; `channel_axis` is that tensor's axis of output channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

from tersor.codes.code import Code
from tersor.network.arguments import arguments, op_name
from tersor.network.network import Network

Shape = tuple[int, ...]

_RUN_TIME = "its weight is computed at run time"
_PRODUCTS = {"scaled_dot_product_attention": "it multiplies activations"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation with a weight, or a product of two activations.

    Attributes:
        name: The weight's dotted name without ".weight"; the node's name if there is no
            weight, or if an earlier layer has the same one.
        node: Name of the node.
        op: "conv2d", "conv_transpose1d", "linear", "addmm", "matmul" (weight on the
            right), "matmul_left", "embedding", "batch_norm", "layer_norm", "attention", ...
        weight: Dotted name of the weight; "" if there is none.
        shape: Shape of the weight; () if there is none.
        bias: Dotted name of the bias, or None.
        channel_axis: Axis of the weight that counts output channels (rows of an embedding).
            A transposed convolution in groups has the channels of one group there.
        groups: Groups of a convolution, else 1.
        compressible: Whether the weight can be held by a code.
        reason: Why not; "" if it can.
    """

    name: str
    node: str
    op: str
    weight: str = ""
    shape: Shape = ()
    bias: str | None = None
    channel_axis: int = 0
    groups: int = 1
    compressible: bool = False
    reason: str = ""


def layers(network: Network) -> list[Layer]:
    """All layers, in the order of the graph."""
    found: list[Layer] = []
    taken: set[str] = set()
    for node in network.graph.nodes:
        for parts in _parts(node):
            layer = _layer(network, node, parts, taken)
            taken.add(layer.name)
            found.append(layer)
    return found


def weighted_layers(network: Network) -> list[Layer]:
    """The layers whose weights can be compressed, in the order of the graph."""
    return [layer for layer in layers(network) if layer.compressible]


@dataclass(frozen=True, slots=True)
class _Parts:
    """A layer as its node shows it.

    Attributes:
        op: See `Layer`.
        weight, bias: Arguments of the node.
        axis: The weight argument's axis of output channels, negative ones from the end.
        groups: See `Layer`.
        against: Why it cannot be compressed, whatever the weight is; "" if it can.
    """

    op: str
    weight: Any
    bias: Any = None
    axis: int = 0
    groups: int = 1
    against: str = ""


def _layer(network: Network, node: fx.Node, parts: _Parts, taken: set[str]) -> Layer:
    source, turns = _stored(parts.weight)
    path = _path(network, source)
    if path is None:
        reason = parts.against or ("it has no weight" if source is None else _RUN_TIME)
        return Layer(node.name, node.name, parts.op, groups=parts.groups, reason=reason)
    tensor = network.tensor(path)
    shape = tuple(tensor.shape)
    name = path.removesuffix(".weight")
    reason = parts.against
    if not reason and not tensor.is_floating_point():
        reason = f"its weight holds {str(tensor.dtype).removeprefix('torch.')}"
    return Layer(
        node.name if name in taken else name,
        node.name,
        parts.op,
        weight=path,
        shape=shape,
        bias=_path(network, parts.bias),
        channel_axis=_axes(turns, len(shape))[_axis(parts, shape)] if shape else 0,
        groups=parts.groups,
        compressible=not reason,
        reason=reason,
    )


def _axis(parts: _Parts, shape: Shape) -> int:
    depthwise = parts.op.startswith("conv_transpose") and parts.groups == shape[0]
    if depthwise and shape[1] == 1:
        return 0
    return parts.axis % len(shape)


def _path(network: Network, value: Any) -> str | None:
    """The dotted name of a stored tensor or code; None for anything else."""
    if not isinstance(value, fx.Node) or value.op not in {"get_attr", "call_module"}:
        return None
    if value.op == "call_module":
        module = network.module.get_submodule(str(value.target))
        return str(value.target) if isinstance(module, Code) else None
    return str(value.target)


def _stored(value: Any) -> tuple[Any, list[fx.Node]]:
    """The node before all transpositions, and these, the last one first."""
    turns = []
    while isinstance(value, fx.Node) and op_name(value) in _TURNS:
        turns.append(value)
        value = arguments(value)["self"]
    return value, turns


def _axes(turns: list[fx.Node], rank: int) -> list[int]:
    """The stored tensor's axis for each axis of what transpositions make of it."""
    axes = list(range(rank))
    for node in reversed(turns):
        found = arguments(node)
        if "dims" in found:
            axes = [axes[d] for d in found["dims"]]
        elif "dim0" in found:
            a, b = found["dim0"], found["dim1"]
            axes[a], axes[b] = axes[b], axes[a]
        else:
            axes.reverse()
    return axes


def _conv(node: fx.Node) -> _Parts:
    found = arguments(node)
    op = op_name(node)
    transposed = "transpose" in op or bool(found.get("transposed"))
    if op == "convolution":
        spatial = len(found["stride"])
        op = f"conv_transpose{spatial}d" if transposed else f"conv{spatial}d"
    axis = 1 if transposed else 0
    return _Parts(op, found["weight"], found["bias"], axis, int(found["groups"]))


def _linear(node: fx.Node) -> _Parts:
    found = arguments(node)
    return _Parts("linear", found["weight"], found["bias"])


def _matmul(node: fx.Node) -> _Parts:
    left, right = list(arguments(node).values())[:2]
    if _is_constant(left) and not _is_constant(right):
        return _Parts("matmul_left", left, axis=-2)
    return _Parts("matmul", right, axis=-1)


def _addmm(node: fx.Node) -> _Parts:
    found = arguments(node)
    plain = found["beta"] == 1 and found["alpha"] == 1
    against = "" if plain else "its factors alpha and beta are not 1"
    return _Parts(op_name(node), found["mat2"], found["self"], axis=-1, against=against)


def _is_constant(value: Any) -> bool:
    source = _stored(value)[0]
    return isinstance(source, fx.Node) and (
        source.op == "get_attr" or (source.op == "call_module" and not source.args)
    )


def _embedding(node: fx.Node) -> _Parts:
    return _Parts(op_name(node), arguments(node)["weight"])


def _normalization(node: fx.Node) -> _Parts:
    found = arguments(node)
    against = "it has one number per channel"
    return _Parts(
        op_name(node).removeprefix("_native_").removesuffix("_legit_no_training"),
        found["weight"],
        found.get("bias"),
        against=against,
    )


def _attention(node: fx.Node) -> _Parts:
    return _Parts("attention", None, against=_PRODUCTS[op_name(node)])


def _recurrent(node: fx.Node) -> list[_Parts]:
    """One layer for each matrix: of the input, of the state, and of a projection."""
    found = arguments(node)
    params, cells = found.get("params"), 0
    if params:
        cells = found["num_layers"] * (2 if found["bidirectional"] else 1)
        biases = found["has_biases"]
    elif "w_ih" in found:
        params, cells, biases = [found[k] for k in ("w_ih", "w_hh", "b_ih", "b_hh")], 1, True
    if not params:
        return []
    op, size, layers_ = op_name(node) or "gru", len(params) // cells, []
    for start in range(0, len(params), size):
        own = params[start : start + size]
        matrices = own[:2] + (own[4:] if biases else own[2:])
        vectors = [*(own[2:4] if biases else []), None, None, None]
        layers_ += [_Parts(op, m, v) for m, v in zip(matrices, vectors, strict=False)]
    return layers_


def _einsum(node: fx.Node) -> _Parts:
    constants = [t for t in arguments(node)["tensors"] if _is_constant(t)]
    against = "its equation hides which axis counts output channels"
    return _Parts("einsum", constants[0] if constants else None, against=against)


def _parts(node: fx.Node) -> list[_Parts]:
    """The layers that a node is."""
    read = _READERS.get(op_name(node))
    if read is not None:
        return [read(node)]
    if op_name(node) in _RECURRENT or str(node.target) == "tersor.gru.default":
        return _recurrent(node)
    return []


def _each(names: str, reader: Callable[[fx.Node], _Parts]) -> dict[str, Any]:
    return dict.fromkeys(names.split(), reader)


_TURNS = {"t", "numpy_T", "permute", "transpose"}
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_READERS: dict[str, Callable[[fx.Node], _Parts]] = {
    **_each("conv1d conv2d conv3d convolution", _conv),
    **_each("conv_transpose1d conv_transpose2d conv_transpose3d", _conv),
    **_each("linear", _linear),
    **_each("matmul mm bmm", _matmul),
    **_each("addmm", _addmm),
    **_each("embedding embedding_bag", _embedding),
    **_each("batch_norm _native_batch_norm_legit_no_training", _normalization),
    **_each("layer_norm group_norm instance_norm rms_norm prelu", _normalization),
    **dict.fromkeys(_PRODUCTS, _attention),
    **_each("einsum", _einsum),
}
