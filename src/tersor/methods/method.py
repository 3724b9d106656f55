"""What a compression method is.

A method is a frozen dataclass. Its fields, at most six, are its settings, checked at
construction; `apply` is its only verb. It takes a network and returns a network. It
claims nothing about the result: sizes, errors and speed are measured afterwards, by
`verify`, `measure` and `report`. What it did to which layer, and what it skipped and
why, it leaves in the result's notes.

A module in a folder of this one is a method if it defines three names:

    METHOD     the class
    EXAMPLE    an instance that changes something: for docs, `tersor methods`, the suite
    IDENTITY   an instance that must leave every output as it is, or None if
               no setting of this method does

and, where they are wanted, two more:

    TRAINS     True if it trains, and so wants all samples that there are for it
    NETWORK    the name of the network in `testing.networks` on which the suite tries EXAMPLE
               and IDENTITY, if the convolutional one has nothing that the method works on
"""

from typing import Protocol

from tersor.data.samples import Samples
from tersor.network.network import Network


class Method(Protocol):
    """A change to a network."""

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """Return a new network; `network` itself stays as it is.

        Args:
            network: Any network that passed `network.check`.
            samples: Inputs to look at, if the method needs data.

        Raises:
            InputError: The method needs samples and got none.
            ModelError: The method cannot work on this network. Never return a network
                in which nothing was done without a note that says so.
        """
        ...
