"""Rate-distortion quantization: fewer bits where they do not matter.

Each weight, and each bias, becomes integers times one step. Batch normalizations are folded
into the layers before them first (ResNet-20 is 11 % smaller at the same noise of its outputs:
no floats are left over, and one step for all rows is then right for what they give). Step and
roundings are chosen so that

    D + lambda R,     D = sum_i F_i (w_i - step q_i)^2,    R = bits of the coded integers

is small: F_i says how much an error of this weight matters (without samples all count alike),
and lambda is the same for all tensors, so that each bit buys as much everywhere. F_i is the
geometric mean of how strongly the outputs feel the weight (`train.importance`) and how
strongly they feel those of its tensor on average: a weight that the samples hardly reach
matters too, and errors add up (measured: better than either alone). Rows of an embedding all
matter alike: samples name few of its words, and texts to come name others. Roundings are
weighed with the entropy of the integers (`arrays.rate_distortion`), or after what is before
them in their row (`arrays.trellis`; it pays below two bits a weight, 1 % there), these and
steps with the bytes that the codec `context` takes for them, with all that it knows of their
places. Zeros, masked or found here, stay zeros in later training.

lambda = rate * mean(F w^2): a bit may cost that part of what losing an average weight costs.

With samples, weights of convolutions and linear layers are rounded one after the other; those
that are still free make up for the errors of those before (`arrays.compensation`) and of
layers before (`network.moments`), and biases for what is left of their mean. Measured on
SqueezeNet 1.1: outputs change as much at 1.2 bits a weight less. Pruned weights are rounded
each by itself: zeros stay, and what others would make up for is not made up for then (LeNet-5
at 98 % zeros: 31 % wrong, not 1 %).

Source: Wiedemann et al., "DeepCABAC", arXiv:1907.11900; importance: Choi, El-Khamy, Lee,
"Towards the limit of network quantization", arXiv:1612.01543.
"""

from dataclasses import dataclass

import numpy as np
import torch

from tersor.arrays.compensation import Rounded, rounded
from tersor.arrays.rate_distortion import Codes, Floats, options
from tersor.arrays.trellis import refined
from tersor.codecs.codec import Part
from tersor.codecs.context import CODEC
from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.network.fold import fold_batch_norm
from tersor.network.holding import reason_against
from tersor.network.layers import Layer, layers
from tersor.network.moments import Lockstep, Moments, as_rows, as_weight
from tersor.network.network import Network, Note
from tersor.train.importance import importance

_NAME = "quantize.rate_distortion"
_LEAST = 1e-6  # of the mean: what no sample reached matters a little
_LEAST_ROW = 1e-3  # of the mean of all rows
_TINY = 1e-30
_MOST_ZEROS = 0.01  # of a weight that makes up for errors
_FINALISTS = 3  # of which the bytes are counted

# What was folded last, and what it became, so that importance knows it again: see there.
_FOLDED: dict[tuple[object, ...], tuple[Network, Network]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRateDistortion:
    """Integers whose bits pay.

    Attributes:
        rate: What a bit may cost: the part of what losing an average weight costs.
        biases: Whether biases are rounded, too.
        compensate: Whether weights make up for each other's errors, where there are samples;
            pruned ones do not.
        seed: Of what is drawn to tell which weights matter.
        keep: Names of layers that stay as they are.
    """

    rate: float = 0.003
    biases: bool = True
    compensate: bool = True
    seed: int = 0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InputError("rate", got=self.rate, allowed="in (0, 1)")
        if self.seed < 0:
            raise InputError("seed", got=self.seed, allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Looks at samples where there are any; needs none."""
        network = _folded(network)
        result = network.copy()
        chosen, notes = self._chosen(result)
        matters = {} if samples is None else importance(network, samples, seed=self.seed)
        work = _Work(network, matters, biases=self.biases)
        work.set_price(chosen, self.rate)
        if self.compensate and samples is not None:
            work.in_turn(chosen, samples)
        else:
            work.alone(chosen)
        for layer in chosen:
            code, size = work.held[layer.weight], work.bits[layer.name] / 8
            text = f"{code.describe()}, {size:,.0f} bytes"
            notes.append(Note(layer.name, _NAME, done=True, text=text))
        for path, tensor in work.moved.items():
            result.set_tensor(path, tensor)
        result.set_codes(work.held)
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


class _Work:
    """Layers becoming codes.

    Attributes:
        held: Codes, by the dotted name of the weight or bias.
        moved: Biases that stay floats, but make up for errors of weights; by their names.
        bits: Of each layer as coded, by its name.
    """

    def __init__(
        self, network: Network, matters: dict[str, torch.Tensor], *, biases: bool
    ) -> None:
        self.held: dict[str, Affine] = {}
        self.moved: dict[str, torch.Tensor] = {}
        self.bits: dict[str, float] = {}
        self._network, self._matters, self._biases = network, matters, biases
        self._tables = {x.weight for x in layers(network) if x.op == "embedding"}
        self._price = 0.0

    def set_price(self, layers: list[Layer], rate: float) -> None:
        """A bit costs that part of what losing an average weight costs."""
        total, count = 0.0, 1
        for path in (path for layer in layers for path in _paths(layer)):
            dense = self._dense(path)
            total += float((self._blended(path) * np.square(dense)).sum())
            count += dense.size
        self._price = rate * total / count

    def alone(self, layers: list[Layer]) -> None:
        """Round each weight by itself."""
        for layer in layers:
            for path in _paths(layer)[: 1 + self._biases]:
                self._hold_alone(layer, path, self._dense(path))

    def in_turn(self, layers: list[Layer], samples: Samples) -> None:
        """Round layer after layer; what comes later makes up for errors before."""
        able = [layer for layer in layers if self._is_dense(layer.weight)]
        steps = Lockstep(self._network, able, samples)
        self.alone([layer for layer in layers if layer not in steps.layers])
        for path in self.held:
            steps.put(path, self._now(path))
        for moments in steps:
            layer, found = moments.layer, self._compensated(moments)
            self._hold(layer, layer.weight, as_weight(found.codes, layer), found.step)
            bias = found.rest.reshape(-1) if moments.biased else None
            for path in _paths(layer)[1:]:
                self._keep_bias(layer, path, self._dense(path) if bias is None else bias)
            for path in _paths(layer):
                steps.put(path, self._now(path))

    def _compensated(self, moments: Moments) -> Rounded:
        layer, own = moments.layer, moments.seen.own
        weights = as_rows(self._dense(layer.weight), layer)
        allowed = weights != 0
        felt = as_rows(self._felt(layer.weight), layer).sum(2)
        energy = np.diagonal(own, axis1=1, axis2=2)[:, : allowed.shape[2]].sum(1)
        importance = felt / (energy[:, None] + _TINY)
        importance += _LEAST_ROW * importance.mean()
        if moments.biased and layer.bias is not None:
            column = self._dense(layer.bias).reshape(*allowed.shape[:2], 1)
            weights = np.concatenate([weights, column], 2)
        return rounded(weights, moments.seen, importance, allowed, self._price)

    def _keep_bias(self, layer: Layer, path: str, bias: Floats) -> None:
        if self._biases:
            self._hold_alone(layer, path, bias)
        else:
            self.moved[path] = torch.from_numpy(bias.astype(np.float32))

    def _hold_alone(self, layer: Layer, path: str, dense: Floats) -> None:
        """Hold a tensor by the integers of the best step."""
        if not dense.any():
            self._hold(layer, path, np.zeros(dense.shape, np.int16), 1.0)
            return
        felt, price = self._blended(path), self._price
        found = options(dense, felt, price, most=_FINALISTS)
        if dense.ndim > 1:
            found += [refined(option, dense, felt, price) for option in found]
        costs = [option.error + price * _bits(option.codes) for option in found]
        best = found[int(np.argmin(costs))]
        self._hold(layer, path, best.codes, best.step)

    def _hold(self, layer: Layer, path: str, codes: Codes, step: float) -> None:
        dense = torch.from_numpy(codes.astype(np.float32) * np.float32(step))
        masked = Masked.encode(dense, torch.from_numpy(codes != 0))
        self.held[path] = Affine(masked, torch.tensor(step, dtype=torch.float32), bits=8)
        self.bits[layer.name] = self.bits.get(layer.name, 0.0) + _bits(codes)

    def _now(self, path: str) -> torch.Tensor:
        """What a weight or bias has become."""
        if path in self.held:
            return self.held[path].decode().detach()
        return self.moved.get(path, self._network.tensor(path).detach())

    def _is_dense(self, path: str) -> bool:
        """Whether there are weights to make up for others: zeros stay, and cannot."""
        return float((self._dense(path) != 0).mean()) > 1 - _MOST_ZEROS

    def _dense(self, path: str) -> Floats:
        found: Floats = self._network.tensor(path).detach().double().cpu().numpy()
        return found

    def _felt(self, path: str) -> Floats:
        """How much errors of each element matter; all alike where that is not known."""
        found = self._matters.get(path, self._matters.get(f"{path}.weight"))
        if found is None:
            return np.ones(tuple(self._network.tensor(path).shape))
        known: Floats = found.cpu().numpy()
        if path in self._tables:
            known = np.broadcast_to(known.mean(0), known.shape)
        return known

    def _blended(self, path: str) -> Floats:
        """How much errors matter, half of it that of the tensor on average."""
        felt = self._felt(path)
        mean = felt.mean() + _TINY
        blended: Floats = np.sqrt(np.maximum(felt, _LEAST * mean) * mean)
        return blended


def _folded(network: Network) -> Network:
    """Without batch normalizations; the very same network where it is asked for again."""
    key = id(network), network.stamp
    if key not in _FOLDED:
        _FOLDED.clear()
        _FOLDED[key] = network, fold_batch_norm(network)
    return _FOLDED[key][1]


def _paths(layer: Layer) -> list[str]:
    return [layer.weight] + ([layer.bias] if layer.bias else [])


def _bits(codes: Codes) -> float:
    """Of the integers as the codec writes them."""
    data = codes.astype(np.int8).tobytes()
    return 8.0 * len(CODEC().encode(data, (Part(len(data), 8, codes.shape),)))


METHOD = QuantizeRateDistortion
EXAMPLE = QuantizeRateDistortion(rate=0.01)
IDENTITY = None
