"""Gradual magnitude pruning: more and more zeros while training goes on.

The sparsity goes from what it is at the start of training to `sparsity` at the fraction
`until` of all steps, along

    s(p) = last + (first - last) (1 - p)^3,

at most a hundred times on the way. Masks are chosen anew each time by the magnitudes of all
latent weights. With `regrow` a fraction of the weights that are left gives way to as many of
those at 0 whose gradients are the largest; that fraction falls to 0 by half a cosine. The
remaining steps train with masks that stay.

Source: Zhu, Gupta, "To prune, or not to prune", arXiv:1710.01878, equation (1); regrowth:
Evci, Gale, Menick, Castro, Elsen, "Rigging the lottery", arXiv:1911.11134, section 3.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.masks import cubic, largest, with_one_each
from tersor.errors import InputError
from tersor.network.network import Note
from tersor.network.pruning import Prunable, masks_for, prunable
from tersor.train.during import Part, Run

_UPDATES = 100
_NAME = "prune.gradual"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneGradual:
    """Zeros for the smallest weights, little by little.

    Attributes:
        sparsity: The fraction of weights that is 0 in the end, in [0, 1).
        scope: "layer": of each weight; "global": of all together.
        until: The fraction of all steps after which masks stay, in (0, 1].
        regrow: The fraction of the weights left that is exchanged at first, in [0, 1).
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.8
    scope: Literal["layer", "global"] = "layer"
    until: float = 0.6
    regrow: float = 0.0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sparsity", "regrow"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(name, got=getattr(self, name), allowed="in [0, 1)")
        if not 0 < self.until <= 1:
            raise InputError("until", got=self.until, allowed="in (0, 1]")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Gradual(self, run, prunable(run.network, _NAME, self.keep))


class _Gradual(Part):
    def __init__(self, settings: PruneGradual, run: Run, found: Prunable) -> None:
        self._settings, self._run, self._found = settings, run, found
        self._last = max(1, round(settings.until * run.steps))
        self._every = max(1, self._last // _UPDATES)
        masks = [code.mask for code in found.codes]
        zeros = sum(int((~mask).sum()) for mask in masks)
        self._first = zeros / sum(mask.numel() for mask in masks)
        self._gradients: list[NDArray[np.floating]] = []
        for code in found.codes:
            code.straight_through = settings.regrow > 0

    @property
    def settled(self) -> bool:
        return self._run.step >= self._last

    def before_step(self) -> None:
        """What a gradient says of elements at 0 is kept, and moves nothing."""
        if self._settings.regrow == 0:
            return
        changes, self._gradients = self._changes_at(self._run.step + 1), []
        for code in self._found.codes:
            gradient = code.weight.grad
            if gradient is None:  # nothing that was computed depends on it
                gradient = torch.zeros_like(code.weight)
            if changes:
                self._gradients.append(gradient.abs().cpu().numpy())
            gradient.masked_fill_(~code.mask, 0)

    def _changes_at(self, step: int) -> bool:
        return step == self._last or (step < self._last and step % self._every == 0)

    def after_step(self) -> None:
        step = self._run.step
        if not self._changes_at(step):
            return
        sparsity = cubic(step / self._last, self._first, self._settings.sparsity)
        scores = self._found.scores()
        masks = masks_for(scores, max(sparsity, self._first), self._settings.scope)
        if self._gradients and step < self._last:
            masks = self._regrown(masks, scores)
        self._found.put(masks)

    def _regrown(
        self, masks: list[NDArray[np.bool_]], scores: list[NDArray[np.floating]]
    ) -> list[NDArray[np.bool_]]:
        """Masks in which the smallest gave way to those of the largest gradients."""
        progress = self._run.step / self._last
        part = self._settings.regrow / 2 * (1 + math.cos(math.pi * progress))
        found = []
        for mask, score, gradient in zip(masks, scores, self._gradients, strict=True):
            count = round(part * int(mask.sum()))
            kept = largest(np.where(mask, score, -1.0), int(mask.sum()) - count)
            back = largest(np.where(kept, -1.0, gradient), count) & ~kept
            found.append(kept | back)
        return with_one_each(found, scores)

    def finish(self) -> None:
        for code in self._found.codes:
            code.straight_through = False
            with torch.no_grad():
                code.weight.masked_fill_(~code.mask, 0)

    def notes(self) -> list[Note]:
        return self._found.told()


DURING = PruneGradual
EXAMPLE = PruneGradual(sparsity=0.5)
IDENTITY = PruneGradual(sparsity=0.0)
