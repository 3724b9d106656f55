"""The same network with fewer channels and fresh weights: for controls.

Every convolution and linear layer gets max(1, round(factor * n)) of its n output channels, but
those whose results reach an output of the network without another layer between. All other
sizes follow from the values themselves: the graph runs on tensors without content, layer by
layer, and what a layer reads tells how many input channels it needs. So layers that are added
fit if they fitted before, and what fixes sizes otherwise is refused by name.

Weights and biases are drawn from U(-1 / sqrt(k), 1 / sqrt(k)), k the number of products in a
sum; batch normalization begins as the identity. Source of the range: LeCun, Bottou, Orr,
Müller, "Efficient backprop", 1998, section 4.6, as `torch.nn` does it.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from tersor.errors import ModelError
from tersor.network.arguments import arguments, op_name, set_argument
from tersor.network.network import Network
from tersor.network.shapes import shapes

Sizes = tuple[int, ...]

_LAYERS = {"conv1d", "conv2d", "conv3d", "linear"}
_RESHAPES = {"view", "reshape", "_unsafe_view"}
_PADDINGS = {"pad", "constant_pad_nd"}
_NORM = "batch_norm"
_ONES = {"weight", "running_var"}  # of a normalization; all else begins at 0
_REMEDY = "Only networks of plain convolutions and linear layers get narrower."


def narrowed(network: Network, factor: float, *, seed: int = 0) -> Network:
    """A network of the same operations with fewer channels and weights drawn anew.

    Args:
        network: No weight of it is held by a code; it stays as it is, and is the teacher.
        factor: Of each number of output channels, in [0, 1]; at least one channel stays.
        seed: Of what is drawn.

    Raises:
        ModelError: It cannot be narrowed; the node or weight in the way is named.
    """
    result = network.copy()
    work = _Narrowing(result, network, factor)
    work.run(*_empty_inputs(network))
    work.check_outputs()
    generator = torch.Generator().manual_seed(seed)
    for path, (shape, fan_in) in work.fresh.items():
        result.set_tensor(path, _drawn(path, shape, fan_in, generator))
    _refuse_others(result, work.fresh)
    result.module.recompile()
    return replace(result, notes=(), origin=network)


def _empty_inputs(network: Network) -> list[torch.Tensor]:
    """One sample, without content."""
    return [
        torch.empty(
            tuple(d if isinstance(d, int) else network.sizes.get(d, 1) for d in port.shape),
            dtype=getattr(torch, port.dtype),
            device="meta",
        )
        for port in network.inputs
    ]


class _Narrowing(fx.Interpreter):
    """Follows the values through the graph, and changes what sizes stand in it.

    Attributes:
        fresh: Shape of each tensor to be drawn, and products in a sum; 0 for normalizations.
    """

    def __init__(self, own: Network, before: Network, factor: float) -> None:
        super().__init__(own.module, garbage_collect_values=False)
        self.extra_traceback = False
        self.network, self.factor = own, factor
        self.fresh: dict[str, tuple[Sizes, int]] = {}
        self._before = {name: shape for name, (shape, _) in shapes(before).items()}
        self._kept = _last_layers(own.graph)

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, without content."""
        if op_name(n) in _LAYERS:
            self._layer(n)
        elif op_name(n) == _NORM:
            self._norm(n)
        elif op_name(n) in _RESHAPES:
            self._reshape(n)
        elif op_name(n) in _PADDINGS:
            self._pad(n)
        self._refuse_broadcast(n)
        try:
            return super().run_node(n)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(n.name, f"fixes sizes: {reason}", _REMEDY) from None

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A tensor that is no layer's, as it is."""
        return super().get_attr(target, args, kwargs).detach().to("meta")

    def _layer(self, n: fx.Node) -> None:
        """Choose the shapes of a layer's weight and bias."""
        given = arguments(n)
        weight, bias = _path(n, given["weight"]), given["bias"]
        groups, inputs = given.get("groups", 1), self.env[given["input"]].shape
        old = tuple(self.network.tensor(weight).shape)
        axis = -1 if op_name(n) == "linear" else -(len(old) - 1)
        read = int(inputs[axis])
        out = old[0] if n in self._kept else max(1, round(self.factor * old[0]))
        if groups > 1:
            if groups != self._before[given["input"].name][axis] or old[0] % groups:
                raise ModelError(n.name, "is a convolution in groups", _REMEDY)
            out = read * (old[0] // groups)
            set_argument(n, "groups", read)
        shape = (out, read if groups == 1 else 1, *old[2:])
        self._draw(given["weight"], weight, shape, math.prod(shape[1:]))
        if isinstance(bias, fx.Node):
            self._draw(bias, _path(n, bias), (out,), math.prod(shape[1:]))

    def _norm(self, n: fx.Node) -> None:
        given = arguments(n)
        count = int(self.env[given["input"]].shape[1])
        for name in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(given[name], fx.Node):
                self._draw(given[name], _path(n, given[name]), (count,), 0)

    def _draw(self, node: fx.Node, path: str, shape: Sizes, fan_in: int) -> None:
        """A tensor of that shape will stand there; of shared ones all readers agree."""
        if self.fresh.setdefault(path, (shape, fan_in))[0] != shape:
            raise ModelError(path, "is shared by layers that would differ", _REMEDY)
        self.env[node] = torch.empty(shape, device="meta")

    def _reshape(self, n: fx.Node) -> None:
        """Rewrite the size of a flattening that stands in the graph as a number."""
        source = n.args[0]
        sizes = n.args[1]
        if not isinstance(source, fx.Node) or not isinstance(sizes, list | tuple):
            return
        old = math.prod(self._before[source.name][1:])
        if len(sizes) == 2 and sizes[1] == old:
            n.update_arg(1, [sizes[0], math.prod(self.env[source].shape[1:])])

    def _pad(self, n: fx.Node) -> None:
        """Channels that are added as zeros become fewer as all others do."""
        given = arguments(n)
        old, pads = self._before[given["self"].name], list(given["pad"])
        first = 2 * (
            len(old) - 2
        )  # where the pair of the second axis is; the last comes first
        before, after = (*pads[first : first + 2], 0, 0)[:2]
        if before + after > 0:
            out = max(1, round(self.factor * (old[1] + before + after)))
            total = max(0, out - int(self.env[given["self"]].shape[1]))
            share = total * before // (before + after)
            pads[first : first + 2] = share, total - share
            set_argument(n, "pad", pads)

    def _refuse_broadcast(self, n: fx.Node) -> None:
        """Values that had one shape have one shape still."""
        known = [x for x in n.all_input_nodes if x.name in self._before and x in self.env]
        old = {self._before[x.name] for x in known}
        new = {tuple(self.env[x].shape) for x in known}
        if len(old) == 1 and len(new) > 1:
            raise ModelError(n.name, "joins values that would differ in size", _REMEDY)

    def check_outputs(self) -> None:
        """Refuse a network whose outputs have other shapes than before."""
        (node,) = (n for n in self.network.graph.nodes if n.op == "output")
        for source in node.all_input_nodes:
            if tuple(self.env[source].shape) != self._before[source.name]:
                raise ModelError(source.name, "is an output of another size then", _REMEDY)


def _path(node: fx.Node, weight: Any) -> str:
    """The dotted name of a plain tensor."""
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        raise ModelError(node.name, "has a weight that is computed", _REMEDY)
    return str(weight.target)


def _last_layers(graph: fx.Graph) -> set[fx.Node]:
    """Layers from whose results an output comes without another layer between."""
    (output,) = (n for n in graph.nodes if n.op == "output")
    found, seen, waiting = set(), set(), list(output.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if op_name(node) in _LAYERS:
            found.add(node)
        else:
            waiting += node.all_input_nodes
    return found


def _drawn(path: str, shape: Sizes, fan_in: int, generator: torch.Generator) -> torch.Tensor:
    """What training begins with; see the module."""
    if not fan_in:
        leaf = path.rpartition(".")[2]
        return torch.ones(shape) if leaf in _ONES else torch.zeros(shape)
    bound = 1 / math.sqrt(fan_in)
    return (2 * torch.rand(shape, generator=generator) - 1) * bound


def _refuse_others(network: Network, fresh: dict[str, Any]) -> None:
    """What else was learnt would not be fresh."""
    for name, value in network.module.named_parameters():
        if name not in fresh and isinstance(value, nn.Parameter) and value.numel() > 1:
            raise ModelError(name, "was learnt and is no layer's weight", _REMEDY)
