"""Attention: where the original is active is learnt, however many channels there are.

Images, and other values of several positions: the map of a value is the sum over channels of
its squares, divided by the length of that map as a vector. Sequences of tokens: the relation
of a value has the cosine of each two of its tokens, divided by its length likewise; of values
without positions samples take the place of tokens. The loss gets weight times the mean, over
some values and all samples, of

    |Q_s / |Q_s| - Q_t / |Q_t||^2,   Q_s and Q_t: maps, or relations, of network and teacher.

Both are free of channels, so that layers may have lost some and nothing has to be learnt
beside the network. Of long sequences some 256 tokens in even steps are looked at.

Values are those at the ends of stages: see `network.stages`. The teacher is what the network
was before its first change. It needs no labels.

Sources: Zagoruyko, Komodakis, "Paying more attention to attention", arXiv:1612.03928, section
3.1 (p = 2; here the square of the distance, whose gradient ends at 0); Tung, Mori,
"Similarity-preserving knowledge distillation", arXiv:1907.09682 (relations of samples); Wang
et al., "MiniLMv2", arXiv:2012.15828 (of tokens).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from tersor.errors import InputError
from tersor.network.network import Note
from tersor.train.during import Forward, Needs, Part, Run
from tersor.train.pairs import Pair, Pairs, at_stages

_NAME = "distil.attention"
_MOST_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Imitate where the teacher is active.

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
        return _Attending(self.weight, pairs.only(_has_places, "it has one position"))


class _Attending(Part):
    def __init__(self, weight: float, pairs: Pairs) -> None:
        self._weight, self._pairs = weight, pairs

    def needs(self) -> Needs:
        own = tuple(pair.own for pair in self._pairs.found)
        return Needs(own, teacher_values=tuple(pair.teacher for pair in self._pairs.found))

    def loss(self, forward: Forward) -> torch.Tensor:
        found = []
        for pair in self._pairs.found:
            own = attention(forward.values[pair.own], pair.axis)
            wanted = attention(forward.teacher.values[pair.teacher], pair.axis)
            found.append((own - wanted).square().sum(1).mean())
        return self._weight * torch.stack(found).mean()

    def notes(self) -> Sequence[Note]:
        return self._pairs.notes(_NAME, "attention learnt from the teacher")


def attention(value: torch.Tensor, axis: int) -> torch.Tensor:
    """Maps or relations as in the module, (n, elements), each of length 1.

    Args:
        value: (n, ...).
        axis: Of channels. A value (n, tokens, channels) is a sequence of tokens.

    >>> attention(torch.tensor([[[[0.0, 3.0]], [[2.0, 0.0]]]]), axis=1)
    tensor([[0.4061, 0.9138]])
    """
    if value.ndim > 3 or (axis == 1 and value.ndim == 3):
        return functional.normalize(value.square().sum(axis).flatten(1), dim=1)
    tokens = value if value.ndim > 2 else value[None]
    tokens = tokens[:, :: -(-tokens.shape[1] // _MOST_TOKENS)]
    tokens = functional.normalize(tokens, dim=2)
    return functional.normalize((tokens @ tokens.mT).flatten(1), dim=1)


def _has_places(pair: Pair) -> bool:
    return len(pair.shape) == 2 or pair.positions > 1


DURING = Attention
EXAMPLE = Attention()
IDENTITY = Attention(weight=0.0)
