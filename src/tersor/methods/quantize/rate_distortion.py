"""Rate-distortion quantization: fewer bits where they do not matter.

Each weight, and each bias, becomes integers times one step. Step and roundings are chosen so
that

    D + lambda R,     D = sum_i F_i (w_i - step q_i)^2,    R = bits of the coded integers

is small: F_i says how much an error of this weight matters (without samples all count alike),
and lambda is the same for all tensors, so that each bit buys as much everywhere. F_i is the
geometric mean of how strongly the outputs feel the weight (`train.importance`) and how
strongly they feel those of its tensor on average: a weight that the samples hardly reach
matters too, and errors add up (measured: better than either alone). Roundings are weighed with
the entropy of the integers (`arrays.rate_distortion`), steps with the bytes that the codec
`context` takes for them, with all that it knows of their places. Zeros, masked or found here,
stay zeros in later training.

lambda = rate * mean(F w^2): a bit may cost that part of what losing an average weight costs.

Source: Wiedemann et al., "DeepCABAC", arXiv:1907.11900; importance: Choi, El-Khamy, Lee,
"Towards the limit of network quantization", arXiv:1612.01543.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.rate_distortion import MOST, Codes, Floats, round_by_rate
from tersor.codecs.codec import Part
from tersor.codecs.context import CODEC
from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.network.holding import reason_against
from tersor.network.layers import Layer, layers
from tersor.network.network import Network, Note
from tersor.train.importance import importance

_NAME = "quantize.rate_distortion"
_STEPS = 14  # that are tried, from MOST integers on either side to one
_LEAST = 1e-6  # of the mean: what no sample reached matters a little
_FINALISTS = 3  # of which the bytes are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRateDistortion:
    """Integers whose bits pay.

    Attributes:
        rate: What a bit may cost: the part of what losing an average weight costs.
        biases: Whether biases are rounded, too.
        seed: Of what is drawn to tell which weights matter.
        keep: Names of layers that stay as they are.
    """

    rate: float = 0.003
    biases: bool = True
    seed: int = 0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InputError("rate", got=self.rate, allowed="in (0, 1)")
        if self.seed < 0:
            raise InputError("seed", got=self.seed, allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Looks at samples where there are any; needs none."""
        result = network.copy()
        chosen, notes = self._chosen(result)
        matters = {} if samples is None else importance(network, samples, seed=self.seed)
        tensors = [
            _tensor(result, path, matters) for layer in chosen for path in _paths(layer)
        ]
        total = sum(float((t.importance * np.square(t.dense)).sum()) for t in tensors)
        price = self.rate * total / max(1, sum(t.dense.size for t in tensors))
        held = {}
        for layer in chosen:
            bits = 0.0
            for path in _paths(layer)[: 1 + self.biases]:
                held[path], own = _coded(_tensor(result, path, matters), price)
                bits += own
            code = held[layer.weight]
            text = f"{code.describe()}, {bits / 8:,.0f} bytes"
            notes.append(Note(layer.name, _NAME, done=True, text=text))
        result.set_codes(held)
        return result.with_notes(*notes)

    def _chosen(self, network: Network) -> tuple[list[Layer], list[Note]]:
        found, notes, seen = [], [], set[str]()
        names = {layer.name for layer in layers(network)}
        unknown = sorted(set(self.keep) - names)
        if unknown:
            raise ModelError(unknown[0], "is not a layer", "See `tersor inspect` for names.")
        for layer in layers(network):
            reason = self._reason_against(network, layer)
            if not reason and seen & set(_paths(layer)):
                reason = "its weight is another layer's"
            if reason:
                notes.append(Note(layer.name, _NAME, done=False, text=reason))
                continue
            seen |= set(_paths(layer))
            found.append(layer)
        return found, notes

    def _reason_against(self, network: Network, layer: Layer) -> str | None:
        reason = reason_against(network, layer, self.keep)
        if reason is not None:
            return reason
        if layer.bias and network.is_coded(layer.bias):
            return "its bias is compressed already"
        for path in _paths(layer):
            if not bool(torch.isfinite(network.tensor(path)).all()):
                raise ModelError(path, "holds NaN or infinity", "Repair or exclude it.")
        return None


@dataclass(frozen=True)
class _Tensor:
    """A weight or bias: its values and what their errors cost, of one shape."""

    dense: Floats
    importance: Floats


def _paths(layer: Layer) -> list[str]:
    return [layer.weight] + ([layer.bias] if layer.bias else [])


def _tensor(network: Network, path: str, matters: dict[str, torch.Tensor]) -> _Tensor:
    dense = network.tensor(path).detach().double().cpu().numpy()
    found = matters.get(path, matters.get(f"{path}.weight"))
    if found is None:
        return _Tensor(dense, np.ones_like(dense))
    known: NDArray[np.float64] = found.cpu().numpy()
    mean = known.mean() + 1e-30
    return _Tensor(dense, np.sqrt(np.maximum(known, _LEAST * mean) * mean))


def _coded(tensor: _Tensor, price: float) -> tuple[Affine, float]:
    """A tensor as the integers of the best step, and their bits."""
    largest = float(np.abs(tensor.dense).max(initial=0.0))
    if largest == 0:
        return _affine(np.zeros(tensor.dense.shape, np.int16), 1.0), 8.0
    flat, matters = tensor.dense.reshape(-1), tensor.importance.reshape(-1)
    found: list[tuple[float, float, float, Codes]] = []
    for step in np.geomspace(largest / MOST, 1.2 * largest, _STEPS):
        codes, error, bits = round_by_rate(flat, matters, float(step), price)
        found.append((error + price * bits, error, float(step), codes))
    found.sort(key=lambda each: each[0])
    best, least, size = found[0], np.inf, 0.0
    for option in found[:_FINALISTS]:
        bits = _bits(option[3].reshape(tensor.dense.shape))
        if option[1] + price * bits < least:
            best, least, size = option, option[1] + price * bits, bits
    return _affine(best[3].reshape(tensor.dense.shape), best[2]), size


def _bits(codes: Codes) -> float:
    """Of the integers as the codec writes them."""
    data = codes.astype(np.int8).tobytes()
    return 8.0 * len(CODEC().encode(data, (Part(len(data), 8, codes.shape),)))


def _affine(codes: Codes, step: float) -> Affine:
    dense = torch.from_numpy(codes.astype(np.float32) * np.float32(step))
    mask = torch.from_numpy(codes != 0)
    return Affine(Masked.encode(dense, mask), torch.tensor(step, dtype=torch.float32), bits=8)


METHOD = QuantizeRateDistortion
EXAMPLE = QuantizeRateDistortion(rate=0.01)
IDENTITY = None
