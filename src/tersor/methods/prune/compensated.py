"""Compensated pruning: zeros at once, and all other weights make up for them.

Layer after layer, in the order in which a network computes them, a weight gets its zeros
where the layer's outputs change least, by the second moments of what it gets; what is left,
and a bias of the layer's own, is the least squares solution for these zeros. Inputs come from
layers that were pruned, and are made up for, too: outputs are to be what they were in the
exact network. How that is found, exactly where weights are small and column by column where
they are large, is told in `arrays.surgeon`.

Of the n weights of a layer round(sparsity * n) become 0, or with m, of every m consecutive
inputs n stay, as with `prune.n_of_m`. Zeros of a mask that is there stay zeros, and others
make up for them. Shapes do not change, and nothing is trained: `train.fine_tune` after it
regains more. Samples need no labels; at most 256 are looked at, see `network.moments`.

Measured without any training, 2,000 validation images of ResNet-20, 99.95 % of them right:
at 50 % zeros 99.55 % (`prune.magnitude`: 96.05 %), at 70 % 97.95 % (54.05 %), with 2 of every
4 98.7 % (`prune.n_of_m`: 76.65 %). ResNet-44 takes a minute on one core. Depthwise
convolutions, nine weights for each output, have little to make up with: MobileNetV2 at 50 %
zeros gets 19 % of 200 images right, not 94 %; 63 % if they are left alone, see `keep`.

Source: Hassibi, Stork, "Second order derivatives for network pruning: optimal brain surgeon",
NeurIPS 1992; Frantar, Singh, Alistarh, "Optimal brain compression", arXiv:2208.11580;
Frantar, Alistarh, "SparseGPT", arXiv:2301.00774.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.compensation import Seen
from tersor.arrays.surgeon import Pattern, Pruned, pruned
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError
from tersor.network.holding import reason_against
from tersor.network.layers import Layer, weighted_layers
from tersor.network.moments import Lockstep, Moments, as_rows, as_weight
from tersor.network.network import Network
from tersor.network.pruning import SMALLEST, inputs_axis, prunable, undivided

_NAME = "prune.compensated"
_UNTOLD = "what it gets is not told by one value and a window"
_SHARED = "several layers have its weight"
_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneCompensated:
    """Zeros that all other weights of the layer make up for.

    Attributes:
        sparsity: The fraction of weights of each layer that becomes 0, in [0, 1).
        n: With m: how many of every m consecutive inputs stay.
        m: 0: any weights may go; else sparsity does not count.
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.5
    n: int = 0
    m: int = 0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError("sparsity", got=self.sparsity, allowed="in [0, 1)")
        if self.m < 0:
            raise InputError("m", got=self.m, allowed="0 or more")
        if not min(1, self.m) <= self.n <= self.m:
            allowed = f"1 to m = {self.m}" if self.m else "0 without m"
            raise InputError("n", got=self.n, allowed=allowed)

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs samples, unless nothing is to go."""
        result = network.copy()
        if self.n == self.m and (self.m or not self.sparsity):
            return result.with_notes(*prunable(result, _NAME, self.keep).told())
        steps, against = self._steps(network, _enough(network, samples))
        found = prunable(result, _NAME, self.keep, lambda layer: against.get(layer.name))
        names = [layer.name for layer in found.layers]
        codes = dict(zip(names, found.codes, strict=True))
        for moments in steps:
            layer, code = moments.layer, codes[moments.layer.name]
            made = self._pruned(network, moments, code)
            _hold(code, layer, made)
            steps.put(layer.weight, code.decode().detach())
            if moments.biased and layer.bias is not None:
                bias = torch.from_numpy(made.weights[:, :, -1].reshape(-1))
                result.set_tensor(layer.bias, bias.to(network.tensor(layer.bias)))
                steps.put(layer.bias, bias)
        return result.with_notes(*found.told())

    def _steps(self, network: Network, samples: Samples) -> tuple[Lockstep, dict[str, str]]:
        """The layers to prune, one after the other; by name, what speaks against others."""
        able = weighted_layers(network)
        readers = Counter(layer.weight for layer in able)
        against = {layer.name: _SHARED for layer in able if readers[layer.weight] > 1}
        for layer in able:
            reason = undivided(layer, self.m) if self.m else None
            if not layer.op.startswith("conv") and len(layer.shape) != _MATRIX:
                reason = _UNTOLD
            if reason is not None:
                against.setdefault(layer.name, reason)
        chosen = [
            layer
            for layer in able
            if layer.name not in against
            and reason_against(network, layer, self.keep, SMALLEST) is None
        ]
        steps = Lockstep(network, chosen, samples)
        left = (layer for layer in chosen if layer not in steps.layers)
        return steps, {**against, **{layer.name: _UNTOLD for layer in left}}

    def _pruned(self, network: Network, moments: Moments, code: Masked) -> Pruned:
        layer, seen = moments.layer, moments.seen
        weights = as_rows(_doubles(network.tensor(layer.weight)), layer)
        allowed = as_rows(code.mask.cpu().numpy(), layer)
        if moments.biased and layer.bias is not None:
            column = _doubles(network.tensor(layer.bias)).reshape(*weights.shape[:2], 1)
            weights = np.concatenate([weights, column], 2)
        pattern = Pattern(self.sparsity, self.n, self.m)
        if not self.m:
            return pruned(weights, seen, allowed, pattern)
        order = _by_taps(layer, weights.shape[2])
        back, count = np.argsort(order), allowed.shape[2]
        seen = Seen(*(each[:, order][:, :, order] for each in seen))
        made = pruned(weights[:, :, order], seen, allowed[:, :, order[:count]], pattern)
        return Pruned(made.weights[:, :, back], made.mask[:, :, back[:count]])


def _enough(network: Network, samples: Samples | None) -> Samples:
    """The samples, where there are some, and a batch of them."""
    if samples is None:
        raise InputError("samples", got=None, allowed=f"given: {_NAME} looks at activations")
    size = network.fixed_batch or 1
    if len(samples) < size:
        problem = f"are {len(samples)}, fewer than the {size} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    return samples


def _by_taps(layer: Layer, width: int) -> NDArray[np.intp]:
    """Columns such that inputs of one tap follow each other; what is behind stays there."""
    inputs = layer.shape[inputs_axis(layer)]
    taps = math.prod(layer.shape) // (inputs * layer.shape[layer.channel_axis])
    order = np.arange(inputs * taps).reshape(inputs, taps).T.reshape(-1)
    return np.concatenate([order, np.arange(order.size, width)])


def _hold(code: Masked, layer: Layer, made: Pruned) -> None:
    """Have a code of one's own hold what became of a weight."""
    count = made.mask.shape[2]
    values, mask = as_weight(made.weights[:, :, :count], layer), as_weight(made.mask, layer)
    with torch.no_grad():
        stays = torch.from_numpy(mask).to(code.mask.device)
        moved = torch.from_numpy(values).to(code.weight)
        code.weight.copy_(torch.where(stays, moved, code.weight))
    code.set_mask(stays)


def _doubles(tensor: torch.Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    return found


METHOD = PruneCompensated
EXAMPLE = PruneCompensated()
IDENTITY = PruneCompensated(sparsity=0.0)
