"""Static quantization after training: weights and activations in eight bits (W8A8).

Batch normalization is folded into the layer before it. Then

    weights      int8, symmetric, one scale per output channel, nothing clamped; seven bits
                 of it where kernels add pairs of products in 16 bits (`arrays.saturation`)
    biases       int32, scale = input scale * weight scale, less the mean error that all
                 roundings up to there leave in the layer's result, see `network.bias`, if
                 that makes the outputs better
    activations  uint8, asymmetric, one scale and zero point per tensor, from samples

Which activations are rounded is the matter of `network.points`: so many that integer
kernels run from end to end.

A layer that costs too much stays float: while the output's signal-to-noise ratio is below
`min_sqnr_db`, the layer that alone makes the most noise, and more than three times its equal
share or more than half of all, goes back to float. Noise of several layers is taken to add up;
what each makes alone, before biases are corrected, is estimated by `network.sensitivity` and
left in the notes.

Source: Jacob et al., arXiv:1712.05877; Nagel et al., "A white paper on neural network
quantization", arXiv:2106.08295, sections 2 and 3.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from torch import fx

from tersor.arrays import ranges
from tersor.arrays.affine import scale_and_zero_point
from tersor.arrays.histogram import Histogram
from tersor.codes.affine import Affine
from tersor.codes.code import Code
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.machine import isa_flags, pairs_saturate
from tersor.network.fold import fold_batch_norm
from tersor.network.holding import other_type
from tersor.network.layers import Layer, layers
from tersor.network.network import Network, Note
from tersor.network.observe import observe
from tersor.network.points import input_of, only_moves, points
from tersor.network.quantizer import ActivationQuantizer
from tersor.network.sensitivity import layer_noise
from tersor.network.trial import Trial, fits

_NAME = "quantize.static"
_OPS = {"conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "matmul", "addmm"}
_CODES = (0, 255)
_RANGES = ("minmax", "percentile", "mse", "entropy")
_MEASURING_SAMPLES = 16  # enough to tell a costly layer from a cheap one

Grid = tuple[float, int]  # scale and zero point


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeStatic:
    """Run layers in eight-bit integers.

    Attributes:
        ranges: How activation ranges are chosen: "minmax", "percentile", "mse" or "entropy".
        percent: The percentile, in (50, 100]; used with ranges="percentile" only.
        samples: How many samples to look at, at most.
        min_sqnr_db: Layers go back to float until the outputs keep this signal-to-noise ratio.
        keep: Names of layers that stay float.
        weight_bits: 2 to 8; None for 8, or 7 where this machine's kernels would saturate.
    """

    ranges: Literal["minmax", "percentile", "mse", "entropy"] = "mse"
    percent: float = 99.99
    samples: int = 512
    min_sqnr_db: float = 20.0
    keep: tuple[str, ...] = ()
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        if self.ranges not in _RANGES:
            raise InputError("ranges", got=self.ranges, allowed="one of " + ", ".join(_RANGES))
        if not 50.0 < self.percent <= 100.0:
            raise InputError("percent", got=self.percent, allowed="in (50, 100]")
        if self.samples < 1:
            raise InputError("samples", got=self.samples, allowed="at least 1")
        if self.weight_bits is not None and not 2 <= self.weight_bits <= 8:
            raise InputError("weight_bits", got=self.weight_bits, allowed="2 to 8")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`."""
        if samples is None:
            raise InputError(
                "samples", got=None, allowed=f"given: {_NAME} looks at activations"
            )
        seen = samples.take(0, self.samples)
        folded = fold_batch_norm(network)
        chosen, notes = self._choose(folded)
        found = points(folded.graph, chosen)
        makers = [
            [n.name for n in group if not only_moves(n, found)] for group in found.groups
        ]
        trial = Trial(folded, seen)
        histograms = observe(folded, chain.from_iterable(makers), seen, trial)
        grids: dict[str, Grid] = {}
        for group, names in zip(found.groups, makers, strict=True):
            grid = self._grid([histograms[name] for name in names])
            grids.update((node.name, grid) for node in group)
        plan = _Plan(folded, grids, self.weight_bits or bits_for(isa_flags()))
        whole = plan.quantized(chosen)
        nodes = (layer.node for layer in chosen)
        noise = layer_noise(folded, whole, nodes, seen.take(0, _MEASURING_SAMPLES))
        result, together = trial.corrected(whole)
        kept = self._too_costly(together, chosen, noise)
        if kept:
            some = plan.quantized(layer for layer in chosen if layer.name not in kept)
            result, _ = trial.corrected(some)
        for layer in chosen:
            text = kept.get(layer.name, plan.describe())
            done = layer.name not in kept
            notes.append(Note(layer.name, _NAME, done, text, noise.get(layer.node)))
        return result.with_notes(*notes)

    def _choose(self, network: Network) -> tuple[list[Layer], list[Note]]:
        """The layers to quantize, and a note for each of the others."""
        found = layers(network)
        unknown = sorted(set(self.keep) - {layer.name for layer in found})
        if unknown:
            raise ModelError(unknown[0], "is not a layer", "See `tersor inspect` for names.")
        chosen, notes = [], []
        for layer in found:
            reason = self._reason_against(network, layer)
            if reason is None:
                chosen.append(layer)
            else:
                notes.append(Note(layer.name, _NAME, done=False, text=reason))
        return chosen, notes

    def _reason_against(self, network: Network, layer: Layer) -> str | None:
        if not layer.compressible:
            return layer.reason
        if layer.name in self.keep:
            return "kept float as asked"
        if layer.op not in _OPS:
            return f"{layer.op} has no integer kernel"
        held = network.code(layer.weight)
        if held is not None and not isinstance(held, Masked):
            return "its weight is compressed already"
        return other_type(network, layer)

    def _grid(self, histograms: list[Histogram]) -> Grid:
        together = histograms[0]
        for other in histograms[1:]:
            together = together.merge(other)
        if self.ranges == "minmax":
            ends = ranges.minmax(together)
        elif self.ranges == "percentile":
            ends = ranges.percentile(together, percent=self.percent)
        else:
            choose = ranges.mse if self.ranges == "mse" else ranges.entropy
            ends = choose(together, codes=_CODES)
        return scale_and_zero_point(*ends, codes=_CODES)

    def _too_costly(
        self, together: float, chosen: list[Layer], noise: Mapping[str, float]
    ) -> dict[str, str]:
        """Names of the layers that go back to float, and why.

        What each alone makes is known before biases are corrected, what all make together
        only after: so a layer is taken to leave with its share.
        """
        allowed = 10 ** (-self.min_sqnr_db / 10)
        left = {layer.name: noise[layer.node] for layer in chosen if layer.node in noise}
        whole = sum(left.values())
        kept: dict[str, str] = {}
        while together * sum(left.values()) > allowed * whole:
            worst = max(left, key=lambda name: left[name])
            share = left[worst] / sum(left.values())
            if share <= min(3 / len(left), 0.5):
                break
            kept[worst] = (
                f"alone makes {share:.0%} of the noise, fair would be {1 / len(left):.0%}"
            )
            del left[worst]
        return kept


def bits_for(flags: Collection[str]) -> int:
    """Bits of a weight that are safe on a processor of these instruction sets."""
    return 7 if pairs_saturate(flags) else 8


class _Plan:
    """A folded network and the grids of its activations, to make quantized ones from."""

    def __init__(self, network: Network, grids: dict[str, Grid], bits: int) -> None:
        self.network, self.grids, self.bits = network, grids, bits

    def describe(self) -> str:
        """What is done to a layer."""
        return f"int{self.bits} weights per channel, uint8 activations"

    def quantized(self, chosen: Iterable[Layer]) -> Network:
        """The network with `chosen` in integers."""
        chosen = list(chosen)
        result = self.network.copy()
        self._round_activations(result, chosen)
        nodes = {node.name: node for node in result.graph.nodes}
        codes: dict[str, Code] = {}
        for layer in chosen:
            codes |= self._hold(result, layer, nodes[layer.node])
        result.set_codes(codes)
        return result

    def _round_activations(self, network: Network, chosen: list[Layer]) -> None:
        found = points(network.graph, chosen)
        names = {node: found.groups[index][0].name for node, index in found.of.items()}
        made: set[str] = set()
        last_input = [n for n in network.graph.nodes if n.op == "placeholder"][-1]
        for node, name in names.items():
            path = f"quantizers.{name}"
            if name not in made:
                made.add(name)
                network.module.add_submodule(path, ActivationQuantizer(*self.grids[node.name]))
            with network.graph.inserting_after(
                last_input if node.op == "placeholder" else node
            ):
                rounded = network.graph.call_module(path, (node,))
            rounded.meta = dict(node.meta)
            for reader in found.readers[node]:
                reader.replace_input_with(node, rounded)

    def _hold(self, network: Network, layer: Layer, node: fx.Node) -> dict[str, Code]:
        """The weight in int8, and the bias in int32 of the accumulator's scale, by name."""
        weight = network.code(layer.weight) or network.tensor(layer.weight)
        code = Affine.encode(weight, bits=self.bits, axis=layer.channel_axis)
        held: dict[str, Code] = {layer.weight: code}
        source = input_of(node)
        if layer.bias is None or not isinstance(source, fx.Node) or source.op != "call_module":
            return held
        quantizer = network.module.get_submodule(str(source.target))
        if isinstance(quantizer, ActivationQuantizer) and not network.is_coded(layer.bias):
            bias = network.tensor(layer.bias).double()
            repeats = bias.numel() // max(1, code.scale.numel())
            scale = (quantizer.scale * code.scale.reshape(-1)).repeat(repeats)
            if fits(bias, scale):
                held[layer.bias] = Affine(bias, scale, bits=32, axis=0)
        return held


METHOD = QuantizeStatic
EXAMPLE = QuantizeStatic(ranges="minmax")
IDENTITY = None
