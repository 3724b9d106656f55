"""Dead channels are cut out: what contributes nothing, whatever the inputs are.

A channel that is 0 wherever it stands, or whose value is 0 wherever it is read, is cut out of
every tensor; what it is and when that changes no output is told by `network.zeros`. At least
one channel of each group stays. Parts of a training that zero whole channels
(`prune.gradual_channels`, `prune.soft_filter`, `prune.group_lasso`, `prune.gates`) keep all
shapes: this is the step after such a training.

Outputs stay what they were, up to the rounding of sums that are taken in another order.
"""

from dataclasses import dataclass

import numpy as np

from tersor.data.samples import Samples
from tersor.network.channels import channels
from tersor.network.network import WHOLE, Network, Note
from tersor.network.surgery import cut
from tersor.network.zeros import averaged, dead

_NAME = "prune.dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneDead:
    """Cut out channels that contribute nothing.

    Attributes:
        ignore: Names of layers whose results stay whole; "re:..." is a regular expression.
    """

    ignore: tuple[str, ...] = ()

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        known = channels(network, self.ignore)
        keep, notes = {}, []
        for name, gone in dead(network, known).items():
            if gone.all():
                gone[0] = False
            if gone.any():
                keep[name] = ~gone
                text = f"{int(np.count_nonzero(gone))} of {gone.size} channels cut"
                notes.append(Note(name, _NAME, done=True, text=text))
        for name, why in averaged(known).items():
            notes.append(Note(name, _NAME, done=False, text=f"its channels stay: {why}"))
        if not keep:
            text = "no channel contributes nothing"
            return network.with_notes(*notes, Note(WHOLE, _NAME, done=False, text=text))
        return cut(network, keep, known).with_notes(*notes)


METHOD = PruneDead
EXAMPLE = PruneDead()
IDENTITY = PruneDead(ignore=("re:.*",))
NETWORK = "half_dead"
