"""Dynamic network surgery: weights are cut, and spliced back when they turn out to matter.

While masks may change, the gradient reaches masked weights, too, as if they were there, and
the latent weights go on moving. With t the magnitude below which the wanted fraction of a
weight's elements lies, an element is cut below t (1 - margin), spliced above t (1 + margin),
and stays what it is between the two.

Source: Guo, Yao, Chen, "Dynamic network surgery for efficient DNNs", arXiv:1608.04493,
equations (2) to (5).
"""

from dataclasses import dataclass

import torch

from tersor.arrays.masks import cubic, largest, with_one_each
from tersor.errors import InputError
from tersor.network.network import Note
from tersor.network.pruning import Prunable, masks_for, prunable
from tersor.train.during import Part, Run

_NAME = "prune.dynamic"
_UPDATES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneDynamic:
    """Zeros that may come back while training.

    Attributes:
        sparsity: The fraction of each weight that is 0 in the end, in [0, 1).
        until: The fraction of all steps after which masks stay, in (0, 1].
        margin: How far from the threshold a magnitude must be for a change, in [0, 1).
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.8
    until: float = 0.7
    margin: float = 0.1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sparsity", "margin"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(name, got=getattr(self, name), allowed="in [0, 1)")
        if not 0 < self.until <= 1:
            raise InputError("until", got=self.until, allowed="in (0, 1]")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Dynamic(self, run, prunable(run.network, _NAME, self.keep))


class _Dynamic(Part):
    def __init__(self, settings: PruneDynamic, run: Run, found: Prunable) -> None:
        self._settings, self._run, self._found = settings, run, found
        self._last = max(1, round(settings.until * run.steps))
        self._every = max(1, self._last // _UPDATES)
        for code in found.codes:
            code.straight_through = True

    @property
    def settled(self) -> bool:
        return self._run.step >= self._last

    def before_step(self) -> None:
        """Once masks stay, masked weights do too."""
        if self.settled:
            for code in self._found.codes:
                if code.weight.grad is not None:
                    code.weight.grad.masked_fill_(~code.mask, 0)

    def after_step(self) -> None:
        step = self._run.step
        if step > self._last or (step % self._every and step != self._last):
            return
        sparsity = cubic(step / self._last, 0.0, self._settings.sparsity)
        scores = self._found.scores()
        if step == self._last:
            self._found.put(masks_for(scores, sparsity, "layer"))
            return
        masks = []
        for code, score in zip(self._found.codes, scores, strict=True):
            count = score.size - round(sparsity * score.size)
            least = float(score[largest(score, max(1, count))].min())
            spliced = score > least * (1 + self._settings.margin)
            uncut = score >= least * (1 - self._settings.margin)
            masks.append(spliced | (code.mask.cpu().numpy() & uncut))
        self._found.put(with_one_each(masks, scores))

    def finish(self) -> None:
        for code in self._found.codes:
            code.straight_through = False
            with torch.no_grad():
                code.weight.masked_fill_(~code.mask, 0)

    def notes(self) -> list[Note]:
        return self._found.told()


DURING = PruneDynamic
EXAMPLE = PruneDynamic(sparsity=0.5)
IDENTITY = None
