"""The teacher: what the original computed, once for each sample where there is room for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.network.network import Network
from tersor.train import surroundings
from tersor.train.taps import parted, tapped

_MOST_BYTES = 256 << 20  # of outputs that are kept, and of inner values that are kept

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher computes for a batch, without gradients.

    Attributes:
        outputs: Of the network, (n, ...) each.
        values: Of the nodes that were asked for, by name.
    """

    outputs: Tensors = ()
    values: Mapping[str, torch.Tensor] = field(default_factory=dict)


class Teacher:
    """The outputs, and some inner values, of a network that is not trained."""

    def __init__(
        self, network: Network, count: int, *, keep: bool, values: Sequence[str] = ()
    ) -> None:
        """A teacher of `count` samples.

        Args:
            network: Only called; where the samples will be.
            count: How many samples there are.
            keep: Whether a sample always looks the same, so that outputs may be kept.
            values: Names of the nodes whose values answers hold.

        Raises:
            ModelError: There is no such node.
        """
        self._network, self._names = tapped(network, values), tuple(values)
        self._outputs, self._values = _Kept(count, keep=keep), _Kept(count, keep=keep)

    def outputs(self, rows: NDArray[np.intp], tensors: Sequence[torch.Tensor]) -> Tensors:
        """What it gives for these samples, (n, ...) each; without gradients."""
        known = self._outputs.get(rows, tensors[0].device)
        return self._computed(rows, tensors).outputs if known is None else known

    def answer(self, rows: NDArray[np.intp], tensors: Sequence[torch.Tensor]) -> Answer:
        """Outputs and values for these samples; without gradients."""
        if not self._names:
            return Answer(self.outputs(rows, tensors))
        device = tensors[0].device
        values = self._values.get(rows, device)
        outputs = None if values is None else self._outputs.get(rows, device)
        if values is None or outputs is None:
            return self._computed(rows, tensors)
        return Answer(outputs, dict(zip(self._names, values, strict=True)))

    def _computed(self, rows: NDArray[np.intp], tensors: Sequence[torch.Tensor]) -> Answer:
        with torch.no_grad(), surroundings.current().products(tensors[0].device):
            outputs, values = parted(self._network.module(*tensors), self._names)
        self._outputs.put(rows, outputs)
        if values:
            self._values.put(rows, tuple(values.values()))
        return Answer(outputs, values)


class _Kept:
    """Tensors with a row for each sample, as long as all rows fit."""

    def __init__(self, count: int, *, keep: bool) -> None:
        self._count, self._keep = count, keep
        self._known = torch.zeros(count, dtype=torch.bool)
        self._kept: list[torch.Tensor] = []

    def get(self, rows: NDArray[np.intp], device: torch.device) -> Tensors | None:
        """What was put for these samples; None unless all of it is there."""
        places = torch.from_numpy(rows)
        if not self._keep or not bool(self._known[places].all()):
            return None
        found = (kept[places].contiguous(memory_format=_order(kept)) for kept in self._kept)
        return tuple(each.to(device) for each in found)

    def put(self, rows: NDArray[np.intp], found: Tensors) -> None:
        """Keep what was found for these samples, if there is room."""
        places = torch.from_numpy(rows)
        if not self._kept and self._keep:
            row_bytes = sum(each[0].numel() * each.element_size() for each in found)
            alike = all(len(each) == len(places) for each in found)
            self._keep = alike and row_bytes * self._count <= _MOST_BYTES
            if self._keep:
                self._kept = [self._room_for(each) for each in found]
        if not self._keep:
            return
        if any(k.shape[1:] != f.shape[1:] for k, f in zip(self._kept, found, strict=True)):
            self._keep = False  # sequences of several lengths
            self._kept = []
            return
        for kept, each in zip(self._kept, found, strict=True):
            kept[places] = each.cpu()
        self._known[places] = True

    def _room_for(self, found: torch.Tensor) -> torch.Tensor:
        shape = (self._count, *found.shape[1:])
        return torch.empty(shape, dtype=found.dtype, memory_format=_order(found))


def _order(tensor: torch.Tensor) -> torch.memory_format:
    """How a tensor lies in memory: what is kept is the same bits to whoever adds them up."""
    last = torch.channels_last
    is_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=last)
    return last if is_last and not tensor.is_contiguous() else torch.contiguous_format
