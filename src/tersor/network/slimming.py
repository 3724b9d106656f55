"""Which channels go, so that a fraction of the work is left.

Every channel has a score: what its loss costs, to first order independent of the others. Of
steps of `multiple` channels, those of the smallest scores in a group first, the ones go that
cost the least for what they save (the greedy solution of a knapsack):

    sum of the scores of a step / what the whole network's work gets smaller by

What a step saves depends on the channels that its neighbours still have, and is measured
anew whenever a hundredth of the work has gone. "local" takes the same share of all groups.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.errors import InputError
from tersor.network.channels import Channels, Group
from tersor.network.cost import macs
from tersor.network.dims import Dim, Kept, count
from tersor.network.layers import Layer, layers
from tersor.network.network import Network

Scores = Mapping[str, NDArray[np.floating[Any]]]
Counts = dict[Dim, int]

_PART = 0.01  # of the work, after which savings are measured anew
_LEAST = 10  # one of so many channels of a group stays
_BISECTIONS = 20
_HALF = 0.5


class Meter(Protocol):
    """Tells how much work is left."""

    def __call__(self, counts: Mapping[Dim, int]) -> float:
        """The work, if of each leaf so many channels stay; leaves not named stay whole."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How much of one thing is to be left, a fraction in (0, 1]; by default half of the MACs.

    Attributes:
        macs: Of the multiply-accumulates.
        parameters: Of the numbers that are stored.
        bytes: Of the memory that they take.
        latency: Of the milliseconds, as the latency model predicts them.
    """

    macs: float | None = None
    parameters: float | None = None
    bytes: float | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        given = {name: v for name in self.names() if (v := getattr(self, name)) is not None}
        for name, value in given.items():
            if not 0 < value <= 1:
                raise InputError(name, got=value, allowed="in (0, 1], as in 0.5 or 50%")
        if len(given) > 1:
            allowed = f"only one of {', '.join(self.names())}"
            raise InputError("settings", got=sorted(given), allowed=allowed)

    @staticmethod
    def names() -> tuple[str, ...]:
        """What can be asked for."""
        return ("macs", "parameters", "bytes", "latency")

    @property
    def of(self) -> str:
        """What is to become less."""
        given = (name for name in self.names() if getattr(self, name) is not None)
        return next(given, "macs")

    @property
    def left(self) -> float:
        """The fraction that is to be left."""
        found = getattr(self, self.of)
        return _HALF if found is None else float(found)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen.

    Attributes:
        keep: Which channels stay, by name of the group; groups that stay whole are left out.
        left: The fraction of the work that is left.
        reached: Whether that is no more than was asked for.
    """

    keep: dict[str, Kept]
    left: float
    reached: bool


class Work:
    """A meter of multiply-accumulates."""

    def __init__(self, network: Network, known: Channels) -> None:
        """A meter of a network's layers.

        Args:
            network: Which.
            known: Its channels.
        """
        nodes = {node.name: node for node in network.graph.nodes}
        self._known = known
        self._layers = [
            (layer, nodes[layer.node], _leaves(known, nodes[layer.node]))
            for layer in layers(network)
        ]
        self._cache: dict[tuple[object, ...], float] = {}

    def __call__(self, counts: Mapping[Dim, int]) -> float:
        """See `Meter`."""
        return sum(self._of(*each, counts) for each in self._layers)

    def _of(
        self, layer: Layer, node: fx.Node, leaves: Sequence[Dim], counts: Mapping[Dim, int]
    ) -> float:
        key = (layer.name, *(counts.get(leaf, leaf.size) for leaf in leaves))
        if key not in self._cache:
            found = {n.name: self._value(n, counts) for n in (node, *node.all_input_nodes)}
            axes = self._known.trail.stored.get(layer.weight, ())
            own = replace(layer, shape=tuple(count(dim, counts) for dim in axes))
            self._cache[key] = float(macs(own, node, found))
        return self._cache[key]

    def _value(self, node: fx.Node, counts: Mapping[Dim, int]) -> Any:
        return shrunk(self._known.trail.axes.get(node), counts, node.name, self._known)


def shrunk(axes: Any, counts: Mapping[Dim, int], name: str, known: Channels) -> Any:
    """What a node gives after a cut, as tensors without content.

    Args:
        axes: Of the node.
        counts: How many channels stay.
        name: Of the node.
        known: The network's channels.
    """
    if isinstance(axes, list):
        return [shrunk(each, counts, name, known) for each in axes]
    if not axes and not isinstance(known.trail.values.get(name), torch.Tensor):
        return known.trail.values.get(name)
    return torch.empty([count(dim, counts) for dim in axes], device="meta")


def _leaves(known: Channels, node: fx.Node) -> list[Dim]:
    """The leaves that a layer's work depends on."""
    found: dict[Dim, None] = {}
    for each in (node, *node.all_input_nodes):
        axes = known.trail.axes.get(each, ())
        for part in axes if isinstance(axes, list) else [axes]:
            for dim in part:
                found.update(dict.fromkeys(dim.leaves()))
    return list(found)


def stored(known: Channels, size: Callable[[str], int]) -> Meter:
    """A meter of what is stored.

    Args:
        known: A network's channels.
        size: What an element of a tensor of that name counts.
    """
    each = [(axes, size(path)) for path, axes in known.trail.stored.items()]

    def meter(counts: Mapping[Dim, int]) -> float:
        return float(sum(s * math.prod(count(d, counts) for d in axes) for axes, s in each))

    return meter


def meter_of(of: str, network: Network, known: Channels) -> Meter:
    """The meter of "macs", "parameters" or "bytes".

    Args:
        of: Which.
        network: Whose.
        known: Its channels.
    """
    if of == "macs":
        return Work(network, known)
    trained = {name for name, _ in network.module.named_parameters()}
    if of == "parameters":
        return stored(known, lambda path: int(path in trained))
    return stored(known, lambda path: network.tensor(path).element_size())


def chosen(
    known: Channels,
    scores: Scores,
    meter: Meter,
    left: float,
    *,
    multiple: int | Mapping[str, int] = 1,
    scope: Literal["global", "local"] = "global",
) -> Chosen:
    """Which channels stay.

    Args:
        known: A network's channels.
        scores: Of every group's channels, (size,), at least 0.
        meter: Of the work.
        left: The fraction of the work that is to be left at most, in (0, 1].
        multiple: Of layers whose results are one group, that many channels are left, or a
            multiple; or that of each group, by name.
        scope: "global": by scores; "local": the same share of all groups.
    """
    steps = {g.name: _step(g, multiple) for g in known.groups}
    work = _Slimming(known.groups, scores, meter, steps)
    if scope == "local":
        work.alike(left)
    else:
        work.cheapest(left)
    keep = {g.name: work.kept(g) for g in known.groups if work.counts[g.dim.root] < g.size}
    return Chosen(keep, work.value / work.whole, work.value <= left * work.whole)


def _step(group: Group, multiple: int | Mapping[str, int]) -> int:
    """How many channels go at once: any number where layers have several of each."""
    wanted = multiple if isinstance(multiple, int) else multiple.get(group.name, 1)
    makers = [m for m in group.members if m.makes] or group.members
    once = all(np.count_nonzero(m.channels >= 0) == group.size for m in makers)
    return min(wanted, group.size) if once else 1


@dataclass
class _Slimming:
    """Channels on their way out.

    Attributes:
        groups: All.
        scores: Of their channels.
        meter: Of the work.
        steps: How many channels go at once.
        counts: How many are left.
        whole, value: The work, at first and now.
    """

    groups: Sequence[Group]
    scores: Scores
    meter: Meter
    steps: Mapping[str, int]
    counts: Counts = field(init=False)
    whole: float = field(init=False)
    value: float = field(init=False)

    def __post_init__(self) -> None:
        self.counts = {group.dim.root: group.size for group in self.groups}
        self.whole = self.value = self.meter(self.counts)
        self._sums = {
            g.name: np.concatenate([[0.0], np.cumsum(np.sort(self.scores[g.name]))])
            for g in self.groups
        }

    def kept(self, group: Group) -> Kept:
        """The channels of the largest scores; of equal ones the first."""
        order = np.argsort(-self.scores[group.name], kind="stable")
        mask = np.zeros(group.size, bool)
        mask[order[: self.counts[group.dim.root]]] = True
        return mask

    def alike(self, left: float) -> None:
        """The same share of all groups."""
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            self._take(middle)
            low, high = (low, middle) if self.value > left * self.whole else (middle, high)
        self._take(low)

    def _take(self, share: float) -> None:
        for group in self.groups:
            step = self.steps[group.name]
            wanted = max(self._least(group), round(share * group.size / step) * step)
            self.counts[group.dim.root] = min(group.size, wanted)
        self.value = self.meter(self.counts)

    def cheapest(self, left: float) -> None:
        """Step by step, those that cost the least for what they save."""
        limit = left * self.whole
        while self.value > limit and (waiting := self._first()):
            aim = max(limit, self.value - _PART * self.whole)
            heapq.heapify(waiting)
            while waiting and self.value > aim:
                _, place, rate = heapq.heappop(waiting)
                group = self.groups[place]
                size = self._size(group)
                self.counts[group.dim.root] -= size
                self.value -= rate * size
                if self._size(group):
                    heapq.heappush(waiting, (self._cost(group) / rate, place, rate))
            self.value = self.meter(self.counts)

    def _first(self) -> list[tuple[float, int, float]]:
        """Of each group's next step: its cost for what it saves, the group, and the saving.

        Costs and savings are those of one channel.
        """
        found = []
        for place, group in enumerate(self.groups):
            size = self._size(group)
            if size:
                now = self.counts[group.dim.root]
                saved = self.value - self.meter({**self.counts, group.dim.root: now - size})
                if saved > 0:
                    rate = saved / size
                    found.append((self._cost(group) / rate, place, rate))
        return found

    def _least(self, group: Group) -> int:
        """How many channels of a group stay in any case."""
        step = self.steps[group.name]
        return min(group.size, math.ceil(group.size / (_LEAST * step)) * step)

    def _size(self, group: Group) -> int:
        """How many channels go next; 0 if no more may."""
        now, step = self.counts[group.dim.root], self.steps[group.name]
        size = now % step or step
        return size if now - size >= self._least(group) else 0

    def _cost(self, group: Group) -> float:
        """What each of the channels that go next costs, in the mean."""
        size, gone = self._size(group), group.size - self.counts[group.dim.root]
        sums = self._sums[group.name]
        return float(sums[gone + size] - sums[gone]) / size
