"""Group lasso: whole channels are drawn to 0.

The loss gets strength * P / P_start, with P the sum over all output channels g of all weights
of sqrt(n_g) |w_g|, n_g elements each: 1 before the first step. A channel whose weights are all
small goes to 0 as a whole; cutting it away changes shapes, which is not done here.

Source: Yuan, Lin, "Model selection and estimation in regression with grouped variables", JRSS
B 68, 2006; Wen, Wu, Wang, Chen, Li, "Learning structured sparsity in deep neural networks",
arXiv:1608.03665, equation (2).
"""

import math
from dataclasses import dataclass

import torch

from tersor.errors import InputError
from tersor.network.layers import Layer
from tersor.train.during import Part, Run
from tersor.train.shrinking import Shrinking

_SMALLEST = 1e-12  # of a squared norm whose root is taken: its gradient is finite there


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLasso:
    """Draw whole output channels to 0.

    Attributes:
        strength: What the loss gets before the first step.
    """

    strength: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise InputError("strength", got=self.strength, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return Shrinking(self.strength, run, _size)


def _size(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    groups = weight.movedim(layer.channel_axis, 0).flatten(1)
    squares = groups.square().sum(1).clamp_min(_SMALLEST)
    return math.sqrt(groups.shape[1]) * squares.sqrt().sum()


DURING = GroupLasso
EXAMPLE = GroupLasso(strength=1.0)
IDENTITY = GroupLasso(strength=0.0)
