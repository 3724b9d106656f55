"""Channels of activations: largest magnitudes, and a few rows as they came.

The last axis of a value counts its channels; what stands at all other axes are rows. Rows are
taken evenly from every batch, so that memory does not grow with the number of samples.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.errors import ModelError
from tersor.network.network import Network

_BATCH = 32


@dataclass
class Features:
    """What was seen of one value of C channels.

    Attributes:
        peaks: Largest magnitude of each channel, (C,), float32.
        rows: Some of the rows, (n, C), float32.
    """

    peaks: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    rows: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    def add(self, value: torch.Tensor, most: int) -> None:
        """Look at a value (..., C), and keep at most `most` of its rows."""
        flat = value.reshape(-1, value.shape[-1]).float()
        self.peaks = torch.maximum(self.peaks, flat.abs().amax(0))
        few = flat[:: max(1, -(-len(flat) // most))]
        self.rows = torch.cat([self.rows, few]) if len(self.rows) else few.clone()


class _Watcher(fx.Interpreter):
    """Runs the graph and looks at the results of some nodes."""

    def __init__(self, network: Network, found: dict[str, Features], most: int) -> None:
        super().__init__(network.module)
        self.found, self.most = found, most

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.found:
            if not bool(torch.isfinite(result).all()):
                raise ModelError(
                    n.name, "gives NaN or infinity on a sample", "Check weights and samples."
                )
            self.found[n.name].add(result, self.most)
        return result


def features(
    network: Network, nodes: Iterable[str], samples: Samples, *, rows: int = 512
) -> dict[str, Features]:
    """What flows through `nodes`, by node name, over all `samples`.

    Args:
        network: Any network, in evaluation mode.
        nodes: Names of nodes whose values are floating point tensors (..., C).
        samples: Inputs by the names of the network's inputs.
        rows: How many rows of each value are kept, about.

    Raises:
        ModelError: A value is not finite; the message names the node.
    """
    found = {name: Features() for name in nodes}
    size = network.fixed_batch or _BATCH
    most = max(1, rows * size // max(len(samples), size))
    watcher = _Watcher(network, found, most)
    with torch.no_grad():
        for batch in samples.batches(size):
            watcher.run(*network.tensors(batch.inputs))
    return found
