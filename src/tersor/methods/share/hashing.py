"""Weight sharing by a hash: each weight is made of a few numbers that a hash spreads over it.

A weight of n elements becomes ceil(n / factor) numbers, see `codes.hashed`. They begin as what
is nearest to the weight, the means of the elements that share one; but who shares with whom is
drawn, so that little of the network is left before it is trained on (`train.fine_tune` after
this; published networks are trained so from scratch). Pruned weights are left alone.

Shapes do not change. The file holds the numbers and a seed. An engine computes the weights
while loading, and then is as fast as with floats.

Source: Chen, Wilson, Tyree, Weinberger, Chen, "Compressing neural networks with the hashing
trick", arXiv:1504.04788.
"""

import math
from dataclasses import dataclass
from zlib import crc32

import torch

from tersor.codes.code import Code
from tersor.codes.hashed import MOST_ELEMENTS, Hashed
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.holding import hold_weights
from tersor.network.layers import Layer
from tersor.network.network import Network

_NAME = "share.hashing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareHashing:
    """Hold each weight by fewer numbers than it has elements.

    Attributes:
        factor: Elements per number, above 1.
        seed: Of the hash, in [0, 2^32); each weight has a hash of its own by its name.
        minimum: Weights of fewer elements stay as they are.
        keep: Names of layers that stay as they are.
    """

    factor: float = 8.0
    seed: int = 0
    minimum: int = 1024
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 < self.factor < math.inf:
            raise InputError("factor", got=self.factor, allowed="above 1")
        if not 0 <= self.seed < 1 << 32:
            raise InputError("seed", got=self.seed, allowed="in [0, 2^32)")
        if self.minimum < 0:
            raise InputError("minimum", got=self.minimum, allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        return hold_weights(
            network, self._hashed, method=_NAME, keep=self.keep, minimum=self.minimum
        )

    def _hashed(self, layer: Layer, weight: torch.Tensor | Masked) -> Code | str:
        if isinstance(weight, Masked):
            return "it is pruned, and hashing would lose its zeros"
        if weight.numel() > MOST_ELEMENTS:
            return f"more than {MOST_ELEMENTS:,} weights"
        count = math.ceil(weight.numel() / self.factor)
        seed = (self.seed << 31) + (crc32(layer.weight.encode()) >> 1)
        return Hashed.encode(weight, count, seed=seed)


METHOD = ShareHashing
EXAMPLE = ShareHashing(factor=2.0, minimum=64)
IDENTITY = ShareHashing(minimum=1 << 40)
