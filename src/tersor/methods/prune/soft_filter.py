"""Soft filter pruning: the weakest filters become 0 again and again, but go on being trained.

Every `every` steps the weights that make the channels of smallest norm (see
`network.soft_channels`) are set to 0. They have gradients as all others, and may grow to
another norm by the next time. What is left of the target (MACs, say) at the fraction p of the
way to `until` is

    l(p) = 1 - (1 - target) r(p),      r(p) = (1 - 4^(-8 p)) / (1 - 4^-8),

r rising fast: three quarters of the way after an eighth of the time; r = 1 if not
`asymptotic`. At `until` the weakest channels are chosen for good, and are 0 wherever they
stand.

Shapes do not change: `prune.dead` is the step that cuts the zeros.

Source: He, Kang, Dong, Fu, Yang, "Soft filter pruning for accelerating deep convolutional
neural networks", arXiv:1808.06866; He, Dong, Kang, Fu, Yan, Yang, "Asymptotic soft filter
pruning for deep convolutional neural networks", arXiv:1808.07471 (the rising share).
"""

import math
from dataclasses import dataclass

from tersor.errors import InputError
from tersor.network.slimming import Scores, Target
from tersor.network.soft_channels import Scope
from tersor.train.during import Part, Run
from tersor.train.fading import Fade, Fading

_NAME = "prune.soft_filter"
_RISE = 4.0**8  # so that 1 - _RISE ** -(1 / 8) = 3 / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSoftFilter:
    """Zeros for the weakest filters, which may come back until late.

    Attributes:
        target: How much is to be left in the end: a table `[step.during.target]` with one of
            macs, parameters and bytes.
        scope: "local": each group loses the same share; "global": channels of all groups
            compete.
        asymptotic: Whether few filters are set to 0 at first, and more and more later on.
        every: Steps from one time to the next; 0 for an epoch.
        until: The fraction of all steps after which channels stay what they are, in (0, 1].
        ignore: Names of layers whose results stay whole; "re:..." is a regular expression.
    """

    target: Target = Target(macs=0.5)  # noqa: RUF009 - it is frozen
    scope: Scope = "local"
    asymptotic: bool = True
    every: int = 0
    until: float = 0.7
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every < 0:
            raise InputError("every", got=self.every, allowed="0 or more")
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
        return Part() if self.target.left == 1 else _SoftFilter(run, self._fade(), self)


class _SoftFilter(Fading):
    def __init__(self, run: Run, fade: Fade, settings: PruneSoftFilter) -> None:
        super().__init__(run, fade)
        self._every = settings.every or run.steps // run.epochs
        self._asymptotic = settings.asymptotic

    def scores(self) -> Scores:
        return self.soft.norms()

    def on_the_way(self) -> None:
        step = self.run.step
        if step % self._every:
            return
        share = risen(step / self.last) if self._asymptotic else 1.0
        left = 1 - (1 - self.fade.target.left) * share
        self.soft.blank(self.soft.choose(self.scores(), left, self.fade.scope))


def risen(progress: float) -> float:
    """The share of the channels to go that goes after a part of the time, r above.

    >>> risen(0.0), round(risen(0.125), 4), risen(1.0)
    (0.0, 0.75, 1.0)
    """
    return (1 - math.pow(_RISE, -progress)) / (1 - 1 / _RISE)


DURING = PruneSoftFilter
EXAMPLE = PruneSoftFilter(every=1)
IDENTITY = PruneSoftFilter(target=Target(macs=1.0))
