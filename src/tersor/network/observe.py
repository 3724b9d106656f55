"""What values flow through a network: histograms of a stream of samples, in bounded memory.

Of each batch and value at most 131,072 numbers, evenly spread, are counted; smallest and
largest are taken of all. No activation outlives its last reader.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.arrays.histogram import Histogram
from tersor.data.samples import Samples
from tersor.errors import ModelError
from tersor.network.network import Network

_MOST = 1 << 17


class _Watcher(fx.Interpreter):
    """Runs the graph and counts the results of some nodes."""

    def __init__(self, network: Network, histograms: dict[str, Histogram]) -> None:
        super().__init__(network.module)
        self.histograms = histograms

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        histogram = self.histograms.get(n.name)
        if histogram is not None:
            _count(n.name, result, histogram)
        return result


def observe(
    network: Network,
    nodes: Iterable[str],
    samples: Samples,
    *,
    batch_size: int = 32,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Histogram]:
    """Histograms of the values of `nodes`, by node name, over all `samples`.

    Args:
        network: Any network, in evaluation mode.
        nodes: Names of nodes whose values are floating point tensors.
        samples: Inputs by the names of the network's inputs.
        batch_size: How many samples run at once, where the network takes any number.
        on_progress: Called with the fraction done.

    Raises:
        ModelError: A value is not finite; the message names the node.
    """
    histograms = {name: Histogram() for name in nodes}
    watcher = _Watcher(network, histograms)
    device = network.device
    with torch.no_grad():
        for batch in samples.batches(network.fixed_batch or batch_size):
            arrays = [batch.inputs[port.name] for port in network.inputs]
            watcher.run(*(torch.from_numpy(a).to(device) for a in arrays))
            if on_progress is not None:
                on_progress((batch.start + batch.size) / len(samples))
    return histograms


def _count(name: str, value: torch.Tensor, histogram: Histogram) -> None:
    low, high = (float(end) for end in torch.aminmax(value.float()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ModelError(
            name, "gives NaN or infinity on a sample", "Check weights and samples."
        )
    flat = value.reshape(-1)
    stride = -(-flat.numel() // _MOST)
    part = flat[:: stride | 1] if stride > 1 else flat
    histogram.add(part.float().cpu().numpy(), low=low, high=high)
