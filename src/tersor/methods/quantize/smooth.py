"""Scale migration: outliers of activations move into the weights that read them.

A channel c of a value x that linear layers W_1, W_2, ... read is divided by s[c], and column c
of every W multiplied by it,

    W x = (W diag(s)) (x / s),     s[c] = max|x[c]|^alpha / max|W[:, c]|^(1 - alpha)

so that outputs stay what they were, up to rounding of floats, and both factors are easier to
round to integers. The division is done by what makes x: the weight and bias of a LayerNorm or
RMSNorm, or of a linear layer (also the values of an attention), if nobody else reads them.
Where somebody does, as a residual sum does behind a normalization, x is divided for the
layers alone, by one multiplication with 1 / s.

Of several strengths alpha, the one is taken for each x that makes the least error when x is
rounded to eight bits per tensor and W to eight per channel, on some rows of the samples; none,
where rounding without migration is best. A multiplication of its own has to take a tenth off
the error.

Source: Xiao et al., "SmoothQuant", arXiv:2211.10438, equations (3) and (4).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.network.features import Features, features
from tersor.network.holding import other_type
from tersor.network.layers import Layer, layers
from tersor.network.makers import Maker, maker_of
from tersor.network.network import Network, Note
from tersor.network.points import input_of

_NAME = "quantize.smooth"
_OPS = {"linear", "matmul", "addmm"}
_GAIN = 0.9  # of the error must be left, at most, to pay for a multiplication
_ROWS = 512

aten = torch.ops.aten


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeSmooth:
    """Move outliers of activations into weights, before both are rounded.

    Attributes:
        alphas: Strengths to try, each in [0, 1]: 0 evens out the weights, 1 the activations.
        samples: How many samples to look at, at most; no fewer than the step that rounds
            does, or an outlier in the others makes its range wide.
        insert: Whether to multiply where nothing can take the factors over.
        keep: Names of layers whose input stays as it is.
    """

    alphas: tuple[float, ...] = (0.35, 0.5, 0.65, 0.8, 0.95)
    samples: int = 512
    insert: bool = True
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.alphas or not all(0.0 <= a <= 1.0 for a in self.alphas):
            raise InputError("alphas", got=self.alphas, allowed="at least one, in [0, 1]")
        if self.samples < 1:
            raise InputError("samples", got=self.samples, allowed="at least 1")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`."""
        if samples is None:
            raise InputError(
                "samples", got=None, allowed=f"given: {_NAME} looks at activations"
            )
        result = network.copy()
        groups, notes = self._groups(result)
        nodes = {node.name: node for node in result.graph.nodes}
        seen = features(result, groups, samples.take(0, self.samples), rows=_ROWS)
        for name, group in groups.items():
            text = self._migrate(result, nodes[name], group, seen[name])
            done = not text.startswith("rounds")
            notes += [Note(layer.name, _NAME, done=done, text=text) for layer in group]
        result.module.recompile()
        return result.with_notes(*notes)

    def _groups(self, network: Network) -> tuple[dict[str, list[Layer]], list[Note]]:
        """The layers by the name of the value that they read, and a note for the others."""
        found = layers(network)
        unknown = sorted(set(self.keep) - {layer.name for layer in found})
        if unknown:
            raise ModelError(unknown[0], "is not a layer", "See `tersor inspect` for names.")
        nodes = {node.name: node for node in network.graph.nodes}
        groups: dict[str, list[Layer]] = {}
        notes = []
        for layer in found:
            source = input_of(nodes[layer.node])
            reason = self._reason_against(network, layer, source)
            if reason is None and isinstance(source, fx.Node):
                groups.setdefault(source.name, []).append(layer)
            else:
                notes.append(Note(layer.name, _NAME, done=False, text=str(reason)))
        return groups, notes

    def _reason_against(self, network: Network, layer: Layer, source: object) -> str | None:
        if not layer.compressible:
            return layer.reason
        against = {
            "kept as asked": layer.name in self.keep,
            f"{layer.op} is no linear layer of a matrix": (
                layer.op not in _OPS or len(layer.shape) != 2
            ),
            "its weight is compressed already": network.is_coded(layer.weight),
            "its weight is shared": _reads(network, layer.weight) > 1,
            "it reads no activation": not isinstance(source, fx.Node)
            or source.op == "get_attr",
        }
        reason = next((reason for reason, holds in against.items() if holds), None)
        return reason or other_type(network, layer)

    def _migrate(
        self, network: Network, node: fx.Node, group: list[Layer], seen: Features
    ) -> str:
        """Divide the value by its factors, and say how."""
        maker = maker_of(network, node, [layer.node for layer in group])
        if maker is None and not self.insert:
            return "rounds as it is: nothing can take the factors over"
        weights = [_columns_last(network.tensor(layer.weight), layer) for layer in group]
        plain = _error(seen.rows, weights)
        tried = {}
        for alpha in self.alphas:
            factors = _factors(seen.peaks, weights, alpha)
            error = _error(seen.rows / factors, [w * factors for w in weights])
            tried[alpha] = error, factors
        best = min(tried, key=lambda alpha: tried[alpha][0])
        error, factors = tried[best]
        if error >= plain * (1.0 if maker is not None else _GAIN):
            return "rounds best as it is"
        _divide(network, node, group, maker, factors)
        for layer, weight in zip(group, weights, strict=True):
            scaled = _columns_last(weight * factors, layer)
            network.set_tensor(layer.weight, scaled.contiguous())
        where = f"into {maker.title}" if maker is not None else "by a multiplication"
        left = (error / plain) ** 0.5 if plain else 1.0
        return f"factors of strength {best:g} moved {where}: {left:.0%} of the error is left"


def _reads(network: Network, path: str) -> int:
    """How many nodes read the tensor of that name."""
    found = (n for n in network.graph.nodes if n.op == "get_attr" and n.target == path)
    return sum(len(node.users) for node in found)


def _columns_last(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """The matrix as (outputs, inputs), and back again."""
    return weight.detach().T if layer.channel_axis == 1 else weight.detach()


def _factors(
    peaks: torch.Tensor, weights: Iterable[torch.Tensor], alpha: float
) -> torch.Tensor:
    """The factor of each channel; 1 for a channel that is always 0, or that nobody uses."""
    columns = torch.stack([w.abs().amax(0) for w in weights]).amax(0).float()
    used = (peaks > 0) & (columns > 0)
    x, w = peaks.clamp(min=1e-12).double(), columns.clamp(min=1e-12).double()
    factors = (x**alpha / w ** (1 - alpha)).clamp(1e-4, 1e4)
    return torch.where(used, factors, torch.ones_like(factors)).float()


def _error(rows: torch.Tensor, weights: Iterable[torch.Tensor]) -> float:
    """Error power of the products when rows and weights are rounded to eight bits.

    The range comes from every second row, so that the others show what clamping costs.
    """
    seen, rows = rows[::2], rows[1::2] if len(rows) > 1 else rows
    low, high = float(seen.amin().clamp(max=0)), float(seen.amax().clamp(min=0))
    scale = max((high - low) / 255, 1e-30)
    zero = round(-low / scale)
    rounded = torch.fake_quantize_per_tensor_affine(
        rows, scale, min(max(zero, 0), 255), 0, 255
    )
    total = 0.0
    for weight in weights:
        steps = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=1e-30)
        held = (weight / steps).round() * steps
        total += float((rounded @ held.T - rows @ weight.T).double().square().sum())
    return total


def _divide(
    network: Network,
    node: fx.Node,
    group: list[Layer],
    maker: Maker | None,
    factors: torch.Tensor,
) -> None:
    """Let the maker give the value divided by its factors, or do it for the layers alone."""
    if maker is not None:
        maker.divide(network, factors)
        return
    path = f"smooth.{node.name}"
    network.set_tensor(path, 1 / factors)
    readers = {layer.node for layer in group}
    with network.graph.inserting_after(node):
        inverse = network.graph.get_attr(path)
    with network.graph.inserting_after(inverse):
        divided = network.graph.call_function(aten.mul.Tensor, (node, inverse))
    divided.meta = dict(node.meta)
    for reader in list(node.users):
        if reader.name in readers:
            reader.replace_input_with(node, divided)


METHOD = QuantizeSmooth
EXAMPLE = QuantizeSmooth(alphas=(0.5,))
IDENTITY = None
