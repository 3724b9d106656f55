"""Magnitude pruning: set the smallest weights to zero, at once.

Of the n elements of a weight, the round(sparsity * n) of smallest magnitude become 0 and all
others keep their values; at least one stays. Zeros of a mask that is there stay zeros. Over
all layers together ("global") those with large weights keep more of them.

Shapes do not change. The file gets smaller by entropy coding only. What is lost is regained by
`train.fine_tune`; pruning little by little during that is `prune.gradual`.

Source: Han, Pool, Tran, Dally, "Learning both weights and connections for efficient neural
networks", NeurIPS 2015, arXiv:1506.02626.
"""

from dataclasses import dataclass
from typing import Literal

from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.network import Network
from tersor.network.pruning import masks_for, prunable

_NAME = "prune.magnitude"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneMagnitude:
    """Zeros for the smallest weights.

    Attributes:
        sparsity: The fraction of weights that becomes 0, in [0, 1).
        scope: "layer": of each weight; "global": of all together.
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.8
    scope: Literal["layer", "global"] = "layer"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError("sparsity", got=self.sparsity, allowed="in [0, 1)")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        result = network.copy()
        found = prunable(result, _NAME, self.keep)
        there = [code.mask.cpu().numpy() for code in found.codes]
        scores = [each * mask for each, mask in zip(found.scores(), there, strict=True)]
        masks = masks_for(scores, self.sparsity, self.scope)
        found.put([new & old for new, old in zip(masks, there, strict=True)])
        return result.with_notes(*found.told())


METHOD = PruneMagnitude
EXAMPLE = PruneMagnitude(sparsity=0.5)
IDENTITY = PruneMagnitude(sparsity=0.0)
