"""Movement pruning: weights that training moves towards zero go, however large they are.

Each weight has a score, which is trained: of each layer (or of all together) the weights of
the highest scores stay. The gradient passes straight through that choice, so that a score
moves by

    S_i <- S_i - rate * (dL/dW_i) W_i,

up where training makes the weight larger. The sparsity grows as in `prune.gradual`. Suits
networks that are tuned to a task of their own, where magnitudes are still those of another.

Source: Sanh, Wolf, Rush, "Movement pruning: adaptive sparsity by fine-tuning",
arXiv:2005.07683, equations (5) to (7).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from tersor.arrays.masks import cubic
from tersor.codes.masked import Masked
from tersor.errors import InputError
from tersor.network.network import Note
from tersor.network.pruning import masks_for
from tersor.train.during import Part, Run
from tersor.train.learned import LearnedMask, Learning, learn

_NAME = "prune.movement"
_UPDATES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneMovement:
    """Zeros where training moves weights towards zero.

    Attributes:
        sparsity: The fraction of weights that is 0 in the end, in [0, 1).
        scope: "layer": of each weight; "global": of all together.
        until: The fraction of all steps after which masks stay, in (0, 1].
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.8
    scope: Literal["layer", "global"] = "layer"
    until: float = 0.7
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError("sparsity", got=self.sparsity, allowed="in [0, 1)")
        if not 0 < self.until <= 1:
            raise InputError("until", got=self.until, allowed="in (0, 1]")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        learning = learn(run.network, _Scored, method=_NAME, keep=self.keep)
        return _Movement(self, run, learning)


class _Scored(LearnedMask):
    """A weight with a score for each element, and the mask that follows from all scores."""

    mask: torch.Tensor

    def __init__(self, code: Masked) -> None:
        super().__init__(code)
        self.scores = nn.Parameter(torch.zeros_like(self.weight))
        self.register_buffer("mask", self.allowed.clone())

    def decode(self) -> torch.Tensor:
        """The masked weight; scores get the gradient of the mask, as if it were a number."""
        through = self.scores - self.scores.detach()  # 0, with a gradient of 1
        return self.weight * (self.mask + through * self.allowed)

    def kept(self) -> torch.Tensor:
        return self.mask

    def final(self) -> torch.Tensor:
        return self.weight.detach()


class _Movement(Part):
    def __init__(self, settings: PruneMovement, run: Run, learning: Learning[_Scored]) -> None:
        self._settings, self._run, self._learning = settings, run, learning
        self._last = max(1, round(settings.until * run.steps))
        self._every = max(1, self._last // _UPDATES)

    @property
    def settled(self) -> bool:
        return self._run.step >= self._last

    def after_step(self) -> None:
        step = self._run.step
        if step > self._last or (step % self._every and step != self._last):
            return
        codes = self._learning.codes
        scores = [
            code.scores.detach().masked_fill(~code.allowed, -torch.inf).cpu().numpy()
            for code in codes
        ]
        zeros = sum(int((~code.allowed).sum()) for code in codes)
        first = zeros / sum(code.allowed.numel() for code in codes)
        sparsity = max(first, cubic(step / self._last, first, self._settings.sparsity))
        masks = masks_for(scores, sparsity, self._settings.scope)
        for code, mask in zip(codes, masks, strict=True):
            code.mask.copy_(torch.from_numpy(mask) & code.allowed.cpu())

    def finish(self) -> None:
        self._learning.finish()

    def notes(self) -> list[Note]:
        return self._learning.found.told()


DURING = PruneMovement
EXAMPLE = PruneMovement(sparsity=0.5)
IDENTITY = None
