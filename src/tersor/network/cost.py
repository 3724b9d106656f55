"""What a network costs: parameters, bytes, multiply-accumulates (MACs), activation memory.

For one sample (every varying dimension is 1):

    convolution              MACs = outputs * (channels in / groups) * kernel elements
    transposed convolution   MACs = inputs * (channels out / groups) * kernel elements
    linear, matmul           MACs = outputs * summed length
    recurrent                MACs = elements of the matrix * steps
    attention                MACs = queries * keys * (key length + value length)

Element by element operations and normalizations count 0, an embedding too.

Activation memory: every value lives from the operation that makes it to the last that reads
it (inputs from the start, outputs to the end); views share their memory; weights are
not counted. Engines that fuse operations or work in place need less.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from tersor.codes.code import Code
from tersor.network.arguments import arguments
from tersor.network.layers import Layer, layers
from tersor.network.network import Network, Port
from tersor.network.shapes import values

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer.

    Attributes:
        layer: Which.
        parameters: Elements of its weights and biases, dense; 0 if an earlier layer has them.
        macs: Multiply-accumulates for one sample.
        weight_bytes: Of all tensors that it reads; for a code, of what the file stores.
        output_shape: For one sample.
    """

    layer: Layer
    parameters: int
    macs: int
    weight_bytes: int
    output_shape: Shape


@dataclass(frozen=True, slots=True)
class Cost:
    """A network. Totals include tensors that belong to no layer; each tensor counts once."""

    layers: tuple[LayerCost, ...]
    parameters: int
    macs: int
    weight_bytes: int
    peak_activation_bytes: int


def cost(network: Network) -> Cost:
    """The cost of `network` for one sample; other sizes that vary are as in the example.

    Raises:
        UnsupportedError: A value's size depends on other values.
    """
    found = values(network)
    nodes = {node.name: node for node in network.graph.nodes}
    counted: set[str] = set()
    rows = []
    for layer in layers(network):
        node = nodes[layer.node]
        paths = [p for p in _tensors(node, layer) if p not in counted]
        counted.update(paths)
        rows.append(
            LayerCost(
                layer,
                sum(_elements(network, p) for p in paths if not _is_buffer(network, p)),
                macs(layer, node, found),
                sum(_bytes(network, p) for p in paths),
                tuple(found[node.name].shape) if hasattr(found[node.name], "shape") else (),
            )
        )
    others = {str(n.target) for n in nodes.values() if is_stored(n)} - counted
    trained = [p for p in others if not _is_buffer(network, p)]
    return Cost(
        layers=tuple(rows),
        parameters=sum(r.parameters for r in rows)
        + sum(_elements(network, p) for p in trained),
        macs=sum(r.macs for r in rows),
        weight_bytes=sum(r.weight_bytes for r in rows)
        + sum(_bytes(network, p) for p in others),
        peak_activation_bytes=max(_live(network.graph, found).values(), default=0),
    )


def live_activation_bytes(network: Network) -> dict[str, int]:
    """Bytes of the activations of one sample that live while each node computes, by its name.

    Raises:
        UnsupportedError: A value's size depends on other values.
    """
    return _live(network.graph, values(network))


def describe(network: Network) -> dict[str, Any]:
    """All that `tersor inspect` shows, as JSON holds it."""
    total = cost(network)
    return {
        "inputs": [_port(port) for port in network.inputs],
        "outputs": [_port(port) for port in network.outputs],
        "layers": [
            {
                "name": row.layer.name,
                "op": row.layer.op,
                "weight_shape": list(row.layer.shape),
                "parameters": row.parameters,
                "macs": row.macs,
                "weight_bytes": row.weight_bytes,
                "output_shape": list(row.output_shape),
                "share_parameters": _share(row.parameters, total.parameters),
                "share_macs": _share(row.macs, total.macs),
                "share_bytes": _share(row.weight_bytes, total.weight_bytes),
                "compressible": row.layer.compressible,
                "reason": row.layer.reason or None,
            }
            for row in total.layers
        ],
        "totals": {
            "parameters": total.parameters,
            "macs": total.macs,
            "weight_bytes": total.weight_bytes,
        },
        "peak_activation_bytes": total.peak_activation_bytes,
    }


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "shape": list(port.shape), "dtype": port.dtype}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def is_stored(node: fx.Node) -> bool:
    """Whether the node reads a weight, dense or held by a code."""
    return node.op == "get_attr" or (node.op == "call_module" and not node.args)


def _tensors(node: fx.Node, layer: Layer) -> list[str]:
    """Dotted names of all that a layer reads."""
    if layer.op in _RECURRENT:
        return [path for path in (layer.weight, layer.bias) if path]
    read = [str(n.target) for n in node.all_input_nodes if is_stored(n)]
    return list(dict.fromkeys([layer.weight, *read] if layer.weight else read))


def _held(network: Network, path: str) -> Any:
    owner, _, leaf = path.rpartition(".")
    return getattr(network.module.get_submodule(owner), leaf)


def _elements(network: Network, path: str) -> int:
    return int(network.tensor(path).numel())


def _bytes(network: Network, path: str) -> int:
    held = _held(network, path)
    if isinstance(held, Code):
        return sum(int(array.nbytes) for array in held.symbols().values())
    return int(held.numel() * held.element_size())


def _is_buffer(network: Network, path: str) -> bool:
    """Whether it is no parameter, as running statistics are not."""
    return not isinstance(_held(network, path), nn.Parameter | Code)


def macs(layer: Layer, node: fx.Node, found: Mapping[str, Any]) -> int:
    """Multiply-accumulates of a layer.

    Args:
        layer: Which.
        node: Of the layer.
        found: What nodes give, by name, as tensors without content; see `shapes.values`.
    """
    if layer.op in _RECURRENT:
        out = found[node.name][0]
        return math.prod(layer.shape) * (int(out.numel()) // max(1, int(out.shape[-1])))
    count = _COUNTERS.get(layer.op)
    if count is None:
        return 0
    args = fx.map_arg(arguments(node), lambda n: found[n.name])
    return int(count(args, found[node.name]))


def _conv(args: Any, out: Any) -> int:
    return int(out.numel() * args["weight"][0].numel())


def _conv_transpose(args: Any, out: Any) -> int:
    del out
    return int(args["input"].numel() * args["weight"][0].numel())


def _linear(args: Any, out: Any) -> int:
    return int(out.numel() * args["weight"].shape[-1])


def _matmul(args: Any, out: Any) -> int:
    return int(out.numel() * next(iter(args.values())).shape[-1])


def _addmm(args: Any, out: Any) -> int:
    return int(out.numel() * args["mat1"].shape[-1])


def _attention(args: Any, out: Any) -> int:
    keys = args["key"].shape[-2]
    return int(args["query"].numel() * keys + out.numel() * keys)


def _einsum(args: Any, out: Any) -> int:
    """Every combination of all indices is one product; dots stand for one index each."""
    sizes: dict[str, int] = {}
    terms = args["equation"].replace(" ", "").split("->")[0].split(",")
    for term, tensor in zip(terms, args["tensors"], strict=True):
        dots = "".join(chr(945 + i) for i in range(tensor.ndim - len(term.replace("...", ""))))
        for letter, size in zip(term.replace("...", dots), tensor.shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return int(math.prod(sizes.values())) if out.numel() else 0


_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_COUNTERS: dict[str, Callable[[Any, Any], int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose
    ),
    **dict.fromkeys(("matmul", "matmul_left"), _matmul),
    "linear": _linear,
    "addmm": _addmm,
    "attention": _attention,
    "einsum": _einsum,
}


def _live(graph: fx.Graph, found: dict[str, Any]) -> dict[str, int]:
    """The bytes of activations that live while each node computes, by its name."""
    order = list(graph.nodes)
    memory = {
        n: _memory(found[n.name]) for n in order if not is_stored(n) and n.op != "output"
    }
    last: dict[int, int] = {}
    for i, node in enumerate(order):
        for read in (node, *node.all_input_nodes):
            for place in memory.get(read, {}):
                last[place] = i
    live: dict[int, int] = {}
    for node in order:
        if node.op == "placeholder":
            live.update(memory[node])
    totals = {}
    for i, node in enumerate(order):
        live.update(memory.get(node, {}))
        totals[node.name] = sum(live.values())
        live = {place: size for place, size in live.items() if last[place] > i}
    return totals


def _memory(value: Any) -> dict[int, int]:
    """Bytes of every storage that a value holds, by the storage's address."""
    tensors = value if isinstance(value, list | tuple) else [value]
    storages = [t.untyped_storage() for t in tensors if isinstance(t, torch.Tensor)]
    return {s._cdata: s.nbytes() for s in storages}
