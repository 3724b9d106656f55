"""Sparse variational dropout: weights that bear any noise go.

Each weight has a variance sigma^2 that is trained, too: in training Gaussian noise of that
variance is added, in evaluation the mean counts. With log alpha = log(sigma^2 / w^2), the loss
gets

    KL = sum_i 0.5 log(1 + 1/alpha_i) - k1 sigmoid(k2 + k3 log alpha_i) + k1,
    k1 = 0.63576, k2 = 1.87320, k3 = 1.48695,

times `strength` over the number of samples (1 is the variational bound), growing from 0 over
the first half of training. Weights of log alpha >= 3, mostly noise, are 0. How many zeros
there are in the end follows from the data and the strength.

Source: Molchanov, Ashukha, Vetrov, "Variational dropout sparsifies deep neural networks",
arXiv:1701.05369, equations (9), (14) and section 4.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from tersor.codes.masked import Masked
from tersor.errors import InputError
from tersor.network.network import Note
from tersor.train.during import Part, Run
from tersor.train.learned import LearnedMask, Learning, learn

_NAME = "prune.variational"
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695
_NOISE = 3.0  # log alpha from which on a weight is noise
_FIRST = -10.0  # log sigma^2 at first
_SMALLEST = 1e-16  # of a squared weight whose logarithm is taken
_GROWS = 0.5  # fraction of training in which the penalty grows


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneVariational:
    """Zeros for weights that bear any noise.

    Attributes:
        strength: Of the penalty: 1 is the variational bound.
        keep: Names of layers that are left alone.
    """

    strength: float = 1.0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise InputError("strength", got=self.strength, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        learning = learn(run.network, _Noisy, method=_NAME, keep=self.keep)
        return _Variational(self.strength, run, learning)


class _Noisy(LearnedMask):
    """A weight with noise of its own for each element."""

    def __init__(self, code: Masked) -> None:
        super().__init__(code)
        self.log_variance = nn.Parameter(torch.full_like(self.weight, _FIRST))

    def decode(self) -> torch.Tensor:
        """The weight, with noise in training, without what is noise in evaluation."""
        if not self.training:
            return self.weight * self.kept() * self.allowed
        noise = torch.randn_like(self.weight) * (self.log_variance / 2).exp()
        return (self.weight + noise) * self.allowed

    def log_alpha(self) -> torch.Tensor:
        """How much noise there is, over the squared weight, as a logarithm."""
        return self.log_variance - self.weight.square().clamp_min(_SMALLEST).log()

    def divergence(self) -> torch.Tensor:
        """KL from the prior, summed over the elements."""
        log_alpha = self.log_alpha()
        each = 0.5 * functional.softplus(-log_alpha) + _K1
        each = each - _K1 * (_K2 + _K3 * log_alpha).sigmoid()
        return (each * self.allowed).sum()

    def kept(self) -> torch.Tensor:
        return self.log_alpha() < _NOISE

    def final(self) -> torch.Tensor:
        return self.weight.detach()


class _Variational(Part):
    def __init__(self, strength: float, run: Run, learning: Learning[_Noisy]) -> None:
        self._strength, self._run, self._learning = strength, run, learning

    @property
    def settled(self) -> bool:
        """Never: which weights are best is not told by the error alone."""
        return False

    def penalty(self) -> torch.Tensor:
        total = torch.stack([code.divergence() for code in self._learning.codes]).sum()
        grown = min(1.0, self._run.progress / _GROWS)
        return grown * self._strength * total / self._run.samples

    def finish(self) -> None:
        self._learning.finish()

    def notes(self) -> list[Note]:
        return self._learning.found.told()


DURING = PruneVariational
EXAMPLE = PruneVariational()
IDENTITY = None
