"""What values flow through a network: histograms of a stream of samples, in bounded memory.

Of each sample and value at most 2,048 numbers, evenly spread, are counted; smallest and
largest are taken of all. No activation outlives its last reader.

A listener hears values of the first samples in the same run.
"""

import math
from collections.abc import Callable, Iterable, Set
from functools import lru_cache, reduce
from typing import Protocol

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
_TOGETHER = 1 << 15  # numbers of a node that are counted at once: fewer take longer each
_WAITING = 4  # batches, at most, that wait to be counted


class Listener(Protocol):
    """Who hears values of the first samples; from several threads, each with its batches."""

    @property
    def count(self) -> int:
        """How many samples it hears of."""
        ...

    @property
    def size(self) -> int:
        """How many of them at once."""
        ...

    @property
    def nodes(self) -> Set[str]:
        """Names of the nodes whose values it hears."""
        ...

    def hear(self, start: int, name: str, value: torch.Tensor) -> None:
        """The value of a node, of the samples from `start` on."""
        ...


class _Watch(nn.Module):
    """Looks at values as they come by, in one thread."""

    def __init__(self, names: Iterable[str], listener: Listener | None) -> None:
        super().__init__()
        self.counts = {name: _Count(name) for name in names}
        self.listener = listener
        self.heard = frozenset(listener.nodes if listener else ())
        self.start, self.size = 0, 0

    def forward(self, value: torch.Tensor, name: str) -> None:
        """Look at a value of the current batch."""
        if name in self.counts:
            self.counts[name].add(value, self.size * _MOST)
        if self.listener and name in self.heard:
            self.listener.hear(self.start, name, value)


class _Count:
    """The histogram of a node's values, and what is still to be put into it."""

    def __init__(self, name: str) -> None:
        self.name, self.total = name, Histogram()
        self.parts: list[torch.Tensor] = []
        self.ends: list[torch.Tensor] = []

    def add(self, value: torch.Tensor, most: int) -> None:
        """Count at most so many numbers of a value, and look at all for the ends."""
        flat = _flat(value)
        self.ends += torch.aminmax(flat)
        self.parts.append(flat[:: _stride(flat.numel(), most)].clone())
        is_enough = sum(part.numel() for part in self.parts) >= _TOGETHER
        if is_enough or len(self.parts) == _WAITING:
            self.histogram()

    def histogram(self) -> Histogram:
        """The histogram of all values so far."""
        if self.parts:
            low, high = (float(end) for end in torch.aminmax(torch.stack(self.ends)))
            if not (np.isfinite(low) and np.isfinite(high)):
                problem = "gives NaN or infinity on a sample"
                raise ModelError(self.name, problem, "Check weights and samples.")
            numbers = torch.cat(self.parts).float().cpu().numpy()
            self.total.add(numbers, low=low, high=high)
            self.parts, self.ends = [], []
        return self.total


def observe(
    network: Network,
    nodes: Iterable[str],
    samples: Samples,
    first: Listener | None = None,
) -> dict[str, Histogram]:
    """Histograms of the values of `nodes`, by node name, over all `samples`.

    Args:
        network: Any network, in evaluation mode.
        nodes: Names of nodes whose values are floating point tensors.
        samples: Inputs by the names of the network's inputs.
        first: Hears values of the first samples.

    Raises:
        ModelError: A value is not finite; the message names the node.
    """
    names, watches, start = list(nodes), list[_Watch](), 0
    if first is not None:
        start = min(first.count, len(samples))
        watches += _watch(network, names, samples.take(0, start).batches(first.size), first)
    if start < len(samples):
        rest = samples.take(start, len(samples))
        batches = rest.batches(batch_size_of(network, samples, _BATCH))
        watches += _watch(network, names, batches)
    return {
        name: reduce(Histogram.merge, (watch.counts[name].histogram() for watch in watches))
        for name in names
    }


def _watch(
    network: Network,
    names: list[str],
    batches: Iterable[Batch],
    listener: Listener | None = None,
) -> list[_Watch]:
    """Run batches; what each thread has seen."""
    heard = listener.nodes if listener else set[str]()
    running = for_running(network, keep={*names, *heard})
    watches: list[_Watch] = []

    def make() -> Callable[[Batch], None]:
        own = _Watch(names, listener)
        watches.append(own)
        watched = _watched(running, own)

        def run(batch: Batch) -> None:
            own.start, own.size = batch.start, batch.size
            with torch.inference_mode():
                watched.module(*watched.tensors(batch.inputs))

        return run

    for _ in over_batches(make, batches, network.device):
        pass
    return watches


def _watched(network: Network, watch: _Watch) -> Network:
    """The network, with what `watch` is to see handed to it: interpreting takes longer."""
    result = network.copy()
    result.module.add_submodule("watch", watch)
    last_input = [n for n in result.graph.nodes if n.op == "placeholder"][-1]
    for node in list(result.graph.nodes):
        if node.name in watch.counts or node.name in watch.heard:
            place = last_input if node.op == "placeholder" else node
            with result.graph.inserting_after(place):
                result.graph.call_module("watch", (node, node.name))
    result.module.recompile()
    result.graph.owning_module = None  # see `for_running`
    return result


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
