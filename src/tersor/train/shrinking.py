"""Regularizers: a size of all weights becomes part of the loss, 1 before the first step."""

from collections.abc import Callable

import torch

from tersor.network.layers import Layer, weighted_layers
from tersor.train.during import Part, Run

_SMALLEST = 1e-30  # of a size that is divided by


class Shrinking(Part):
    """Adds strength * S / S_start to the loss; S: the sum over weights that can be pruned.

    Weights are seen as their codes decode them: what a mask leaves out counts nothing.
    """

    def __init__(
        self, strength: float, run: Run, size: Callable[[torch.Tensor, Layer], torch.Tensor]
    ) -> None:
        """Begin.

        Args:
            strength: What the loss gets before the first step.
            run: The training.
            size: Of a weight of a layer: a scalar, differentiable.
        """
        self._run, self._size = run, size
        self._layers = weighted_layers(run.network)
        with torch.no_grad():
            self._factor = strength / (float(self._total()) + _SMALLEST)

    def _total(self) -> torch.Tensor:
        network, sizes = self._run.network, []
        for layer in self._layers:
            code = network.code(layer.weight)
            weight = network.tensor(layer.weight) if code is None else code()
            sizes.append(self._size(weight, layer))
        return torch.stack(sizes).sum()

    @property
    def settled(self) -> bool:
        """Not where it is at work: which weights are best is not told by the error alone."""
        return self._factor == 0

    def penalty(self) -> torch.Tensor | None:
        """See `Part.penalty`."""
        return self._factor * self._total() if self._factor else None
