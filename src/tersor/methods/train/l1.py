"""L1 regularization: small weights are drawn to 0.

The loss gets strength * sum |w| / sum |w_start| over all weights that can be pruned: 1 before
the first step, however large the network is. Magnitude pruning afterwards cuts what is left
small. Biases and normalizations are left alone.

Source: Tibshirani, "Regression shrinkage and selection via the lasso", JRSS B 58, 1996; Han,
Pool, Tran, Dally, arXiv:1506.02626, section 3.1 (for pruning).
"""

import math
from dataclasses import dataclass

import torch

from tersor.errors import InputError
from tersor.network.layers import weighted_layers
from tersor.train.during import Part, Run
from tersor.train.weights import live_weight


@dataclass(frozen=True, slots=True, kw_only=True)
class L1:
    """Draw weights to 0.

    Attributes:
        strength: What the loss gets before the first step.
    """

    strength: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise InputError("strength", got=self.strength, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _L1(self.strength, run)


class _L1(Part):
    def __init__(self, strength: float, run: Run) -> None:
        self._run, self._paths = run, [x.weight for x in weighted_layers(run.network)]
        with torch.no_grad():
            self._factor = strength / (float(self._sum()) + 1e-30)

    def _sum(self) -> torch.Tensor:
        weights = [live_weight(self._run.network, path) for path in self._paths]
        return torch.stack([weight.abs().sum() for weight in weights]).sum()

    @property
    def settled(self) -> bool:
        """Not where it is at work: which weights are best is not told by the error alone."""
        return self._factor == 0

    def penalty(self) -> torch.Tensor | None:
        return self._factor * self._sum() if self._factor else None


DURING = L1
EXAMPLE = L1(strength=1.0)
IDENTITY = L1(strength=0.0)
