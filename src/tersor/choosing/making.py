"""Making candidates: steps applied to a network, the same ones once only."""

from collections.abc import Iterable

from tersor.data.samples import Samples
from tersor.network.check import check
from tersor.network.network import Network
from tersor.plan.recipe import Step


class Maker:
    """Applies steps to one network, and keeps what they gave.

    Attributes:
        samples: For calibration.
    """

    def __init__(self, network: Network, samples: Samples) -> None:
        self.samples = samples
        self._network = network
        self._made: dict[tuple[str, ...], Network] = {}

    def after(self, steps: Iterable[Step]) -> Network:
        """The network after these steps, checked after each.

        Raises:
            TersorError: As the methods raise it.
        """
        network = self._network
        key: tuple[str, ...] = ()
        for step in steps:
            key = (*key, repr(step.to_dict()))
            if key not in self._made:
                self._made[key] = apply(step, network, self.samples)
            network = self._made[key]
        return network


def apply(step: Step, network: Network, samples: Samples) -> Network:
    """The network after one step, checked; errors as the method raises them."""
    result: Network = step.build().apply(network, samples)
    check(result)
    return result
