"""Channels that fade while training goes on: what parts that zero them have in common.

Until the fraction `until` of all steps each part prepares it in its own way. Then the channels
that matter the least are chosen, so many that the target is reached once they are cut, and are
0 from then on, wherever they stand; the steps that are left train what stays.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from tersor.errors import InputError
from tersor.network.network import Note
from tersor.network.slimming import Scores, Target
from tersor.network.soft_channels import Scope, SoftChannels
from tersor.train.during import Part, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Fade:
    """How many channels go, and when.

    Attributes:
        method: Name of the part.
        target: How much is to be left in the end.
        until: The fraction of all steps after which the channels that are 0 stay 0.
        ignore: See `network.channels`.
        scope: See `network.slimming.chosen`.

    Raises:
        InputError: The target is a latency, or `until` is not in (0, 1].
    """

    method: str
    target: Target
    until: float
    ignore: tuple[str, ...] = ()
    scope: Scope = "global"

    def __post_init__(self) -> None:
        if self.target.of == "latency":
            allowed = "of macs, parameters or bytes; prune.channels aims at a latency"
            raise InputError("target", got=f"latency={self.target.latency}", allowed=allowed)
        if not 0 < self.until <= 1:
            raise InputError("until", got=self.until, allowed="in (0, 1]")

    def last(self, run: Run) -> int:
        """The number of the step after which channels that are 0 stay 0."""
        return max(1, round(self.until * run.steps))


class Fading(Part):
    """A part under which channels become 0. Subclasses are final.

    Attributes:
        run: The training.
        fade: How many, and when.
        soft: The channels.
        last: The number of the step after which channels that are 0 stay 0.
    """

    def __init__(self, run: Run, fade: Fade) -> None:
        """Nothing is 0 yet.

        Raises:
            ModelError: No channel can go, or `ignore` names a layer that there is not.
        """
        self.run, self.fade, self.last = run, fade, fade.last(run)
        self.soft = SoftChannels(run.network, fade.target, fade.ignore)

    @abstractmethod
    def scores(self) -> Scores:
        """How much each channel matters, by name of the group, once they are chosen."""

    def look(self) -> None:
        """Before each step up to the last: gradients are there."""

    def on_the_way(self) -> None:
        """After each step before the last."""

    def chosen(self) -> None:
        """After the last: channels have been chosen, and are 0."""

    def memory(self) -> dict[str, torch.Tensor]:
        """What a subclass has to know to go on after an interruption."""
        return {}

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `memory` gave."""

    @property
    def settled(self) -> bool:
        """Whether channels have been chosen."""
        return self.run.step >= self.last

    def before_step(self) -> None:
        """See `Part.before_step`."""
        if not self.settled:
            self.look()
        self.soft.still()

    def after_step(self) -> None:
        """See `Part.after_step`."""
        if self.run.step < self.last:
            self.on_the_way()
        elif self.run.step == self.last:
            self.choose(self.scores(), self.fade.target.left)
            self.chosen()
        self.soft.hold()

    def choose(self, scores: Scores, left: float) -> None:
        """Channels of small scores are 0 from now on, so many that a fraction is left."""
        self.soft.put(self.soft.choose(scores, left, self.fade.scope))

    def judged(self) -> AbstractContextManager[None]:
        """What is 0 is 0 in averaged weights, too."""
        return self._held()

    @contextmanager
    def _held(self) -> Iterator[None]:
        self.soft.hold()
        yield

    def finish(self) -> None:
        """See `Part.finish`."""
        self.soft.hold()

    def notes(self) -> list[Note]:
        """See `Part.notes`."""
        return self.soft.notes(self.fade.method)

    def state(self) -> dict[str, torch.Tensor]:
        """See `Part.state`."""
        return {**self.soft.state(), **self.memory()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Part.load`."""
        self.soft.load(state)
        self.remember(state)
