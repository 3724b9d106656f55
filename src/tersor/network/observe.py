"""What values flow through a network: histograms of a stream of samples, in bounded memory.

Of each sample and value at most 2,048 numbers, evenly spread, are counted; smallest and
largest are taken of all. No activation outlives its last reader.
"""

import math
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.arrays.histogram import Histogram
from tersor.data.samples import Batch, Samples
from tersor.errors import ModelError
from tersor.network.network import Network
from tersor.network.running import batch_size_of, for_running
from tersor.network.workers import over_batches

_MOST = 1 << 11  # numbers of a sample, on average over its batch
_BATCH = 16


class _Watcher(fx.Interpreter):
    """Runs the graph and counts the results of some nodes."""

    def __init__(self, network: Network, nodes: Iterable[str]) -> None:
        super().__init__(network.module)
        self.network = network
        self.histograms = {name: Histogram() for name in nodes}
        self.size = 0
        self.weights: dict[str, Any] = {}

    def watch(self, batch: Batch) -> Batch:
        """Count the values of one batch."""
        self.size = batch.size
        with torch.inference_mode():
            self.run(*self.network.tensors(batch.inputs))
        return batch

    def fetch_attr(self, target: str) -> Any:
        if target not in self.weights:  # the way to it takes longer than a small operation
            self.weights[target] = super().fetch_attr(target)
        return self.weights[target]

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        histogram = self.histograms.get(n.name)
        if histogram is not None:
            _count(n.name, result, histogram, self.size * _MOST)
        return result


def observe(
    network: Network,
    nodes: Iterable[str],
    samples: Samples,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Histogram]:
    """Histograms of the values of `nodes`, by node name, over all `samples`.

    Args:
        network: Any network, in evaluation mode.
        nodes: Names of nodes whose values are floating point tensors.
        samples: Inputs by the names of the network's inputs.
        on_progress: Called with the fraction done.

    Raises:
        ModelError: A value is not finite; the message names the node.
    """
    names = list(nodes)
    running = for_running(network, keep=names)
    watchers: list[_Watcher] = []

    def make() -> Callable[[Batch], Batch]:
        watchers.append(_Watcher(running, names))
        return watchers[-1].watch

    batches = samples.batches(batch_size_of(network, _BATCH))
    for batch in over_batches(make, batches, network.device):
        if on_progress is not None:
            on_progress((batch.start + batch.size) / len(samples))
    return {
        name: reduce(Histogram.merge, (watcher.histograms[name] for watcher in watchers))
        for name in names
    }


def _count(name: str, value: torch.Tensor, histogram: Histogram, most: int) -> None:
    flat = _flat(value).float()
    low, high = (float(end) for end in torch.aminmax(flat))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ModelError(
            name, "gives NaN or infinity on a sample", "Check weights and samples."
        )
    stride = -(-flat.numel() // most)
    while math.gcd(stride, flat.numel()) > 1:  # else it might keep to some of the channels
        stride += 1
    part = flat[::stride].contiguous()  # read once: memory is far away
    histogram.add(part.cpu().numpy(), low=low, high=high)


def _flat(value: torch.Tensor) -> torch.Tensor:
    """All numbers, in the order in which memory holds them if that needs no copy."""
    if value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last):
        value = value.permute(0, 2, 3, 1)
    return value.reshape(-1)
