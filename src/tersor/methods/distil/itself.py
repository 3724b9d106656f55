"""Self-distillation: the network's own weights, averaged or earlier, are its teacher.

The loss gets weight * T^2 KL(teacher's chances || network's), and for outputs that are no
classes what `train.imitation` says. The teacher is the network itself with other weights:

    mean   m <- d m + (1 - d) w,   d = min(decay, (1 + t) / (10 + t)) after t steps
    best   those of the epoch with the least error on held-out samples so far, or of the newest
           where none are held out; those at the start until the first epoch is over

It behaves as in training (batch normalization by the batch's own statistics, dropout drops):
statistics that were collected belong to weights that are gone by now.

It needs no labels and no original. A pass forwards more is needed in each step.

Sources: Tarvainen, Valpola, "Mean teachers are better role models", arXiv:1703.01780, equation
(2); Furlanello et al., "Born again neural networks", arXiv:1805.04770.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch.func import functional_call

from tersor.errors import InputError
from tersor.network.modes import set_training
from tersor.network.network import WHOLE, Network, Note
from tersor.train.during import Epoch, Forward, Part, Run
from tersor.train.imitation import Imitation
from tersor.train.loop import trainable

_NAME = "distil.itself"
_ERROR = "least error"  # beside names of tensors, which have no spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Itself:
    """Imitate one's own averaged or best weights.

    Attributes:
        teacher: "mean" or "best".
        decay: How much of the mean stays in each step, in [0, 1).
        temperature: T; 0 for 4, or 1 where most weights are held by 3 bits or fewer.
        weight: Of what the loss gets.
        class_axis: Axis of the classes of outputs with three axes or more; None if these are
            no classes. Where an output ends in a softmax its axis is known.
    """

    teacher: Literal["mean", "best"] = "mean"
    decay: float = 0.99
    temperature: float = 0.0
    weight: float = 1.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError("decay", got=self.decay, allowed="in [0, 1)")
        if not 0 <= self.temperature < math.inf:
            raise InputError("temperature", got=self.temperature, allowed="above 0, or 0")
        if not 0 <= self.weight < math.inf:
            raise InputError("weight", got=self.weight, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Selfish(self, run) if self.weight else Part()


class _Selfish(Part):
    def __init__(self, settings: Itself, run: Run) -> None:
        self._settings, self._run = settings, run
        self._tensors: dict[str, torch.Tensor] = {}  # the teacher's, by name
        self._error = math.inf
        self._imitation: Imitation | None = None  # weights may be held otherwise by then
        self._trained: Network | None = None  # shares all tensors

    def loss(self, forward: Forward) -> torch.Tensor:
        network = self._run.network
        if self._imitation is None or self._trained is None:
            self._imitation, self._trained = self._begun()
        statistics = {  # a pass in training writes into them
            name: buffer.clone()
            for name, buffer in network.module.named_buffers()
            if buffer.is_floating_point()
        }
        with torch.no_grad():
            tensors = {**statistics, **self._tensors}
            said = functional_call(self._trained.module, tensors, forward.inputs)
        return self._settings.weight * self._imitation(forward.outputs, [said])

    def _begun(self) -> tuple[Imitation, Network]:
        network, settings = self._run.network, self._settings
        imitation = Imitation(
            network,
            [network],
            temperature=settings.temperature,
            class_axis=settings.class_axis,
        )
        self._tensors = self._tensors or self._own()
        return imitation, set_training(network, training=True)

    def _own(self) -> dict[str, torch.Tensor]:
        """Copies of the tensors that make the teacher, as they are now."""
        module = self._run.network.module
        if self._settings.teacher == "best":
            return {name: each.clone() for name, each in module.state_dict().items()}
        known = trainable(self._run.network)
        return {name: each.detach().clone() for name, each in known.items()}

    def after_step(self) -> None:
        if self._settings.teacher != "mean":
            return
        step = self._run.step
        decay = min(self._settings.decay, step / (9 + step))
        for name, parameter in trainable(self._run.network).items():
            self._tensors[name].lerp_(parameter.detach(), 1 - decay)

    def after_epoch(self, epoch: Epoch) -> None:
        error = -math.inf if epoch.error is None else epoch.error
        if self._settings.teacher == "best" and error <= self._error:
            self._error, self._tensors = error, self._own()

    def notes(self) -> list[Note]:
        if self._imitation is None:
            return []
        whose = "mean of" if self._settings.teacher == "mean" else "best of"
        text = f"{whose} its own weights at temperature {self._imitation.temperature:g}"
        return [Note(WHOLE, _NAME, done=True, text=text)]

    def state(self) -> dict[str, torch.Tensor]:
        return {_ERROR: torch.tensor(self._error, dtype=torch.float64), **self._tensors}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        device = self._run.network.device
        self._error = float(state[_ERROR])
        self._tensors = {
            name: each.to(device, copy=True) for name, each in state.items() if name != _ERROR
        }


DURING = Itself
EXAMPLE = Itself(temperature=4.0)
IDENTITY = Itself(weight=0.0)
