"""Weight sharing by k-means: each element becomes one of a few values of its weight.

The 2^bits values of a weight are the centroids of its elements, see `arrays.kmeans`. Elements
that are 0, masked or not, stay 0: the value 0 is one of the values then, and stays 0 while
training; others go there only if it is the nearest. Training moves values, not elements
from one to another (`train.fine_tune` after this).

Shapes do not change. The file gets smaller: about `bits` per element that is not 0, and less
where values are not equally frequent. An engine looks the values up while loading, and then
is as fast as with floats.

Source: Han, Mao, Dally, "Deep Compression", arXiv:1510.00149, section 3; the optimum instead
of a start: Choi, El-Khamy, Lee, arXiv:1612.01543.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from tersor.arrays.kmeans import STARTS, kmeans
from tersor.codes.code import Code
from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.holding import hold_weights
from tersor.network.layers import Layer
from tersor.network.network import Network

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
    """

    bits: int = 5
    start: Literal["exact", "linear", "density", "random"] = "exact"
    seed: int = 0
    minimum: int = 256
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise InputError("bits", got=self.bits, allowed="1 to 8")
        if self.start not in STARTS:
            raise InputError("start", got=self.start, allowed="one of " + ", ".join(STARTS))
        for name in ("seed", "minimum"):
            if getattr(self, name) < 0:
                raise InputError(name, got=getattr(self, name), allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        return hold_weights(
            network, self._shared, method=_NAME, keep=self.keep, minimum=self.minimum
        )

    def _shared(self, _: Layer, weight: torch.Tensor | Masked) -> Code | str:
        dense = (weight() if isinstance(weight, Masked) else weight).detach()
        if dense.numel() <= 1 << self.bits:
            return "no more weights than shared values"
        zero = bool((dense == 0).any())
        centroids = kmeans(
            dense.cpu().numpy(), 1 << self.bits, start=self.start, zero=zero, seed=self.seed
        )
        return Codebook.encode(weight, torch.from_numpy(centroids), zero=zero)


METHOD = ShareKmeans
EXAMPLE = ShareKmeans(bits=4, minimum=64)
IDENTITY = ShareKmeans(minimum=1 << 40)
