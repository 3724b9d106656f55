"""L1 regularization: small weights are drawn to 0.

The loss gets strength * sum |w| / sum |w_start| over all weights that can be pruned: 1 before
the first step, however large the network is. Magnitude pruning afterwards cuts what is left
small. Biases and normalizations are left alone.

Source: Tibshirani, "Regression shrinkage and selection via the lasso", JRSS B 58, 1996; Han,
Pool, Tran, Dally, arXiv:1506.02626, section 3.1 (for pruning).
"""

import math
from dataclasses import dataclass

from tersor.errors import InputError
from tersor.train.during import Part, Run
from tersor.train.shrinking import Shrinking


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
        return Shrinking(self.strength, run, lambda weight, _: weight.abs().sum())


DURING = L1
EXAMPLE = L1(strength=1.0)
IDENTITY = L1(strength=0.0)
