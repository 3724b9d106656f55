"""Soft targets: the original's chances of all classes are learnt, not only which is right.

The loss gets weight * T^2 KL(teacher's chances || network's), both at the temperature T; of
embeddings weight * (1 - cosine), of other outputs weight * mean square error over variance.
See `train.imitation`, also for the temperature where none is given. What the training's own
loss asks (labels, say) stays.

The teacher is what the network was before its first change. It needs no labels.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network",
arXiv:1503.02531.
"""

import math
from dataclasses import dataclass

import torch

from tersor.errors import InputError
from tersor.network.network import WHOLE, Note
from tersor.train.during import Forward, Needs, Part, Run
from tersor.train.imitation import Imitation

_NAME = "distil.soft_targets"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTargets:
    """Imitate the teacher's outputs.

    Attributes:
        temperature: T; 0 for 4, or 1 where most weights are held by 3 bits or fewer.
        weight: Of what the loss gets.
        class_axis: Axis of the classes of outputs with three axes or more; None if these are
            no classes. Where an output ends in a softmax its axis is known.
    """

    temperature: float = 0.0
    weight: float = 1.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError("temperature", got=self.temperature, allowed="above 0, or 0")
        if not 0 <= self.weight < math.inf:
            raise InputError("weight", got=self.weight, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Softened(self, run) if self.weight else Part()


class _Softened(Part):
    def __init__(self, settings: SoftTargets, run: Run) -> None:
        self._settings, self._run, self._teacher = settings, run, run.teacher
        self._imitation: Imitation | None = None  # weights may be held otherwise by then

    def needs(self) -> Needs:
        return Needs(teacher=True)

    def loss(self, forward: Forward) -> torch.Tensor:
        if self._imitation is None:
            self._imitation = Imitation(
                self._run.network,
                [self._teacher],
                temperature=self._settings.temperature,
                class_axis=self._settings.class_axis,
            )
        found = self._imitation(forward.outputs, [forward.teacher.outputs])
        return self._settings.weight * found

    def notes(self) -> list[Note]:
        if self._imitation is None:
            return []
        text = f"soft targets at temperature {self._imitation.temperature:g}"
        return [Note(WHOLE, _NAME, done=True, text=text)]


DURING = SoftTargets
EXAMPLE = SoftTargets(temperature=4.0)
IDENTITY = SoftTargets(weight=0.0)
