"""The teacher: what the original computed, once for each sample where there is room for it."""

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.network.network import Network

_MOST_BYTES = 256 << 20  # of outputs that are kept


class Teacher:
    """The outputs of a network that is not trained."""

    def __init__(self, network: Network, count: int, *, keep: bool) -> None:
        """A teacher of `count` samples.

        Args:
            network: Only called; where the samples will be.
            count: How many samples there are.
            keep: Whether a sample always looks the same, so that outputs may be kept.
        """
        self._network, self._count, self._keep = network, count, keep
        self._known = torch.zeros(count, dtype=torch.bool)
        self._kept: list[torch.Tensor] = []

    def outputs(
        self, rows: NDArray[np.intp], tensors: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """What it gives for these samples, (n, ...) each; without gradients."""
        places = torch.from_numpy(rows)
        if self._keep and bool(self._known[places].all()):
            device = tensors[0].device
            return tuple(kept[places].to(device) for kept in self._kept)
        with torch.no_grad():
            found = tuple(self._network.module(*tensors))
        self._store(places, found)
        return found

    def _store(self, places: torch.Tensor, found: tuple[torch.Tensor, ...]) -> None:
        if not self._kept and self._keep:
            row_bytes = sum(each[0].numel() * each.element_size() for each in found)
            alike = all(len(each) == len(places) for each in found)
            self._keep = alike and row_bytes * self._count <= _MOST_BYTES
            if self._keep:
                shapes = [(self._count, *each.shape[1:]) for each in found]
                pairs = zip(found, shapes, strict=True)
                self._kept = [torch.empty(shape, dtype=each.dtype) for each, shape in pairs]
        if not self._keep:
            return
        if any(k.shape[1:] != f.shape[1:] for k, f in zip(self._kept, found, strict=True)):
            self._keep = False  # sequences of several lengths
            return
        for kept, each in zip(self._kept, found, strict=True):
            kept[places] = each.cpu()
        self._known[places] = True
