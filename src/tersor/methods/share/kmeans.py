"""Weight sharing by k-means: each element becomes one of a few values of its weight.

The 2^bits values of a weight are the centroids of its elements, see `arrays.kmeans`. Elements
that are 0, masked or not, stay 0: the value 0 is one of the values then, and stays 0 while
training; others go there only if it is the nearest. Training moves values, not elements
from one to another (`train.fine_tune` after this).

Weighed by "outputs", an element counts by how much the outputs feel a change of it, as
`train.importance` estimates, plus the mean of that over its weight, since estimates of single
elements are noisy.

Shapes do not change. The file gets smaller: about `bits` per element that is not 0, and less
where values are not equally frequent. An engine looks the values up while loading, and then
is as fast as with floats.

Source: Han, Mao, Dally, "Deep Compression", arXiv:1510.00149, section 3; the optimum instead
of a start: Choi, El-Khamy, Lee, arXiv:1612.01543.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.kmeans import STARTS, kmeans
from tersor.codes.code import Code
from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.holding import hold_weights
from tersor.network.layers import Layer
from tersor.network.network import Network
from tersor.train.importance import importance

_NAME = "share.kmeans"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareKmeans:
    """Hold each weight by 2^bits values.

    Attributes:
        bits: 1 to 8.
        start: "exact": the values of least squared error; "linear", "density" or "random":
            where Lloyd's iteration begins, which ends in a local optimum.
        seed: Of the random start.
        minimum: Weights of fewer elements stay as they are: their values would outweigh the
            saving.
        keep: Names of layers that stay as they are.
        weigh: "alike": all elements; "outputs": by what they do to the outputs. Needs samples.
    """

    bits: int = 5
    start: Literal["exact", "linear", "density", "random"] = "exact"
    seed: int = 0
    minimum: int = 256
    keep: tuple[str, ...] = ()
    weigh: Literal["alike", "outputs"] = "alike"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise InputError("bits", got=self.bits, allowed="1 to 8")
        if self.start not in STARTS:
            raise InputError("start", got=self.start, allowed="one of " + ", ".join(STARTS))
        if self.weigh not in ("alike", "outputs"):
            raise InputError("weigh", got=self.weigh, allowed="alike or outputs")
        for name in ("seed", "minimum"):
            if getattr(self, name) < 0:
                raise InputError(name, got=getattr(self, name), allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs samples where they weigh the elements."""
        counts: Mapping[str, torch.Tensor] = {}
        if self.weigh == "outputs":
            if samples is None:
                raise InputError("samples", got=None, allowed="given: they weigh the elements")
            counts = importance(network, samples, seed=self.seed)
        return hold_weights(
            network,
            partial(self._shared, counts),
            method=_NAME,
            keep=self.keep,
            minimum=self.minimum,
        )

    def _shared(
        self,
        counts: Mapping[str, torch.Tensor],
        layer: Layer,
        weight: torch.Tensor | Masked,
    ) -> Code | str:
        dense = (weight() if isinstance(weight, Masked) else weight).detach()
        if dense.numel() <= 1 << self.bits:
            return "no more weights than shared values"
        zero = bool((dense == 0).any())
        centroids = kmeans(
            dense.cpu().numpy(),
            1 << self.bits,
            start=self.start,
            weights=_counts(counts, layer, weight),
            zero=zero,
            seed=self.seed,
        )
        return Codebook.encode(weight, torch.from_numpy(centroids), zero=zero)


def _counts(
    counts: Mapping[str, torch.Tensor], layer: Layer, weight: torch.Tensor | Masked
) -> NDArray[np.float64] | None:
    """How much each element counts; None for all alike."""
    name = f"{layer.weight}.weight" if isinstance(weight, Masked) else layer.weight
    if name not in counts:
        return None
    found: NDArray[np.float64] = (counts[name] + counts[name].mean()).cpu().numpy()
    return found


METHOD = ShareKmeans
EXAMPLE = ShareKmeans(bits=4, minimum=64)
IDENTITY = ShareKmeans(minimum=1 << 40)
