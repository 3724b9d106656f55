"""L0 regularization: the number of weights is part of the loss, by gates that are learnt.

Each weight has a gate z in [0, 1], a stretched and clipped concrete variable,

    s = sigmoid((log u - log(1 - u) + log alpha) / beta),   u uniform in (0, 1)
    z = clip(s (zeta - gamma) + gamma, 0, 1),   beta = 2/3, gamma = -0.1, zeta = 1.1

whose log alpha is trained with the weights, ten times as fast. The loss gets `strength` times
the fraction of weights that is expected not to be 0:

    P(z > 0) = sigmoid(log alpha - beta log(-gamma / zeta)).

In evaluation z = clip(sigmoid(log alpha) (zeta - gamma) + gamma, 0, 1). How many zeros there
are in the end follows from the strength.

Source: Louizos, Welling, Kingma, "Learning sparse neural networks through L0 regularization",
arXiv:1712.01312, equations (10) to (13).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from tersor.codes.masked import Masked
from tersor.errors import InputError
from tersor.network.network import Note
from tersor.train.during import Part, Run
from tersor.train.learned import LearnedMask, Learning, learn

_NAME = "prune.l0"
_BETA, _GAMMA, _ZETA = 2 / 3, -0.1, 1.1
_OPEN = 2.0  # log alpha at first: gates are nearly open
_EDGE = 1e-6  # of the uniform numbers
_FASTER = 10.0  # than weights: log alpha has a long way to go


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneL0:
    """Zeros by gates that are learnt.

    Attributes:
        strength: What the loss gets if no weight is 0; half of it if half of them are.
        keep: Names of layers that are left alone.
    """

    strength: float = 1.0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise InputError("strength", got=self.strength, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        learning = learn(run.network, _Gated, method=_NAME, keep=self.keep)
        return _L0(self.strength, learning)


class _Gated(LearnedMask):
    """A weight with a gate for each element."""

    def __init__(self, code: Masked) -> None:
        super().__init__(code)
        self.gates = nn.Parameter(torch.full_like(self.weight, _OPEN / _FASTER))

    @property
    def log_alpha(self) -> torch.Tensor:
        """How open each gate is."""
        return _FASTER * self.gates

    def decode(self) -> torch.Tensor:
        """The gated weight: gates are drawn in training, and fixed in evaluation."""
        return self.weight * self._gates() * self.allowed

    def expected(self) -> torch.Tensor:
        """How many elements are expected not to be 0."""
        chances = (self.log_alpha - _BETA * math.log(-_GAMMA / _ZETA)).sigmoid()
        return (chances * self.allowed).sum()

    def _gates(self) -> torch.Tensor:
        drawn = self.log_alpha
        if self.training:
            u = torch.rand_like(drawn).clamp(_EDGE, 1 - _EDGE)
            drawn = (u.log() - (-u).log1p() + drawn) / _BETA
        return (drawn.sigmoid() * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)

    def kept(self) -> torch.Tensor:
        return (self.log_alpha.sigmoid() * (_ZETA - _GAMMA) + _GAMMA) > 0

    def final(self) -> torch.Tensor:
        was, self.training = self.training, False
        gates = self._gates().detach()
        self.training = was
        return self.weight.detach() * gates


class _L0(Part):
    def __init__(self, strength: float, learning: Learning[_Gated]) -> None:
        self._strength, self._learning = strength, learning
        self._count = sum(code.weight.numel() for code in learning.codes)

    @property
    def settled(self) -> bool:
        """Never: which weights are best is not told by the error alone."""
        return False

    def penalty(self) -> torch.Tensor:
        expected = torch.stack([code.expected() for code in self._learning.codes]).sum()
        return self._strength * expected / self._count

    def finish(self) -> None:
        self._learning.finish()

    def notes(self) -> list[Note]:
        return self._learning.found.told()


DURING = PruneL0
EXAMPLE = PruneL0()
IDENTITY = None
