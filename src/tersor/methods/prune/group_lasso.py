"""Group lasso and growing regularization: channels are drawn to 0 before they go.

theta_c is all that is trained of channel c, in all weights in which it stands, n_c numbers.
Until the fraction `until` of all steps the loss gets

    strength * S / S_start + 1/2 sum_c lambda_c |theta_c|^2,     S = sum_c sqrt(n_c) |theta_c|:

the lasso finds out which channels are not needed, and lambda grows for those that are to go.
A hundred times on the way channels are chosen by their norms (`network.soft_channels`), so
many that the target is reached without them. lambda_c starts at 0; each time it grows by a
hundredth of `growth` if c is among them, and else falls by as much, to 0 at least. What is
left of the channels to go in the end is nearly 0, and becomes 0.

Shapes do not change: `prune.dead` is the step that cuts the zeros.

Source: Wen, Wu, Wang, Chen, Li, "Learning structured sparsity in deep neural networks",
arXiv:1608.03665, equation (2), over groups as in Fang et al., "DepGraph", arXiv:2301.12900;
Wang, Qin, Zhang, Fu, "Neural pruning via growing regularization", arXiv:2012.09243, section 3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tersor.errors import InputError
from tersor.network.channels import Group
from tersor.network.slimming import Scores, Target
from tersor.network.soft_channels import Scope
from tersor.train.during import Part, Run
from tersor.train.fading import Fade, Fading

_NAME = "prune.group_lasso"
_UPDATES = 100
_SMALLEST = 1e-12  # of a squared norm whose root is taken: its gradient is finite there


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneGroupLasso:
    """Draw channels to 0, those to go more and more, until they go.

    Attributes:
        target: How much is to be left in the end: a table `[step.during.target]` with one of
            macs, parameters and bytes.
        strength: What the loss gets by the lasso before the first step.
        growth: What lambda comes to of a channel that is to go all the time.
        scope: "local": each group loses the same share; "global": channels of all groups
            compete.
        until: The fraction of all steps after which channels stay what they are, in (0, 1].
        ignore: Names of layers whose results stay whole; "re:..." is a regular expression.
    """

    target: Target = Target(macs=0.5)  # noqa: RUF009 - it is frozen
    strength: float = 0.1
    growth: float = 1.0
    scope: Scope = "local"
    until: float = 0.6
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("strength", "growth"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(name, got=getattr(self, name), allowed="0 or more")
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
        if self.target.left == 1 and self.strength == 0:
            return Part()
        return _Lasso(run, self._fade(), self)


class _Lasso(Fading):
    def __init__(self, run: Run, fade: Fade, settings: PruneGroupLasso) -> None:
        super().__init__(run, fade)
        self._every = max(1, self.last // _UPDATES)
        self._step = settings.growth / max(1, self.last // self._every)
        device = run.network.device
        self._lambdas = {g.name: torch.zeros(g.size, device=device) for g in self.soft.groups}
        self._roots = {g.name: self.soft.counts(g).sqrt() for g in self.soft.groups}
        with torch.no_grad():
            total = float(self._total(self._squares()))
        self._factor = settings.strength / max(_SMALLEST, total)

    def _squares(self) -> list[tuple[Group, torch.Tensor]]:
        return [(group, self.soft.squares(group)) for group in self.soft.groups]

    def _total(self, squares: list[tuple[Group, torch.Tensor]]) -> torch.Tensor:
        norms = [
            (self._roots[group.name] * each.clamp_min(_SMALLEST).sqrt()).sum()
            for group, each in squares
        ]
        return torch.stack(norms).sum()

    def penalty(self) -> torch.Tensor | None:
        """The lasso, and the squares of what is to go."""
        if self.settled:
            return None
        squares = self._squares()
        growing = [(self._lambdas[group.name] * each).sum() / 2 for group, each in squares]
        return self._factor * self._total(squares) + torch.stack(growing).sum()

    def scores(self) -> Scores:
        return self.soft.norms()

    def on_the_way(self) -> None:
        if self.run.step % self._every:
            return
        found = self.soft.choose(self.scores(), self.fade.target.left, self.fade.scope)
        for name, factor in self._lambdas.items():
            if name in found.keep:
                stays = torch.from_numpy(found.keep[name]).to(factor.device)
                factor += torch.where(stays, -self._step, self._step)
            else:
                factor -= self._step
            factor.clamp_(min=0)

    def memory(self) -> dict[str, torch.Tensor]:
        return {f"lambda {name}": factor for name, factor in self._lambdas.items()}

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        for name, factor in self._lambdas.items():
            factor.copy_(memory[f"lambda {name}"])


DURING = PruneGroupLasso
EXAMPLE = PruneGroupLasso()
IDENTITY = PruneGroupLasso(target=Target(macs=1.0), strength=0.0)
