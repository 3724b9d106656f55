"""The mean error that roundings leave in a layer's result, taken back by its bias.

    b  <-  b + mean(exact - rounded)        per output channel, over samples and positions

Each layer is corrected on inputs that are rounded and corrected already. Samples come in
chunks, and the correction is the mean over the chunks so far: memory does not grow with their
number. A chunk goes through the rounded network in lockstep, in parts that are small enough
for memory to be used again. Of the exact network only means are needed.

Source: Nagel et al., "Data-free quantization through weight equalization and bias correction",
arXiv:1906.04721, section 4.2 (the empirical form: appendix D).
"""

from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.machine import give_back_memory
from tersor.network.arguments import arguments
from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.network.running import batch_size_of, each_value, for_running
from tersor.network.workers import together

_PART = 2  # samples: as fast as more, and as many parts as cores
_CHUNK = 8  # measured: MobileNetV2 came out 0.3 dB noisier with chunks of 3


@dataclass
class _Place:
    """A bias that can be corrected: its name, the axis of channels, and the sum of errors."""

    bias: str
    axis: int
    total: torch.Tensor | float = 0.0
    samples: int = 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Of each channel, in float64."""
        return value.mean(dim=self._others(value)).double()

    def correct(self, parts: list[torch.Tensor], exact: list[torch.Tensor]) -> None:
        """Make up, in place, for the mean error of all chunks up to this one."""
        device = parts[0].device
        means = together(self.mean, parts, device)
        for part, wanted, mean in zip(parts, exact, means, strict=True):
            self.total = self.total + (wanted - mean) * len(part)
            self.samples += len(part)
        error = torch.as_tensor(self.total / self.samples, dtype=parts[0].dtype)
        others = self._others(parts[0])
        error = error.reshape([1 if i in others else -1 for i in range(parts[0].ndim)])
        together(lambda part: part.add_(error), parts, device)

    def _others(self, value: torch.Tensor) -> list[int]:
        return [i for i in range(value.ndim) if i != self.axis % value.ndim]


class Means:
    """What layers with a bias give on the mean, without roundings.

    Attributes:
        size: Number of samples of a part.
        parts: By the first sample of each part and by node: float64 (channels,).
    """

    def __init__(self, exact: Network, samples: Samples) -> None:
        """Of no samples yet; `samples` tell sizes that vary."""
        self.size = batch_size_of(exact, samples, _PART)
        self.parts: dict[int, dict[str, torch.Tensor]] = {}
        self._places = _places(exact)

    @property
    def nodes(self) -> Set[str]:
        """Names of the nodes whose values count."""
        return self._places.keys()

    def hear(self, start: int, name: str, value: torch.Tensor) -> None:
        """The value of a node in the exact network, of the part that begins at `start`."""
        self.parts.setdefault(start, {})[name] = self._places[name].mean(value)


def mean_errors(network: Network, samples: Samples, means: Means) -> dict[str, torch.Tensor]:
    """What to add to each bias, float64 (channels,), by the name of the bias.

    Args:
        network: With roundings.
        samples: Inputs; all are looked at.
        means: Of the same layers without roundings, for the same samples.
    """
    places = _places(network)
    running = for_running(network, keep=places)
    in_turn = [node.name for node in running.graph.nodes if node.name in places]
    with torch.no_grad():
        for chunk in samples.batches(means.size * max(1, _CHUNK // means.size)):
            give_back_memory()  # of layers at the end of the chunk before
            parts = list(Samples(chunk.inputs).batches(means.size))
            exact = [means.parts[chunk.start + part.start] for part in parts]
            runs = [
                each_value(running, running.tensors(part.inputs), of=places) for part in parts
            ]
            for name in in_turn:
                values = [value for _, value in together(next, runs, running.device)]
                places[name].correct(values, [mean[name] for mean in exact])
                del values  # so that the next layer finds its memory
    give_back_memory()
    found = ((p.bias, p.total / max(1, p.samples)) for p in places.values())
    return {name: error for name, error in found if isinstance(error, torch.Tensor)}


def _places(network: Network) -> dict[str, _Place]:
    """The layers of known axes whose bias nobody else reads, by node."""
    nodes = {node.name: node for node in network.graph.nodes}
    readers: dict[str, int] = {}
    for node in nodes.values():
        if node.op in {"get_attr", "call_module"}:
            name = str(node.target)
            readers[name] = readers.get(name, 0) + len(node.users)
    return {
        layer.node: _Place(layer.bias, 1 if layer.op.startswith("conv") else -1)
        for layer in layers(network)
        if layer.bias is not None
        and (layer.op.startswith("conv") or layer.op in {"linear", "addmm"})
        and readers[layer.bias] == 1
        and _is_vector(network, nodes[layer.node], layer.bias)
    }


def _is_vector(network: Network, node: fx.Node, bias: str) -> bool:
    """Whether the bias has one number per channel."""
    given = arguments(node)
    plain = given.get("alpha", 1) == 1 and given.get("beta", 1) == 1
    return plain and network.tensor(bias).ndim == 1
