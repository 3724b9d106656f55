"""N of M: of every m weights, one after the other, the n largest stay.

The m weights of a group are those of m consecutive inputs, for one output and one tap of the
kernel: groups go along the axis of input channels, as sparse matrix units read them. The n of
largest magnitude stay (among equal ones the later), all others become 0; 2 of 4 is what GPUs
multiply at twice the speed. Zeros of a mask that is there stay zeros. Layers whose inputs are
no multiple of m are left alone: a depthwise convolution has one input for each output.

Shapes do not change. What is lost is regained by `train.fine_tune`.

Source: Zhou et al., "Learning N:M fine-grained structured sparse neural networks from
scratch", ICLR 2021, arXiv:2102.04010; Mishra et al., "Accelerating sparse deep neural
networks", arXiv:2104.08378, section 3, for 2 of 4.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.masks import largest_of_each
from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.network import Network
from tersor.network.pruning import Scores, inputs_axis, prunable, undivided

_NAME = "prune.n_of_m"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneNOfM:
    """Of every m consecutive inputs n stay.

    Attributes:
        n: How many stay.
        m: Of how many.
        keep: Names of layers that are left alone.
    """

    n: int = 2
    m: int = 4
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.m < 1:
            raise InputError("m", got=self.m, allowed="1 or more")
        if not 1 <= self.n <= self.m:
            raise InputError("n", got=self.n, allowed=f"1 to m = {self.m}")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        result = network.copy()
        found = prunable(result, _NAME, self.keep, lambda layer: undivided(layer, self.m))
        masks = []
        for layer, code, each in zip(found.layers, found.codes, found.scores(), strict=True):
            there = code.mask.cpu().numpy()
            masks.append(self._mask(each * there, inputs_axis(layer)) & there)
        found.put(masks)
        return result.with_notes(*found.told())

    def _mask(self, scores: Scores, axis: int) -> NDArray[np.bool_]:
        last = np.moveaxis(scores, axis, -1)
        groups = last.reshape(*last.shape[:-1], -1, self.m)
        kept = largest_of_each(groups, self.n).reshape(last.shape)
        return np.moveaxis(kept, -1, axis)


METHOD = PruneNOfM
EXAMPLE = PruneNOfM()
IDENTITY = PruneNOfM(n=4, m=4)
