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
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.errors import ModelError
from tersor.network.network import Network, Note
from tersor.train.teacher import Answer


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
        rows: How many samples there are, those included that are held out.
        steady: Whether a sample always looks the same; known once all parts have started.
        step: How many steps have been made.
        ended: Why training ends now; "" if it goes on.
    """

    network: Network
    steps: int
    epochs: int
    samples: int
    seed: int
    rows: int = 0
    steady: bool = True
    step: int = 0
    ended: str = ""

    @property
    def progress(self) -> float:
        """The fraction of all steps that has been made, in [0, 1]."""
        return self.step / self.steps

    @property
    def teacher(self) -> Network:
        """What the network was before its first change.

        Raises:
            ModelError: That is not known.
        """
        if self.network.origin is None:
            problem = "has no teacher: what it was before it was changed is not known"
            raise ModelError("The network", problem, "Give one whose `origin` is the teacher.")
        return self.network.origin

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


@dataclass(frozen=True, slots=True)
class Needs:
    """What a part's loss reads beside the inputs, labels and outputs of a batch.

    Attributes:
        values: Nodes of `Run.network`, by name.
        teacher: Whether the teacher's outputs are needed.
        teacher_values: Nodes of `Run.teacher`, by name.
    """

    values: tuple[str, ...] = ()
    teacher: bool = False
    teacher_values: tuple[str, ...] = ()

    @classmethod
    def of_all(cls, needs: Sequence[Self]) -> Self:
        """What several parts need together."""
        return cls(
            values=tuple(dict.fromkeys(name for need in needs for name in need.values)),
            teacher=any(need.teacher or need.teacher_values for need in needs),
            teacher_values=tuple(
                dict.fromkeys(name for need in needs for name in need.teacher_values)
            ),
        )


@dataclass(frozen=True, slots=True)
class Forward:
    """A batch, and what came of it on its way through the network: once for all parts.

    Attributes:
        rows: Numbers of its samples.
        inputs: As the network saw them, (n, ...) each.
        labels: One for each sample; None where there are none.
        outputs: Of the network, float32 where they are floats; gradients come from here.
        values: Of the nodes that parts asked for, by name; gradients come from here, too.
        teacher: The same of the teacher, as far as parts asked for it; without gradients.
    """

    rows: NDArray[np.intp]
    inputs: tuple[torch.Tensor, ...]
    labels: torch.Tensor | None
    outputs: tuple[torch.Tensor, ...]
    values: Mapping[str, torch.Tensor]
    teacher: Answer


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

    def needs(self) -> Needs:
        """What `loss` reads; asked once, when all parts have started."""
        return Needs()

    def networks(self) -> Sequence[Network]:
        """Networks that the settings only name, as those in files; asked once, as `needs`.

        What they hold counts when an interrupted training is told from others.
        """
        return ()

    def parameters(self) -> Sequence[nn.Parameter]:
        """What is trained with the network, and is no part of it; asked once, as `needs`."""
        return ()

    def loss(self, forward: Forward) -> torch.Tensor | None:
        """A scalar that depends on the batch, to be added to the loss of this step."""
        return None

    def penalty(self) -> torch.Tensor | None:
        """A scalar to be added to the loss of this step, whatever the batch is."""
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
