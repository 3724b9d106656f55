"""Learnt linear maps from a student's channels to those of a wider or thinner teacher.

    P s + b,   s: (..., C) along the axis of channels,   P: (D, C),   b: (D,)

which for images is a convolution of size 1. It begins as what fits the first batch best,

    min |S P' - T|^2 + e |P|^2,   e = (1 / 1000 + 10 C / n) mean of |column of S|^2,

the n rows of S and T being positions of all samples, less the means, for which b makes up: so
what a student has already learnt is not undone by maps that know nothing yet. The fewer rows
there are, the closer to 0 it begins, or the next batch would be far off. Then it is trained
with the student. It is no part of the network, and gone once training is over.

Source: Romero et al., "FitNets: hints for thin deep nets", arXiv:1412.6550, section 2.2 (there
drawn at random).
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from tersor.train.during import Forward, Needs
from tersor.train.pairs import Pair

_MOST_ROWS = 16384  # of the first fit
_LEAST, _ROWS = 1e-3, 10  # of the ridge


class Projection(nn.Module):
    """One map.

    Attributes:
        weight: P, (teacher's channels, student's channels).
        bias: b, (teacher's channels,).
        fitted: bool, of shape (): whether it has begun.
    """

    fitted: torch.Tensor

    def __init__(self, channels: int, wanted: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(wanted, channels))
        self.bias = nn.Parameter(torch.zeros(wanted))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The map of (..., student's channels)."""
        return functional.linear(rows, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, rows: torch.Tensor, wanted: torch.Tensor) -> None:
        """Begin as what fits best; the second time nothing happens.

        Args:
            rows: (n, student's channels).
            wanted: (n, teacher's channels).
        """
        if bool(self.fitted):
            return
        step = -(-len(rows) // _MOST_ROWS)
        s, t = rows[::step].double(), wanted[::step].double()
        mean, target = s.mean(0), t.mean(0)
        s = s - mean
        square = s.T @ s
        ridge = _LEAST + _ROWS * s.shape[1] / len(s)
        tiny = torch.finfo(torch.float32).tiny
        square.diagonal().add_(ridge * square.diagonal().mean().clamp_min(tiny))
        solved = torch.linalg.solve(square, s.T @ (t - target)).T
        self.weight.copy_(solved)
        self.bias.copy_(target - solved @ mean)
        self.fitted.logical_not_()


def unexplained(own: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The share of the variance of `wanted` that `own` misses, both (n, channels).

        sum (own - wanted)^2 / sum (wanted - mean of its channel)^2

    1 for the best constants; 0 where both are equal.
    """
    spread: torch.Tensor = torch.linalg.vector_norm(wanted - wanted.mean(0)).square()
    missed = functional.mse_loss(own, wanted, reduction="sum")
    return missed / spread.clamp_min(torch.finfo(torch.float32).tiny)


class Transfer(nn.Module):
    """What a network's values miss of its teacher's, through projections where widths differ.

    Attributes:
        pairs: The values.
        maps: For each pair the projection, or what gives back its input.
    """

    def __init__(self, pairs: Sequence[Pair], device: torch.device) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.maps = nn.ModuleList(map(_map, pairs)).to(device)

    def needs(self) -> Needs:
        """See `Part.needs`."""
        own = tuple(pair.own for pair in self.pairs)
        return Needs(own, teacher_values=tuple(pair.teacher for pair in self.pairs))

    def missed(self, forward: Forward) -> list[torch.Tensor]:
        """For each pair, the share of the teacher's variance that is missed."""
        found = []
        for pair, projection in zip(self.pairs, self.maps, strict=True):
            own = _rows(forward.values[pair.own], pair.axis)
            wanted = _rows(forward.teacher.values[pair.teacher], pair.axis)
            if isinstance(projection, Projection):
                projection.fit(own, wanted)
            found.append(unexplained(projection(own), wanted))
        return found


def _map(pair: Pair) -> nn.Module:
    own, wanted = pair.channels
    return nn.Identity() if own == wanted else Projection(own, wanted)


def _rows(value: torch.Tensor, axis: int) -> torch.Tensor:
    """(samples and positions, channels)."""
    return value.movedim(axis, -1).flatten(0, -2)
