"""Gradual channel pruning: more and more channels are 0 while training goes on.

What is left of the target (MACs, say) goes from all to `target` at the fraction `until` of all
steps, along

    l(p) = last + (1 - last) (1 - p)^3,

at most fifty times on the way. Of the channels that are left those go that matter the least
for what they save, and stay 0. How much channel c matters is

    "taylor"    the running mean of (dL / dg_c)^2 over steps, g_c = 1 a factor of the channel
                where it is read: the square of what the loss changes to first order if the
                channel goes,
    "norm"      its norm, see `network.soft_channels`.

Shapes do not change: `prune.dead` is the step that cuts the zeros.

Source: Zhu, Gupta, "To prune, or not to prune", arXiv:1710.01878, equation (1), for channels;
Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance estimation for neural network pruning",
arXiv:1906.10771, equation (8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from tersor.arrays.masks import cubic
from tersor.network.slimming import Scores, Target
from tersor.network.soft_channels import Scope
from tersor.train.during import Part, Run
from tersor.train.fading import Fade, Fading

_NAME = "prune.gradual_channels"
_UPDATES = 50
_DECAY = 0.95  # of the running mean, for each step


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneGradualChannels:
    """Zeros for the channels that matter the least, little by little.

    Attributes:
        target: How much is to be left in the end: a table `[step.during.target]` with one of
            macs, parameters and bytes.
        score: What tells how much a channel matters.
        scope: "global": channels of all groups compete; "local": each group loses the same
            share.
        until: The fraction of all steps after which channels stay what they are, in (0, 1].
        ignore: Names of layers whose results stay whole; "re:..." is a regular expression.
    """

    target: Target = Target(macs=0.5)  # noqa: RUF009 - it is frozen
    score: Literal["taylor", "norm"] = "taylor"
    scope: Scope = "global"
    until: float = 0.6
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._fade()

    def _fade(self) -> Fade:
        return Fade(
            method=_NAME,
            target=self.target,
            until=self.until,
            ignore=self.ignore,
            scope=self.scope,
        )

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return Part() if self.target.left == 1 else _Gradual(run, self._fade(), self.score)


class _Gradual(Fading):
    def __init__(self, run: Run, fade: Fade, score: str) -> None:
        super().__init__(run, fade)
        self._every = max(1, self.last // _UPDATES)
        self._squares: dict[str, torch.Tensor] = {}
        if score == "taylor":
            device = run.network.device
            self._squares = {
                g.name: torch.zeros(g.size, dtype=torch.float64, device=device)
                for g in self.soft.groups
            }

    def look(self) -> None:
        """Add this step's slopes to the running means."""
        for group in self.soft.groups if self._squares else []:
            slopes = self.soft.slopes(group).double()
            self._squares[group.name].lerp_(slopes.square(), 1 - _DECAY)

    def scores(self) -> Scores:
        if not self._squares:
            return self.soft.norms()
        return {name: squares.cpu().numpy() for name, squares in self._squares.items()}

    def on_the_way(self) -> None:
        step = self.run.step
        if step % self._every == 0:
            self.choose(self.scores(), cubic(step / self.last, 1.0, self.fade.target.left))

    def memory(self) -> dict[str, torch.Tensor]:
        return {f"squares {name}": value for name, value in self._squares.items()}

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        for name, value in self._squares.items():
            value.copy_(memory[f"squares {name}"])


DURING = PruneGradualChannels
EXAMPLE = PruneGradualChannels()
IDENTITY = PruneGradualChannels(target=Target(macs=1.0))
