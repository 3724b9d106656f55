"""What a network says to a few samples: the measure of networks that are made of it.

The first samples also show the mean error that roundings leave, by which biases are
corrected, see `network.bias`: only where the outputs come nearer to what they were.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from tersor.arrays.noise import Noise
from tersor.codes.affine import Affine
from tersor.codes.code import Code
from tersor.data.samples import Batch, Samples
from tersor.network.bias import exact_means, mean_errors
from tersor.network.network import Array, Network
from tersor.network.running import batch_size_of, for_running
from tersor.network.workers import over_batches

_SAMPLES = 32  # enough for means of errors
_COMPARED = 16  # enough to tell noise of networks apart
_BATCH = 16


class Trial:
    """Compares networks with one whose outputs are kept.

    Args:
        network: The one to compare with.
        samples: Inputs; the first 32 are looked at, the outputs of 16 are compared.
    """

    def __init__(self, network: Network, samples: Samples) -> None:
        self._size = batch_size_of(network, _BATCH)
        count = _SAMPLES if network.fixed_batch is None else _whole(_SAMPLES, self._size)
        self._samples = samples.take(0, count)
        self._exact = list(self._outputs(network))
        self._means = exact_means(network, self._samples)

    def _batches(self) -> Iterator[Batch]:
        return self._samples.take(0, _whole(_COMPARED, self._size)).batches(self._size)

    def _outputs(self, network: Network) -> Iterator[dict[str, Array]]:
        running = for_running(network)

        def make() -> Callable[[Batch], dict[str, Array]]:
            return lambda batch: _floats(running.run(batch.inputs))

        return over_batches(make, self._batches(), network.device)

    def noise(self, changed: Network) -> float:
        """Error power over signal power of the worst output; 0 where none is a float."""
        total = Noise()
        for index, found in enumerate(self._outputs(changed)):
            total.add(index * self._size, self._exact[index], found)
        return max((total.relative_power(name) for name in total.signal), default=0.0)

    def corrected(self, changed: Network) -> tuple[Network, float]:
        """A rounded network, its biases corrected if that is better, and its noise."""
        other = _corrected(changed, mean_errors(changed, self._samples, self._means))
        before, after = self.noise(changed), self.noise(other)
        return (other, after) if after < before else (changed, before)


def fits(bias: torch.Tensor, scale: torch.Tensor) -> bool:
    """Whether 32 bits hold a bias at that scale."""
    return bool((bias.abs() / scale.double()).max() < 2**31 - 1)


def _whole(most: int, size: int) -> int:
    """How many samples make whole batches: `most` or so."""
    return max(size, most // size * size)


def _floats(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.atleast_1d(a) for name, a in outputs.items() if a.dtype.kind == "f"}


def _corrected(network: Network, errors: Mapping[str, torch.Tensor]) -> Network:
    result = network.copy()
    codes: dict[str, Code] = {}
    for name, error in errors.items():
        code = network.code(name)
        if code is None:
            bias = network.tensor(name)
            result.set_tensor(name, (bias.detach().double() + error).to(bias.dtype))
        elif isinstance(code, Affine) and code.bits == 32:
            bias = code.latent.detach() + error
            if fits(bias, code.scale):
                codes[name] = Affine(bias, code.scale, bits=32, axis=code.axis)
    result.set_codes(codes)
    return result
