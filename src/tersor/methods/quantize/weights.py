"""Weight-only quantization: weights as integers, activations as they are.

Each weight is held by integers of `bits` bits and one scale per output channel,

    w ~ scale[channel] * q,   scale = max|w| / (2^(bits-1) - 1),

so that nothing is clamped and no element moves by more than half a scale. Zeros of a mask
stay zeros. Needs no samples. The file gets smaller; an engine expands the weights while
loading and then is as fast as with floats.

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
arXiv:1806.08342, section 3.
"""

from dataclasses import dataclass

import torch

from tersor.codes.affine import Affine
from tersor.codes.code import Code
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.holding import hold_weights
from tersor.network.layers import Layer
from tersor.network.network import Network

_NAME = "quantize.weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeWeights:
    """Hold weights by integers, per output channel.

    Attributes:
        bits: Bits per weight, 2 to 8.
        minimum: Weights of fewer elements stay float: their scales would outweigh the saving.
        keep: Names of layers that stay float.
    """

    bits: int = 8
    minimum: int = 64
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise InputError("bits", got=self.bits, allowed="2 to 8")
        if self.minimum < 0:
            raise InputError("minimum", got=self.minimum, allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        return hold_weights(
            network, self._rounded, method=_NAME, keep=self.keep, minimum=self.minimum
        )

    def _rounded(self, layer: Layer, weight: torch.Tensor | Masked) -> Code:
        return Affine.encode(weight, bits=self.bits, axis=layer.channel_axis)


METHOD = QuantizeWeights
EXAMPLE = QuantizeWeights(bits=8)
IDENTITY = None
