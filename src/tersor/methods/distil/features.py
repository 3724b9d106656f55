"""Features: the values between the layers are learnt from the original's.

The loss gets weight times the mean over some values of

    sum (P s + b - t)^2 / sum (t - mean of its channel)^2,

the share of the teacher's variance that the network misses; s and t are the values of network
and teacher with rows for samples and positions. P and b are a learnt linear map from the
network's channels to the teacher's, where their numbers differ, and nothing where they agree;
they are trained with the network and dropped with the training: see `train.projection`. So
layers may have lost channels.

Values are those at the ends of stages: see `network.stages`. The teacher is what the network
was before its first change. It needs no labels.

Source: Romero et al., "FitNets: hints for thin deep nets", arXiv:1412.6550, equation (3).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tersor.errors import InputError
from tersor.network.network import Note
from tersor.train.during import Forward, Needs, Part, Run
from tersor.train.pairs import Pairs, at_stages
from tersor.train.projection import Transfer

_NAME = "distil.features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Imitate the teacher's inner values.

    Attributes:
        nodes: Names of nodes of the network; none for those of `network.stages`.
        teacher_nodes: Their partners in the teacher; none if they have the same names.
        count: How many values, in even steps; 0 for one for each stage.
        weight: Of what the loss gets.
    """

    nodes: tuple[str, ...] = ()
    teacher_nodes: tuple[str, ...] = ()
    count: int = 0
    weight: float = 10.0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError("count", got=self.count, allowed="0 or more")
        if not 0 <= self.weight < math.inf:
            raise InputError("weight", got=self.weight, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        if not self.weight:
            return Part()
        pairs = at_stages(run, self.nodes, self.teacher_nodes, count=self.count)
        return _Matching(self.weight, run, pairs)


class _Matching(Part):
    def __init__(self, weight: float, run: Run, pairs: Pairs) -> None:
        self._weight, self._pairs = weight, pairs
        self._transfer = Transfer(pairs.found, run.network.device)

    def needs(self) -> Needs:
        return self._transfer.needs()

    def parameters(self) -> Sequence[nn.Parameter]:
        return list(self._transfer.parameters())

    def loss(self, forward: Forward) -> torch.Tensor:
        return self._weight * torch.stack(self._transfer.missed(forward)).mean()

    def notes(self) -> Sequence[Note]:
        return self._pairs.notes(_NAME, "values learnt from the teacher")

    def state(self) -> dict[str, torch.Tensor]:
        return dict(self._transfer.state_dict())

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        self._transfer.load_state_dict(dict(state))


DURING = Features
EXAMPLE = Features()
IDENTITY = Features(weight=0.0)
