"""What a network says to a few samples: the measure of networks that are made of it.

The first samples also show the mean error that roundings leave, by which biases are
corrected, see `network.bias`: only where the outputs come nearer to what they were.
"""

from collections.abc import Mapping

import numpy as np
import torch

from tersor.arrays.noise import Noise
from tersor.codes.affine import Affine
from tersor.codes.code import Code
from tersor.data.samples import Batch, Samples
from tersor.network.bias import Means, mean_errors
from tersor.network.network import Array, Network
from tersor.network.observe import observe
from tersor.network.running import for_running
from tersor.network.workers import over_batches

_SAMPLES = 32  # enough for means of errors
_COMPARED = 16  # enough to tell noise of networks apart


class Trial:
    """Compares networks with one whose outputs are kept.

    It hears what that one says where somebody looks at all samples anyway, see `observe`;
    else in a run of its own.

    Attributes:
        count: How many samples it hears of.
        size: How many of them at once.
        nodes: Names of the nodes whose values it hears.
    """

    def __init__(self, network: Network, samples: Samples) -> None:
        """A trial of networks that are made of `network`, on the first 32 samples."""
        fixed = network.fixed_batch or 1
        self._network, self._samples = network, samples.take(0, _whole(_SAMPLES, fixed))
        self._compared = _whole(_COMPARED, fixed)
        self._means = Means(network, samples)
        ends = network.graph.output_node().args[0]
        named = zip(network.outputs, ends, strict=True)  # type: ignore[arg-type]
        self._ends = {port.name: node.name for port, node in named}
        self._exact: dict[int, dict[str, Array]] = {}
        self.count, self.size = len(self._samples), self._means.size
        self.nodes = self._means.nodes | set(self._ends.values())

    def hear(self, start: int, name: str, value: torch.Tensor) -> None:
        """See `observe`."""
        if name in self._means.nodes:
            self._means.hear(start, name, value)
        if start < self._compared:
            outputs = {end: value.cpu().numpy() for end, n in self._ends.items() if n == name}
            self._exact.setdefault(start, {}).update(_floats(outputs))

    def noise(self, changed: Network) -> float:
        """Error power over signal power of the worst output; 0 where none is a float."""
        self._listen()
        running, total = for_running(changed), Noise()

        def run(batch: Batch) -> tuple[int, dict[str, Array]]:
            return batch.start, _floats(running.run(batch.inputs))

        batches = self._samples.take(0, self._compared).batches(self.size)
        for start, found in over_batches(lambda: run, batches, changed.device):
            total.add(start, self._exact[start], found)
        return max((total.relative_power(name) for name in total.signal), default=0.0)

    def corrected(self, changed: Network) -> tuple[Network, float]:
        """A rounded network, its biases corrected if that is better, and its noise."""
        self._listen()
        other = _corrected(changed, mean_errors(changed, self._samples, self._means))
        before, after = self.noise(changed), self.noise(other)
        return (other, after) if after < before else (changed, before)

    def _listen(self) -> None:
        """Hear what the network says, if nobody else has run it."""
        if not self._exact:
            observe(self._network, (), self._samples, self)


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
