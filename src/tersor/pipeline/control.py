"""The control "scratch": a dense network of the size of the result, trained anew.

Where the winner lost channels, heads or layers, the control has the very shapes of the winner:
after the last cut all weights are drawn anew, and the steps from there on are the same, with
the same number of epochs.

Where it only has zeros, the question is another one: had a network of fewer channels, without
any zeros, done as well? The original is narrowed until its file takes no more bytes than the
winner's, with fresh weights (`network.narrow`), and goes through the trainings that won,
without what makes zeros, its weights in eight bits (`plan.variants.dense`): as many epochs,
the same losses, the original as the teacher where there are no labels, the same coder. How
many bytes a weight takes is not known before it is trained: so a few widths are tried, and
the largest file that is no larger than the winner's counts. Nothing but sizes chooses.

The question: Liu, Sun, Zhou, Huang, Darrell, "Rethinking the value of network pruning",
arXiv:1810.05270; Han et al. compare the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tersor.choosing.making import Maker
from tersor.errors import ModelError
from tersor.network.narrow import narrowed
from tersor.network.network import Network
from tersor.plan.variants import Steps, after_cuts

Progress = Callable[[float], None]

_TRIES = 4
_NEAR = 0.9  # of the bytes allowed: near enough
_AIM = 0.97  # of them, so that a little more than was expected still fits
_BISECTIONS = 14
_BYTES = 0.8  # of a weight in eight bits, coded: what the first width is chosen for


@dataclass(frozen=True, slots=True)
class Control:
    """A network that was trained anew.

    Attributes:
        network: What came of it.
        factor: Of the numbers of channels.
        weights: How many numbers are trained.
        file_bytes: What its file takes.
    """

    network: Network
    factor: float
    weights: int
    file_bytes: int


@dataclass(frozen=True)
class Anew:
    """The control of a network that was cut: its shapes, its steps, fresh weights.

    Attributes:
        original: The teacher.
        maker: Of the winner.
        steps: Those that won.
    """

    original: Network
    maker: Maker
    steps: Steps

    def find(self, told: Progress) -> tuple[Network, str]:
        """The control, and what it is in a few words.

        Args:
            told: Called with the fraction that is done.

        Raises:
            ModelError: Nothing is trained after the cut, or the weights cannot be drawn anew.
        """
        index = after_cuts(self.steps)
        rest = self.steps[index:]
        if not any(step.trains for step in rest):
            raise ModelError("What won", "trains nothing after the cut", "Train more epochs.")
        thin = self.maker.after(self.steps[:index])
        fresh = replace(narrowed(thin, 1.0), origin=self.original)
        maker = Maker(fresh, self.maker.samples, self.maker.training, self.maker.surroundings)
        text = f"the same shapes, {_weights(fresh):,} weights drawn anew, the same training"
        return maker.after(rest, told), text


@dataclass(frozen=True)
class Scratch:
    """Looks for the control.

    Attributes:
        original: What is narrowed.
        maker: Its samples are trained on, where it trains.
        steps: What is done to the narrow network.
        most: Bytes that its file may take.
        size: Tells the bytes of a network's file.
    """

    original: Network
    maker: Maker
    steps: Steps
    most: int
    size: Callable[[Network], int]

    def find(self, told: Progress) -> tuple[Network, str]:
        """The control, and what it is in a few words.

        Args:
            told: Called with the fraction that is done.

        Raises:
            ModelError: Nothing is trained, the network cannot be narrowed, or no width tried
                gives a file as small.
        """
        if not any(step.trains for step in self.steps):
            raise ModelError("What won", "trains nothing", "There is nothing to compare.")
        tries: list[Control] = []
        wanted = _AIM * self.most / _BYTES
        for number in range(_TRIES):
            factor = self._widest(wanted)
            if any(one.factor == factor for one in tries):
                break
            tries.append(self._trained(factor, _part(told, number)))
            found = tries[-1].file_bytes
            if _NEAR * self.most <= found <= self.most:
                break
            wanted = tries[-1].weights * _AIM * self.most / found
        fitting = [one for one in tries if one.file_bytes <= self.most]
        if not fitting:
            least = min(one.file_bytes for one in tries)
            problem = f"takes {least:,} bytes at least, more than the {self.most:,} allowed"
            raise ModelError("A dense network", problem, "The result is smaller than any.")
        best = max(fitting, key=lambda one: one.file_bytes)
        return best.network, (
            f"dense, {100 * best.factor:.3g} % of the channels, {best.weights:,} weights, "
            f"eight bits each, trained anew; widths tried: {len(tries)}"
        )

    def _widest(self, wanted: float) -> float:
        """The largest factor that gives no more than so many weights; the smallest, 0, may."""
        low, high = 0.0, 1.0
        if _weights(narrowed(self.original, 1.0)) <= wanted:
            return high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if _weights(narrowed(self.original, middle)) <= wanted:
                low = middle
            else:
                high = middle
        return low

    def _trained(self, factor: float, told: Progress) -> Control:
        fresh = narrowed(self.original, factor)
        maker = Maker(fresh, self.maker.samples, self.maker.training, self.maker.surroundings)
        network = maker.after(self.steps, told)
        return Control(network, factor, _weights(fresh), self.size(network))


def _weights(network: Network) -> int:
    return sum(tensor.numel() for tensor in network.module.parameters())


def _part(told: Progress, number: int) -> Progress:
    """Of as many tries as there may be."""
    return lambda done: told((number + done) / _TRIES)
