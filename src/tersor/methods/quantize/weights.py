"""Weight-only quantization: weights as integers, activations as they are.

Each weight is held by integers of `bits` bits and one scale per output channel,

    w ~ scale[channel] * q,   scale = max|w| / (2^(bits-1) - 1),

so that nothing is clamped and no element moves by more than half a scale. Needs no
samples. The file gets smaller; an engine expands the weights while loading and then
is as fast as with floats.

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
arXiv:1806.08342, section 3.
"""

from dataclasses import dataclass

from tersor.codes.affine import Affine
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.network.layers import Layer, layers
from tersor.network.network import Network, Note

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
        result = network.copy()
        found = layers(result)
        unknown = sorted(set(self.keep) - {layer.name for layer in found})
        if unknown:
            raise ModelError(unknown[0], "is not a layer", "See `tersor inspect` for names.")
        notes = [self._hold(result, layer) for layer in found]
        return result.with_notes(*notes)

    def _hold(self, network: Network, layer: Layer) -> Note:
        reason = self._reason_against(network, layer)
        if reason is not None:
            return Note(layer.name, _NAME, done=False, text=reason)
        weight = network.tensor(layer.weight)
        code = Affine.encode(weight, bits=self.bits, axis=layer.channel_axis)
        network.set_code(layer.weight, code)
        return Note(layer.name, _NAME, done=True, text=code.describe() + " weights")

    def _reason_against(self, network: Network, layer: Layer) -> str | None:
        if not layer.compressible:
            return layer.reason
        if layer.name in self.keep:
            return "kept float as asked"
        if network.is_coded(layer.weight):
            return "its weight is compressed already"
        if network.tensor(layer.weight).numel() < self.minimum:
            return f"fewer than {self.minimum} weights"
        return None


METHOD = QuantizeWeights
EXAMPLE = QuantizeWeights(bits=8)
IDENTITY = None
