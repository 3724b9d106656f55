"""Gates: which channels go is learnt, by a factor of each that moves to 0 or stays 1.

Channel c has a gate z_c in [0, 1], at first 1, which multiplies the channel where weights read
it or, if none does, where it is made. Gates are moved so that, to second order, they lower

    L + lambda sum_c a_c z_c,

L the loss, a_c the share of all work (MACs, say) that one channel less of its group saves by
now. The slope alone would not do: what is closed in part is made up for by normalizations and
weights. With g_c the slope dL / dz_c of a batch of B samples, and running means over steps,

    f_c = lambda a_c + m_c - h_c / 2,      m = E g,    h = B (E g^2 - m^2),
    z_c <- clip(z_c - r clip(f_c / s, -1, 1), 0, 1),      s the mean of all f that are above 0,

h / 2 - m being what L would rise by without the channel (the Fisher information for the second
derivative), and r such that a gate closes in a fifth of the time, which is the fraction
`until` of all steps. In that time what is left, gates counting as parts of channels, is to
fall from all to `target` in a straight line: a hundred times on the way lambda rises by a
fifth if more is left, and else falls by a sixth. A gate that is closed opens again once its
channel is missed.

Then those channels go of which L would feel the least for what they save; the gates of the
others become factors of their weights. Shapes do not change: `prune.dead` is the step that
cuts the zeros.

Source: Theis, Korshunova, Tejani, Huszár, "Faster gaze prediction with dense networks and
Fisher pruning", arXiv:1801.05787 (what goes, by Fisher information and costs); Huang, Wang,
"Data-driven sparse structure selection for deep neural networks", arXiv:1707.01213 (gates of
channels); Wang, Wohlwend, Lei, "Structured pruning of large language models", arXiv:1910.04732
(a price that leads to a target).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.codes.code import Code, OnnxForm
from tersor.network.slimming import Scores, Target
from tersor.network.soft_channels import Place
from tersor.train.during import Part, Run
from tersor.train.fading import Fade, Fading

_NAME = "prune.gates"
_MEMORY = 0.97  # of the running means, for each step
_SMALLEST = 1e-30  # of what is divided by
_PART = 0.2  # of the time, in which a gate closes
_FIRST = 0.05  # of the time, in which slopes are only looked at
_CHEAPEST = 0.05  # of the channels, which the first price closes
_UPDATES = 100  # of what channels save, and of the price
_RISE = 1.2  # of the price
_DOWN = 0.9  # of the time, in which the target is to be reached


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneGates:
    """Let gates learn which channels go.

    Attributes:
        target: How much is to be left in the end: a table `[step.during.target]` with one of
            macs, parameters and bytes.
        until: The fraction of all steps after which channels stay what they are, in (0, 1].
        ignore: Names of layers whose results stay whole; "re:..." is a regular expression.
    """

    target: Target = Target(macs=0.5)  # noqa: RUF009 - it is frozen
    until: float = 0.6
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._fade()

    def _fade(self) -> Fade:
        return Fade(method=_NAME, target=self.target, until=self.until, ignore=self.ignore)

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return Part() if self.target.left == 1 else _Learning(run, self._fade())


class _Gates:
    """The gates of all channels.

    Attributes:
        values: (channels), z above.
        sums: (2, channels), running means of slopes and of their squares, from 0 on.
        weight: What such a mean of ones comes to.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.values = torch.ones(count, device=device, requires_grad=True)
        self.sums = torch.zeros(2, count, device=device)
        self.weight = torch.zeros((), device=device)

    def listen(self) -> None:
        """Add the slopes that are there to the running means."""
        slopes = self.values.grad
        if slopes is None:  # no gate changes the loss
            slopes = torch.zeros_like(self.values)
        self.values.grad = None
        self.sums.lerp_(torch.stack([slopes, slopes.square()]), 1 - _MEMORY)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - _MEMORY)

    def losses(self, batch: float) -> torch.Tensor:
        """What the loss would rise by without each channel, h / 2 - m above."""
        mean, square = self.sums / self.weight.clamp_min(_SMALLEST)
        found: torch.Tensor = batch / 2 * (square - mean.square()).clamp_min(0) - mean
        return found

    @torch.no_grad()
    def step(self, rate: float, prices: torch.Tensor, losses: torch.Tensor) -> None:
        """Move all gates, by at most `rate`."""
        force = prices - losses
        scale = force[force > 0].mean() if bool((force > 0).any()) else force.abs().max()
        moves = (force / scale.clamp_min(_SMALLEST)).clamp(-1, 1)
        self.values.sub_(rate * moves).clamp_(0, 1)


class _Gated(Code):
    """A weight whose channels have gates; a position may belong to channels of two groups.

    Attributes:
        weight: Without its gates.
    """

    def __init__(self, weight: nn.Parameter, gates: _Gates) -> None:
        super().__init__()
        self.weight = weight
        self._gates = gates
        self._along: list[tuple[int, torch.Tensor]] = []

    def add(self, place: Place, start: int) -> None:
        """The channels of a group have gates from number `start` on."""
        own = torch.from_numpy(place.member.channels).to(self.weight.device)
        numbers = torch.where(own >= 0, own + start, -1)
        self._along.append((place.member.axis, numbers))

    def decode(self) -> torch.Tensor:
        """The gated weight."""
        found: torch.Tensor = self.weight
        for axis, numbers in self._along:
            factors = torch.where(numbers >= 0, self._gates.values[numbers], 1.0)
            found = found * factors.reshape(
                [-1 if i == axis else 1 for i in range(found.ndim)]
            )
        return found

    @torch.no_grad()
    def fold(self) -> None:
        """Gates become factors of the weight, which has none from then on."""
        self.weight.copy_(self.decode())
        self.forget()

    def forget(self) -> None:
        """The weight has no gates from now on."""
        self._along = []

    def pinned(self) -> None:
        """See `Code.pinned`: nowhere."""

    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """See `Code.symbols`: the dense floats."""
        return {"values": self.decode().detach().cpu().numpy()}

    def to_onnx(self, name: str) -> OnnxForm:
        """The dense floats."""
        return OnnxForm({name: self.decode().detach().cpu().numpy()}, (), name)

    def describe(self) -> str:
        """As in "gates being learnt"."""
        return "gates being learnt"


class _Learning(Fading):
    def __init__(self, run: Run, fade: Fade) -> None:
        super().__init__(run, fade)
        sizes = [group.size for group in self.soft.groups]
        self._starts = [int(start) for start in np.cumsum([0, *sizes[:-1]])]
        self._gates = _Gates(sum(sizes), run.network.device)
        self._codes = self._put()
        self._batch = run.samples * run.epochs / run.steps
        self._rate = 1 / max(1.0, _PART * self.last)
        self._first = max(1, round(_FIRST * self.last))
        self._every = max(1, self.last // _UPDATES)
        self._price, self._savings = 0.0, self._told()[1]

    def _put(self) -> dict[str, _Gated]:
        """Codes in the places of all weights in which gates stand."""
        found: dict[str, _Gated] = {}
        for group, start in zip(self.soft.groups, self._starts, strict=True):
            for place in self.soft.factors(group):
                path = place.member.path
                if path not in found:
                    weight = self.run.network.module.get_parameter(path)
                    found[path] = _Gated(weight, self._gates)
                found[path].add(place, start)
        self.run.network.set_codes(found)
        return found

    def _parts(self, each: torch.Tensor) -> Sequence[torch.Tensor]:
        """Numbers of all channels, group by group."""
        return torch.split(each, [group.size for group in self.soft.groups])

    def _told(self) -> tuple[float, torch.Tensor]:
        """What is left, and what each channel saves, a above."""
        counts = [float(part.sum()) for part in self._parts(self._gates.values.detach())]
        left, savings = self.soft.savings(counts)
        sizes = torch.tensor([group.size for group in self.soft.groups])
        each = torch.tensor(savings, dtype=torch.float32).repeat_interleave(sizes)
        return left, each.to(self.run.network.device)

    def look(self) -> None:
        self._gates.listen()

    def on_the_way(self) -> None:
        step = self.run.step
        if step < self._first:
            return
        losses = self._gates.losses(self._batch)
        if step == self._first:
            self._price = self._cheap(losses)
        self._gates.step(self._rate, self._price * self._savings, losses)
        if step % self._every == 0:
            left, self._savings = self._told()
            progress = min(1.0, step / (_DOWN * self.last))
            wanted = 1 - (1 - self.fade.target.left) * progress
            self._price *= _RISE if left > wanted else 1 / _RISE

    def _cheap(self, losses: torch.Tensor) -> float:
        """A price at which few channels go; above 0."""
        ratios = (losses / self._savings.clamp_min(_SMALLEST)).cpu().numpy()
        ratios = ratios[(ratios > 0) & (self._savings.cpu().numpy() > 0)]
        return float(np.quantile(ratios, _CHEAPEST)) if ratios.size else 1.0

    def scores(self) -> Scores:
        """What the loss would feel of each channel, as far as its gate is open."""
        felt = self._gates.losses(self._batch).clamp_min(0) * self._gates.values.detach()
        parts = zip(self.soft.groups, self._parts(felt.double()), strict=True)
        return {group.name: part.cpu().numpy() for group, part in parts}

    def chosen(self) -> None:
        for code in self._codes.values():
            code.fold()

    def finish(self) -> None:
        self.soft.hold()
        for path, code in self._codes.items():
            self.run.network.release(path, code.decode())

    def memory(self) -> dict[str, torch.Tensor]:
        return {
            "gates": self._gates.values.detach(),
            "sums": self._gates.sums,
            "weight": self._gates.weight,
            "savings": self._savings,
            "price": torch.tensor(self._price, dtype=torch.float64),
        }

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            self._gates.values.copy_(memory["gates"])
        self._gates.sums.copy_(memory["sums"])
        self._gates.weight.copy_(memory["weight"])
        self._savings = memory["savings"].to(self._savings.device)
        self._price = float(memory["price"])
        if self.settled:  # the weights that were loaded have their gates in them
            for code in self._codes.values():
                code.forget()


DURING = PruneGates
EXAMPLE = PruneGates()
IDENTITY = PruneGates(target=Target(macs=1.0))
