"""Making candidates: steps applied to a network, the same ones once only."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from tersor.data.samples import Samples
from tersor.network.check import check
from tersor.network.network import Network
from tersor.plan.recipe import Step
from tersor.train.surroundings import Surroundings, surrounded


class Maker:
    """Applies steps to one network, and keeps what they gave.

    Attributes:
        samples: For calibration.
        training: For steps that train; those for calibration where there are no others.
        surroundings: Where training happens.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        training: Samples | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.samples, self.training = samples, training or samples
        self.surroundings = surroundings or Surroundings()
        self._network = network
        self._made: dict[tuple[str, ...], Network] = {}

    def after(
        self, steps: Iterable[Step], told: Callable[[float], None] | None = None
    ) -> Network:
        """The network after these steps, checked after each.

        Args:
            steps: In their order.
            told: Called with the fraction of the work that is done.

        Raises:
            TersorError: As the methods raise it.
        """
        steps, network = list(steps), self._network
        key: tuple[str, ...] = ()
        for index, step in enumerate(steps):
            key = (*key, repr(step.to_dict()))
            if key not in self._made:
                self._made[key] = self._apply(step, network, _part(told, index, len(steps)))
            network = self._made[key]
        return network

    def _apply(
        self, step: Step, network: Network, told: Callable[[float], None] | None
    ) -> Network:
        if not step.trains:
            return apply(step, network, self.samples)
        with surrounded(replace(self.surroundings, tell=told)):
            return apply(step, network, self.training)


def _part(
    told: Callable[[float], None] | None, index: int, count: int
) -> Callable[[float], None] | None:
    """Tells of the progress of one of several parts."""
    return None if told is None else lambda done: told((index + done) / count)


def apply(step: Step, network: Network, samples: Samples) -> Network:
    """The network after one step, checked; errors as the method raises them."""
    result: Network = step.build().apply(network, samples)
    check(result)
    return result
