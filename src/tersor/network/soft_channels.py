"""Channels that become 0 while a network is trained, and keep their place until they are cut.

A channel is zeroed by 0 wherever it stands: in the rows that make it, in the columns that read
it, in biases, in weights and biases of normalizations, in running means. Its value is 0 from
then on, nothing reads it, and its slopes are 0; cutting it out changes nothing. Groups over
whose channels a mean is taken are left alone: to cut zeros would change it (`network.zeros`).

The norm by which channels of all groups compare, over the M weights w_m that make a channel c:

    n_c^2 = 1/M sum_m |w_m[c]|^2 / mean_j |w_m[j]|^2,      of mean square 1 in each group,

and a factor of a channel is thought of where the channel is read or, if no weight reads it,
where it is made: a normalization would take it away between the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.errors import ModelError
from tersor.network.channels import Group, Member, channels
from tersor.network.dims import Kept
from tersor.network.network import WHOLE, Network, Note
from tersor.network.slimming import Chosen, Scores, Target, chosen, meter_of
from tersor.network.zeros import averaged, statistics

Scope = Literal["global", "local"]

_SMALLEST = 1e-30  # of a score: less is what a channel has that is 0 already


@dataclass(frozen=True, slots=True)
class Place:
    """Where channels of a group stand in a tensor.

    Attributes:
        member: Of the group.
        tensor: Its tensor, in the network itself.
        size: Channels of the group.
        owners: Where positions of the axis belong, and which they are; None if they are the
            channels in order.
    """

    member: Member
    tensor: torch.Tensor
    size: int
    owners: tuple[torch.Tensor, torch.Tensor] | None

    @classmethod
    def of(cls, member: Member, tensor: torch.Tensor, size: int) -> Self:
        """The place of a member."""
        own = member.channels
        if np.array_equal(own, np.arange(size)):
            return cls(member, tensor, size, None)
        at = np.flatnonzero(own >= 0)
        pair = torch.from_numpy(own[at]), torch.from_numpy(at)
        return cls(
            member, tensor, size, (pair[0].to(tensor.device), pair[1].to(tensor.device))
        )

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over all that belongs to each channel, (size,); differentiable.

        Args:
            values: Of the shape of the tensor.
        """
        axes = [axis for axis in range(values.ndim) if axis != self.member.axis]
        rows = values.sum(axes) if axes else values
        if self.owners is None:
            return rows
        to, at = self.owners
        return rows.new_zeros(self.size).index_add(0, to, rows[at])

    def positions(self, gone: NDArray[np.intp]) -> tuple[torch.Tensor, int, torch.Tensor]:
        """The tensor, the axis, and where on it some channels stand."""
        at = np.flatnonzero(np.isin(self.member.channels, gone))
        return self.tensor, self.member.axis, torch.from_numpy(at).to(self.tensor.device)


class SoftChannels:
    """The channels of one's own network, of which some are 0.

    Attributes:
        target: How much is to be left once zeros are cut.
        groups: Those that can lose channels by zeros.
        keep: Which channels are not 0, by name of the group.
    """

    def __init__(self, network: Network, target: Target, ignore: Sequence[str] = ()) -> None:
        """Nothing is 0 yet.

        Args:
            network: One's own; its tensors are written into.
            target: Of macs, parameters or bytes.
            ignore: See `network.channels`.

        Raises:
            ModelError: No channel can go, or `ignore` names a layer that there is not.
        """
        self._network, self.target = network, target
        shapes = network.copy()  # codes may be put into the graph itself later on
        self._variances = statistics(network, "running_var")
        self._statistics = self._variances | statistics(network, "running_mean")
        found = channels(shapes, ignore)
        self._places = {
            g.name: [
                Place.of(m, tensor, g.size)
                for m in g.members
                if (tensor := network.tensor(m.path)).is_floating_point()
            ]
            for g in found.groups
        }
        untrained = [g.name for g in found.groups if not self.weights(g)]
        self._against = {**dict.fromkeys(untrained, "no weight makes them"), **averaged(found)}
        self.groups = tuple(g for g in found.groups if g.name not in self._against)
        self._known = replace(found, groups=self.groups)
        if not self.groups:
            why = "".join(f"{name}: {text}." for name, text in self._told()[:1])
            raise ModelError("The network", "has no channels that can go", why)
        self.keep: dict[str, Kept] = {g.name: np.ones(g.size, bool) for g in self.groups}
        self._left = 1.0
        self._gone: list[tuple[torch.Tensor, int, torch.Tensor]] = []
        self._meter = meter_of(target.of, shapes, self._known)

    def weights(self, group: Group) -> list[Place]:
        """Where channels of a group stand in what is trained."""
        return [
            place
            for place in self._places[group.name]
            if isinstance(place.tensor, nn.Parameter)
            and place.member.path not in self._statistics
        ]

    def makers(self, group: Group) -> list[Place]:
        """Where channels of a group are made; all of its weights if no layer makes them."""
        found = [place for place in self._places[group.name] if place.member.makes]
        return found or self.weights(group)

    def factors(self, group: Group) -> list[Place]:
        """Where a factor of each channel would stand: see above."""
        own = self.weights(group)
        return [place for place in own if place.member.reads] or own

    def norms(self) -> dict[str, NDArray[np.float64]]:
        """The norm of each channel, see above, by name of the group."""
        found = {}
        for group in self.groups:
            total, makers = np.zeros(group.size), self.makers(group)
            for place in makers:
                squares = place.sums(place.tensor.detach().double().square()).cpu().numpy()
                total += squares / max(_SMALLEST, float(squares.mean()))
            found[group.name] = np.sqrt(total / max(1, len(makers)))
        return found

    def squares(self, group: Group) -> torch.Tensor:
        """Sums of squares of all that is trained of each channel, (size,); differentiable."""
        each = [place.sums(place.tensor.square()) for place in self.weights(group)]
        return torch.stack(each).sum(0)

    def counts(self, group: Group) -> torch.Tensor:
        """How many numbers are trained of each channel, (size,)."""
        each = [p.sums(torch.ones_like(p.tensor.detach())) for p in self.weights(group)]
        return torch.stack(each).sum(0)

    def slopes(self, group: Group) -> torch.Tensor:
        """Slopes of the loss along a factor of each channel, (size,), from the gradients."""
        found = torch.zeros(group.size, device=self._network.device)
        for place in self.factors(group):
            if place.tensor.grad is not None:
                found += place.sums(place.tensor.grad * place.tensor.detach())
        return found

    def savings(self, expected: Sequence[float]) -> tuple[float, list[float]]:
        """What is left if so many channels stay, and what one less of each group saves.

        Args:
            expected: For each group.

        Returns:
            Fractions of all work.
        """
        pairs = list(zip(self.groups, expected, strict=True))
        counts = {g.dim.root: min(g.size, max(2, round(each))) for g, each in pairs}
        whole, now = self._meter({}), self._meter(counts)
        less = [self._meter({**counts, root: count - 1}) for root, count in counts.items()]
        return now / whole, [(now - each) / whole for each in less]

    def choose(self, scores: Scores, left: float, scope: Scope) -> Chosen:
        """Which channels stay; those that are 0 already go first.

        Args:
            scores: By name of the group, (size,), larger for those that matter more.
            left: The fraction of the target's work that is to be left at most.
            scope: See `network.slimming.chosen`.
        """
        own = {
            name: np.where(keep, np.maximum(scores[name], _SMALLEST), 0.0)
            for name, keep in self.keep.items()
        }
        return chosen(self._known, own, self._meter, left, scope=scope)

    def put(self, found: Chosen) -> None:
        """Channels that are not kept are 0 from now on, wherever they stand.

        Raises:
            ModelError: A tensor is held by a code that was not there at the start.
        """
        self._left = found.left
        self._set({name: found.keep.get(name, keep) for name, keep in self.keep.items()})

    def _set(self, keep: Mapping[str, Kept]) -> None:
        self.keep = dict(keep)
        self._gone = []
        for group in self.groups:
            gone = np.flatnonzero(~self.keep[group.name])
            for place in self._places[group.name] if gone.size else []:
                if place.member.path not in self._variances:
                    self._check(place)
                    self._gone.append(place.positions(gone))
        self.hold()

    def _check(self, place: Place) -> None:
        code = self._network.code(place.member.path)
        if code is not None and all(p is not place.tensor for p in code.parameters()):
            problem = "is held by a code that was put there after training began"
            remedy = "List what puts it there before what zeroes channels."
            raise ModelError(place.member.path, problem, remedy)

    @torch.no_grad()
    def hold(self) -> None:
        """What has gone is 0 again, whatever a step did to it."""
        for tensor, axis, gone in self._gone:
            tensor.index_fill_(axis, gone, 0)

    def still(self) -> None:
        """No gradient reaches what has gone."""
        for tensor, axis, gone in self._gone:
            if tensor.grad is not None:
                tensor.grad.index_fill_(axis, gone, 0)

    @torch.no_grad()
    def blank(self, found: Chosen) -> None:
        """Weights that make channels that are not kept become 0, once; they may come back."""
        for group in self.groups:
            gone = np.flatnonzero(~found.keep.get(group.name, self.keep[group.name]))
            for place in self.makers(group) if gone.size else []:
                tensor, axis, where = place.positions(gone)
                tensor.index_fill_(axis, where, 0)

    def notes(self, method: str) -> list[Note]:
        """How many channels of each group are 0, what will be left, and why others stay."""
        notes = [
            Note(name, method, done=True, text=f"{int((~keep).sum())} of {keep.size} are 0")
            for name, keep in self.keep.items()
            if not keep.all()
        ]
        notes += [Note(name, method, done=False, text=text) for name, text in self._told()]
        reached = self._left <= self.target.left
        text = f"{100 * self._left:.1f} % of the {self.target.of} are left once zeros are cut"
        if not reached:
            text += f", not {100 * self.target.left:g} %"
        return [*notes, Note(WHOLE, method, done=reached, text=text)]

    def _told(self) -> list[tuple[str, str]]:
        """Layers or groups that stay whole, and why."""
        found = [(f.layer, f"{f.count} channels stay: {f.reason}") for f in self._known.frozen]
        return [
            *found,
            *((n, f"its channels stay: {why}") for n, why in self._against.items()),
        ]

    def state(self) -> dict[str, torch.Tensor]:
        """What has gone, to go on from."""
        found = {f"keep {name}": torch.from_numpy(keep) for name, keep in self.keep.items()}
        return {**found, "left": torch.tensor(self._left, dtype=torch.float64)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""
        self._left = float(state["left"])
        self._set({name: state[f"keep {name}"].cpu().numpy() for name in self.keep})
