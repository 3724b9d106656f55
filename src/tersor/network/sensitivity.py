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
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.network.network import Network
from tersor.network.shapes import batch_size_for

_ELEMENTS = 1 << 22  # of all values of a batch together, which the backward pass needs
_MOST = 16


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
    totals = {name: np.zeros(len(exact.outputs)) for name in taken}
    power = np.zeros(len(exact.outputs))
    tape = _Tape(exact, rounded, taken)
    signs = torch.Generator().manual_seed(0)
    for batch in samples.batches(batch_size_for(exact, _ELEMENTS, _MOST)):
        outputs = tape.record(exact.tensors(batch.inputs))
        for index, output in enumerate(outputs):
            if not (output.is_floating_point() and output.requires_grad):
                continue
            power[index] += float(output.detach().double().square().sum())
            v = torch.randint(0, 2, output.shape, generator=signs) * 2 - 1
            moved = tape.moved(output, v.to(output), batch.size)
            for name, amount in moved.items():
                totals[name][index] += amount
    seen = power > 0
    if not seen.any():
        return {}
    return {name: float((totals[name][seen] / power[seen]).max()) for name in taken}


class _Tape(fx.Interpreter):
    """Runs the exact graph for a backward pass, and beside each layer its rounded twin."""

    def __init__(self, exact: Network, rounded: Network, names: list[str]) -> None:
        super().__init__(exact.module)
        self.names = set(names)
        self.twins = {n.name: n for n in rounded.graph.nodes}
        self.modules = rounded.module
        self.flowing = _flowing(exact.graph)
        self.constants: dict[str, Any] = {}
        self.errors: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def record(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The exact outputs of a batch; what each layer is off by is kept."""
        self.errors = {}
        with torch.enable_grad():
            results = self.run(*inputs)
        return list(results)

    def moved(self, output: torch.Tensor, v: torch.Tensor, size: int) -> dict[str, float]:
        """For each layer (v . J e)^2, summed over the samples of the batch."""
        places = [(name, *pair) for name, pairs in self.errors.items() for pair in pairs]
        results = [result for _, result, _ in places]
        with torch.enable_grad():  # given v itself, torch would load an algebra system
            along = (output * v).sum()
        slopes = torch.autograd.grad(along, results, retain_graph=True, allow_unused=True)
        sums: dict[str, torch.Tensor] = {}
        for (name, _, error), slope in zip(places, slopes, strict=True):
            if slope is not None:
                rows = size if error.shape[:1] == (size,) else 1
                products = (slope * error).reshape(rows, -1)
                dots = products.sum(dim=1, dtype=torch.float64)
                sums[name] = sums[name] + dots if name in sums else dots
        return {name: float(dots.square().sum()) for name, dots in sums.items()}

    def run_node(self, n: fx.Node) -> Any:
        """Run it; a layer's result becomes a place where the backward pass is read."""
        result = super().run_node(n)
        if n.name not in self.names:
            return result
        with torch.no_grad():
            twin = self._twin(self.twins[n.name])
        whole = isinstance(result, torch.Tensor)
        parts = [_tracked(r) for r in ((result,) if whole else result)]
        pairs = zip(parts, (twin,) if whole else twin, strict=True)
        self.errors[n.name] = [
            (part, other - part.detach())
            for part, other in pairs
            if isinstance(part, torch.Tensor) and part.requires_grad
        ]
        return parts[0] if whole else tuple(parts)

    def _twin(self, node: fx.Node) -> Any:
        """The rounded network's node on exact inputs."""
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._exact_or_rounded)
        if node.op == "call_module":
            return self.modules.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "get_attr":
            return _attribute(self.modules, str(node.target))
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _exact_or_rounded(self, node: fx.Node) -> Any:
        if node.name in self.flowing:
            return self.env[self.flowing[node.name]]
        if any(source.name in self.flowing for source in node.all_input_nodes):
            return self._twin(node)
        if node.name not in self.constants:
            self.constants[node.name] = self._twin(node)
        return self.constants[node.name]


def _flowing(graph: fx.Graph) -> Mapping[str, fx.Node]:
    """The nodes whose values depend on the inputs, by name."""
    found: dict[str, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or any(s.name in found for s in node.all_input_nodes):
            found[node.name] = node
    return found


def _tracked(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value if value.requires_grad else value.detach().requires_grad_()
    return value


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module
