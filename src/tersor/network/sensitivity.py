"""How much noise each layer alone makes in the outputs, for all layers at once.

Layer l, with its own roundings and exact inputs, is off by e_l. To first order that moves an
output y by J_l e_l, J_l the derivative of y by the layer's result. For a random vector v of
signs

    E[(v . J_l e_l)^2] = |J_l e_l|^2,     v . J_l e_l = (J_l^T v) . e_l

and one backward pass gives J_l^T v of every layer: the cost is that of a few runs of the
network, however many layers it has. From n samples the relative standard error of a layer's
noise is at most sqrt(2 / n).

Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix",
Communications in Statistics 18 (1989), for the signs.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.data.samples import Batch, Samples
from tersor.network.network import Network
from tersor.network.running import for_running
from tersor.network.shapes import batch_size_for
from tersor.network.workers import over_batches

_ELEMENTS = 1 << 24  # of all values of a batch together, which the backward pass needs
_MOST = 16
_BOTH = 2  # limits of a clamp

aten = torch.ops.aten


def layer_noise(
    exact: Network, rounded: Network, nodes: Iterable[str], samples: Samples
) -> dict[str, float]:
    """Error power over signal power of the worst output, by the layer that alone is rounded.

    Args:
        exact: The network without roundings, in evaluation mode.
        rounded: The same graph with roundings: codes for weights, and modules between nodes
            that else have the same names.
        nodes: Names of the layers' nodes.
        samples: Inputs; all are looked at.

    Returns:
        By name of node. Nothing where no output is a float: there is no error power then.
    """
    taken = list(nodes)
    if not taken:
        return {}
    totals = {name: np.zeros(len(exact.outputs)) for name in taken}
    power = np.zeros(len(exact.outputs))
    constants: dict[str, Any] = {}
    every = {node.name for node in rounded.graph.nodes}
    rounded = for_running(rounded, keep=every, overwrite=False)
    batches = samples.batches(batch_size_for(exact, _ELEMENTS, _MOST))
    make = partial(_Tape, exact, rounded, taken, constants)
    for powers, moved in over_batches(lambda: make().measured, batches, exact.device):
        for index, amounts in moved.items():
            power[index] += powers[index]
            for name, amount in amounts.items():
                totals[name][index] += amount
    seen = power > 0
    if not seen.any():
        return {}
    return {name: float((totals[name][seen] / power[seen]).max()) for name in taken}


class _Tape(fx.Interpreter):
    """Runs the exact graph for a backward pass, and on the way back each layer's twin.

    What a layer is off by is made when its slope has come, and neither outlives the other.
    """

    def __init__(
        self, exact: Network, rounded: Network, names: list[str], constants: dict[str, Any]
    ) -> None:
        super().__init__(exact.module)
        self.exact = exact
        self.names = set(names)
        self.twins = {n.name: n for n in rounded.graph.nodes}
        self.modules = rounded.module
        self.flowing = _flowing(exact.graph)
        self.constants = constants
        self.leaves: list[torch.Tensor] = []
        self.dots: dict[str, torch.Tensor] = {}
        self.size = 0

    def measured(self, batch: Batch) -> tuple[dict[int, float], dict[int, dict[str, float]]]:
        """Power of each output that moves, and for each layer (v . J e)^2, over a batch."""
        signs = torch.Generator().manual_seed(batch.start)
        self.size, self.leaves = batch.size, []
        with torch.enable_grad():
            outputs = self.run(*self.exact.tensors(batch.inputs))
        moving = [
            i for i, y in enumerate(outputs) if y.is_floating_point() and y.requires_grad
        ]
        power, moved = {}, {}
        for index in moving:
            output = outputs[index]
            power[index] = float(output.detach().double().square().sum())
            v = torch.randint(0, 2, output.shape, generator=signs) * 2 - 1
            moved[index] = self._moved(output, v.to(output), more=index != moving[-1])
        self.leaves, self.env = [], {}  # each knows us: nothing would be freed
        return power, moved

    def _moved(self, output: torch.Tensor, v: torch.Tensor, *, more: bool) -> dict[str, float]:
        """(v . J e)^2 of each layer, summed over the samples; `more` if outputs follow."""
        self.dots = {}
        with torch.enable_grad():  # given v itself, torch would load an algebra system
            along = (output * v).sum()
        torch.autograd.grad(along, self.leaves, retain_graph=more, allow_unused=True)
        return {name: float(dots.square().sum()) for name, dots in self.dots.items()}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A weight, which needs no slope."""
        value = super().get_attr(target, args, kwargs)
        return value.detach() if isinstance(value, torch.Tensor) else value

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A weight that a code holds, which needs no slope, too."""
        value = super().call_module(target, args, kwargs)
        return value if args or kwargs else value.detach()

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Clamp to two numbers as hardtanh does: its slope takes one pass, not four."""
        limits = [a for a in args[1:] if isinstance(a, float | int)]
        if target is aten.clamp.default and len(limits) == _BOTH:
            target = aten.hardtanh.default
        return super().call_function(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        """Run it; a layer's result becomes a place where the backward pass is read."""
        result = super().run_node(n)
        if n.name not in self.names:
            return result
        whole = isinstance(result, torch.Tensor)
        parts = [self._tracked(r) for r in ((result,) if whole else result)]
        for index, part in enumerate(parts):
            if isinstance(part, torch.Tensor) and part.requires_grad:
                self._watch(n.name, part, None if whole else index)
        return parts[0] if whole else tuple(parts)

    def _watch(self, name: str, part: torch.Tensor, index: int | None) -> None:
        """Have a layer's error made when the slope of `part` comes, its only result or one."""
        twin, exact = self.twins[name], part.detach()
        reads = {source: self.env[self.flowing[source]] for source in self._reads(twin)}

        def add(slope: torch.Tensor) -> None:
            with torch.no_grad():
                found = self._twin(twin, reads)
                error = (found if index is None else found[index]).sub_(exact)
                self._add(name, error.mul_(slope))

        part.register_hook(add)  # type: ignore[no-untyped-call]

    def _add(self, name: str, products: torch.Tensor) -> None:
        rows = products if products.shape[:1] == (self.size,) else products[None]
        dots = rows[..., None].sum(dim=list(range(1, rows.ndim + 1))).double()
        self.dots[name] = self.dots[name] + dots if name in self.dots else dots

    def _tracked(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        if not value.requires_grad:
            value = value.detach().requires_grad_()
            self.leaves.append(value)
        return value

    def _reads(self, node: fx.Node) -> set[str]:
        """The exact values that a rounded node is computed from, by name."""
        found: set[str] = set()
        for source in node.all_input_nodes:
            found |= {source.name} if source.name in self.flowing else self._reads(source)
        return found

    def _twin(self, node: fx.Node, reads: Mapping[str, Any]) -> Any:
        """The rounded network's node on exact inputs."""
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda s: self._input(s, reads))
        if node.op == "call_module":
            return self.modules.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "get_attr":
            return _attribute(self.modules, str(node.target))
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _input(self, node: fx.Node, reads: Mapping[str, Any]) -> Any:
        if node.name in reads:
            return reads[node.name]
        if self._reads(node):
            return self._twin(node, reads)
        if node.name not in self.constants:
            self.constants[node.name] = self._twin(node, reads)
        return self.constants[node.name]


def _flowing(graph: fx.Graph) -> Mapping[str, fx.Node]:
    """The nodes whose values depend on the inputs, by name."""
    found: dict[str, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or any(s.name in found for s in node.all_input_nodes):
            found[node.name] = node
    return found


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module
