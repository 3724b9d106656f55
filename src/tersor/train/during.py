"""What happens during training: the contract between the loop and its parts.

Gradual pruning, regularizers, averaged weights, ... are frozen dataclasses too. Their one
verb is `start`: it gives a part at work, whose hooks the loop calls. A module in a folder of
methods is such a part if it defines

    DURING     the class
    EXAMPLE    an instance that changes something
    IDENTITY   an instance that must not change the training at all, or None

and, if it needs another method before that training, AFTER, the name of such a one.

Recipes list parts under the training step: `[[step.during]] method = "prune.gradual"`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from tersor.network.network import Network, Note


@dataclass
class Run:
    """One training, as its parts see it.

    Attributes:
        network: What is trained: all tensors and codes are its own. Its codes may be replaced
            in `During.start`, and changed in place later on.
        steps: How many steps of the optimizer there will be, at least 1.
        epochs: How many epochs there will be, at least 1.
        samples: How many samples an epoch sees, at least 1.
        seed: For whatever a part draws at random.
        step: How many steps have been made.
        ended: Why training ends now; "" if it goes on.
    """

    network: Network
    steps: int
    epochs: int
    samples: int
    seed: int
    step: int = 0
    ended: str = ""

    @property
    def progress(self) -> float:
        """The fraction of all steps that has been made, in [0, 1]."""
        return self.step / self.steps

    def generator(self) -> torch.Generator:
        """What this step's random numbers come from: the same after an interruption."""
        words = np.random.SeedSequence([self.seed, self.step]).generate_state(2, np.uint64)
        return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: From 1 on.
        loss: Mean over the epoch's batches, penalties included.
        error: Of the held-out samples; None where none are held out.
    """

    number: int
    loss: float
    error: float | None


class Part:
    """Something at work in one training. Every hook may be left as it is: it does nothing."""

    @property
    def settled(self) -> bool:
        """Whether the network has the form already that it ends with.

        Only then does an epoch count among those of which the best is kept.
        """
        return True

    def inputs(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """The inputs of a batch as the network is to see them, each (n, ...)."""
        return tensors

    def penalty(self) -> torch.Tensor | None:
        """A scalar to be added to the loss of this step."""
        return None

    def before_step(self) -> None:
        """Gradients are there, weights are not changed yet."""

    def after_step(self) -> None:
        """Weights have been changed; `Run.step` counts this step already."""

    def judged(self) -> AbstractContextManager[None]:
        """What holds while an epoch is judged and kept: other weights in place, perhaps."""
        return nullcontext()

    def after_epoch(self, epoch: Epoch) -> None:
        """All batches have been seen once more; setting `Run.ended` ends the training."""

    def finish(self) -> None:
        """Training is over, and the best weights are in place."""

    def notes(self) -> Sequence[Note]:
        """What became of each layer, asked once all parts have finished."""
        return ()

    def state(self) -> dict[str, torch.Tensor]:
        """What a part has to know to go on after an interruption, beside the network."""
        return {}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""


class During(Protocol):
    """A frozen dataclass of at most six settings, checked at construction."""

    def start(self, run: Run) -> Part:
        """The part at work, before the first step.

        Raises:
            ModelError: It cannot work on this network.
        """
        ...
