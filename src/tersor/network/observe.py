"""What values flow through a network: histograms of a stream of samples, in bounded memory.

Of each sample and value at most 2,048 numbers, evenly spread, are counted; smallest and
largest are taken of all. No activation outlives its last reader.
"""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache, reduce

import numpy as np
import torch
from torch import nn

from tersor.arrays.histogram import Histogram
from tersor.data.samples import Batch, Samples
from tersor.errors import ModelError
from tersor.network.network import Network
from tersor.network.running import batch_size_of, for_running
from tersor.network.workers import over_batches

_MOST = 1 << 11  # numbers of a sample, on average over its batch
_BATCH = 16


class _Watch(nn.Module):
    """Counts values as they come by."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.histograms = {name: Histogram() for name in names}
        self.most = 0

    def forward(self, value: torch.Tensor, name: str) -> None:
        """Count a value of the current batch."""
        _count(name, value, self.histograms[name], self.most)


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
    watches: list[_Watch] = []

    def make() -> Callable[[Batch], Batch]:
        own = _Watch(names)
        watches.append(own)
        watched = _watched(running, own)

        def watch(batch: Batch) -> Batch:
            own.most = batch.size * _MOST
            with torch.inference_mode():
                watched.module(*watched.tensors(batch.inputs))
            return batch

        return watch

    batches = samples.batches(batch_size_of(network, _BATCH))
    for batch in over_batches(make, batches, network.device):
        if on_progress is not None:
            on_progress((batch.start + batch.size) / len(samples))
    return {
        name: reduce(Histogram.merge, (watch.histograms[name] for watch in watches))
        for name in names
    }


def _watched(network: Network, watch: _Watch) -> Network:
    """The network, with what `watch` is to see handed to it: interpreting takes longer."""
    result = network.copy()
    result.module.add_submodule("watch", watch)
    last_input = [n for n in result.graph.nodes if n.op == "placeholder"][-1]
    for node in list(result.graph.nodes):
        if node.name in watch.histograms:
            place = last_input if node.op == "placeholder" else node
            with result.graph.inserting_after(place):
                result.graph.call_module("watch", (node, node.name))
    result.module.recompile()
    result.graph.owning_module = None  # see `for_running`
    return result


def _count(name: str, value: torch.Tensor, histogram: Histogram, most: int) -> None:
    flat = _flat(value).float()
    low, high = (float(end) for end in torch.aminmax(flat))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ModelError(
            name, "gives NaN or infinity on a sample", "Check weights and samples."
        )
    part = flat[:: _stride(flat.numel(), most)]
    histogram.add(part.cpu().numpy(), low=low, high=high)


@lru_cache
def _stride(count: int, most: int) -> int:
    """Between numbers that are counted."""
    stride = -(-count // most)
    while math.gcd(stride, count) > 1:  # else it might keep to some of the channels
        stride += 1
    return stride


def _flat(value: torch.Tensor) -> torch.Tensor:
    """All numbers, in the order in which memory holds them if that needs no copy."""
    if value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last):
        value = value.permute(0, 2, 3, 1)
    return value.reshape(-1)
