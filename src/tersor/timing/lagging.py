"""Layers whose time falls less than their work does after a cut, and why.

A layer that did M multiply-accumulates (MACs) in t milliseconds does M' in t' after the cut.

    lag = t' - t * M' / M

is what it takes longer than if its time had fallen as its MACs did. Of the reasons, the first
that holds is told:

    overhead   t' is at most three times what an operation takes that has next to nothing to do
    blocks     engines take channels some at a time: so many more take no longer, which is
               measured, that half of the lag or more would be work
    memory     about as large a part is left of the bytes that it moves as of its time, or more

and of a layer that does as many MACs as before, why nobody cut it.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.timing.prediction import of_tasks
from tersor.timing.reading import Task, works
from tersor.timing.table import Table
from tersor.timing.work import CONVOLUTIONS, Work

_WITH_WIDTHS = (*CONVOLUTIONS, "matmul")
_IDLE = Work("move", ((1024,),))  # an operation that has next to nothing to do
_OVERHEAD = 3.0  # times that
_BLOCKS = (32, 16, 8)
_SAME = 1.05  # times as long is as long
_SITTINGS = 2  # for which two times are measured before they are compared
_PART = 0.05  # of time or bytes, that counts
_LEAST = 0.01  # of the whole network's time, that is worth a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One node, before and after a cut.

    Attributes:
        node: Its name in the network before.
        name: Of its layer; that of the node if it has no weight.
        before: Its work.
        after: The same after the cut; None if the node is gone.
        ms: What it took; None if that is not known.
        ms_left: What it takes now; None if that is not known.
    """

    node: str
    name: str
    before: Work
    after: Work | None
    ms: float | None = None
    ms_left: float | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates before, in a run of a whole batch."""
        return self.before.macs

    @property
    def macs_left(self) -> int:
        """The same after the cut."""
        return 0 if self.after is None else self.after.macs

    @property
    def moved_bytes(self) -> int:
        """Read and written before, in a run of a whole batch."""
        return self.before.moved_bytes

    @property
    def moved_bytes_left(self) -> int:
        """The same after the cut."""
        return 0 if self.after is None else self.after.moved_bytes

    @property
    def lag_ms(self) -> float:
        """See the module; 0 where it is not known, or nothing is multiplied."""
        if self.ms is None or self.ms_left is None or not self.macs:
            return 0.0
        return self.ms_left - self.ms * self.macs_left / self.macs

    @property
    def is_whole(self) -> bool:
        """Whether it does as much as before."""
        return self.macs_left == self.macs


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A network before and after a cut, node by node.

    Attributes:
        pairs: All that took time before, in the order of the graph.
        new_ms: What only the network after the cut does takes; None if times are not known.
        call_ms: What a run costs though nothing is computed; None if times are not known.
    """

    pairs: tuple[Pair, ...]
    new_ms: float | None = None
    call_ms: float | None = None

    @property
    def ms(self) -> float | None:
        """Of a run before, all together."""
        if self.call_ms is None:
            return None
        return self.call_ms + sum(pair.ms or 0.0 for pair in self.pairs)

    @property
    def ms_left(self) -> float | None:
        """Of a run after the cut."""
        if self.call_ms is None or self.new_ms is None:
            return None
        return self.call_ms + self.new_ms + sum(pair.ms_left or 0.0 for pair in self.pairs)


def compared(
    before: Network,
    after: Network,
    table: Table | None = None,
    *,
    batch: int = 1,
    seconds: float = math.inf,
) -> Comparison:
    """Pair the nodes of two networks: by the names of weight and node, else by the weight's.

    Args:
        before: A network.
        after: The same with fewer channels, or without some of its nodes.
        table: Of the engine that tells times; None to tell none.
        batch: Samples in a run.
        seconds: For measuring what the table lacks. Where that is not enough, no times are
            told; what was measured stays in the table.

    Raises:
        UnsupportedError: A value's size depends on other values.
        EngineError: The engine is absent or refuses a layer.
    """
    olds, news = _parts(before, batch), _parts(after, batch)
    partner, new = _partners(olds, news)
    times = None
    if table is not None:
        times = _times([part.task for part in (*olds, *news)], table, seconds)
    pairs = []
    for i, part in enumerate(olds):
        work = news[partner[i]].task.work if i in partner else None
        pair = Pair(node=part.task.node, name=part.name, before=part.task.work, after=work)
        if times is not None:
            left = 0.0 if work is None else times[work]
            pair = replace(pair, ms=times[pair.before], ms_left=left)
        pairs.append(pair)
    if times is None or table is None:
        return Comparison(pairs=tuple(pairs))
    added = sum(times[news[j].task.work] for j in new)
    return Comparison(pairs=tuple(pairs), new_ms=added, call_ms=of_tasks((), table).call_ms)


@dataclass(frozen=True, slots=True)
class _Part:
    """A task, the name of its layer, and its weight; the node's name and "" without one."""

    task: Task
    name: str
    weight: str


def _parts(network: Network, batch: int) -> list[_Part]:
    """All tasks; of a node with several, each is named after the first of its layers."""
    tasks, own = works(network, batch), defaultdict(list)
    for layer in layers(network):
        own[layer.node].append(layer)
    counts, seen = Counter(task.node for task in tasks), Counter[str]()
    found = []
    for task in tasks:
        known, place = own.get(task.node), seen[task.node]
        seen[task.node] += 1
        if known:
            layer = known[place * len(known) // counts[task.node]]
            found.append(_Part(task, layer.name, layer.weight))
        else:
            found.append(_Part(task, task.node, ""))
    return found


def _partners(
    olds: Sequence[_Part], news: Sequence[_Part]
) -> tuple[dict[int, int], list[int]]:
    """Which one after belongs to which before, by their places; and those left over."""
    partner: dict[int, int] = {}
    free = list(range(len(news)))
    for key in (_exact, _by_weight):
        waiting: dict[object, list[int]] = {}
        for j in free:
            waiting.setdefault(key(news[j]), []).append(j)
        waiting.pop(None, None)
        for i, old in enumerate(olds):
            if i not in partner and waiting.get(key(old)):
                partner[i] = waiting[key(old)].pop(0)
        taken = set(partner.values())
        free = [j for j in free if j not in taken]
    return partner, free


def _exact(part: _Part) -> tuple[str, ...]:
    return part.weight, part.task.node, part.task.work.op


def _by_weight(part: _Part) -> str | None:
    return part.weight or None


def _times(tasks: Iterable[Task], table: Table, seconds: float) -> dict[Work, float] | None:
    """Milliseconds of each work; None if measuring takes too long."""
    end, start = time.monotonic() + seconds, table.measured
    found: dict[Work, float] = {}
    for task in tasks:
        if task.work not in found:
            if table.measured > start and time.monotonic() > end:
                return None
            found[task.work] = of_tasks([task], table).rows[0].ms
    return found


def laggards(found: Comparison, most: int = 3) -> list[Pair]:
    """The layers of the largest lags, the largest first; none where times are not known.

    Those of less than a hundredth of the network's time are left out, and those that kept at
    most a twentieth more of their time than of their MACs.

    Args:
        found: See `compared`.
        most: How many.
    """
    whole = found.ms or math.inf
    late = [
        pair
        for pair in found.pairs
        if pair.ms and pair.lag_ms > max(_LEAST * whole, _PART * pair.ms)
    ]
    return sorted(late, key=lambda pair: -pair.lag_ms)[:most]


def reason(pair: Pair, table: Table | None, frozen: Mapping[str, str]) -> str:
    """Why a layer takes longer than its MACs tell, in words; "" if nothing explains it.

    Args:
        pair: Of a comparison.
        table: Of the same engine: a few more works are measured. None without times.
        frozen: Why channels of a layer cannot be cut, by its name.

    Raises:
        EngineError: The engine is absent or refuses a layer.
    """
    if pair.is_whole:
        why = frozen.get(pair.name)
        return f"its channels are frozen: {why}" if why else "nothing of it was cut"
    if table is None or pair.after is None or pair.lag_ms <= 0:
        return ""
    ms, ms_left = pair.ms or 0.0, pair.ms_left or 0.0
    least = table.milliseconds(_IDLE)
    if ms_left <= _OVERHEAD * least:
        return f"it is so small that it takes little more than any operation, {least:.2g} ms"
    blocks = _blocks(pair, pair.after, table)
    if blocks:
        return blocks
    share = pair.moved_bytes_left / pair.moved_bytes
    near = share * ms > ms_left - _PART * ms
    return f"{100 * share:.0f} % of the bytes that it moves are left" if near else ""


def _blocks(pair: Pair, work: Work, table: Table) -> str:
    """Which channels take as long as more of them would, if that explains half of the lag."""
    before = pair.before
    if work.op not in _WITH_WIDTHS or len(work.widths) != len(before.widths):
        return ""
    least = work.macs + pair.lag_ms / (pair.ms or math.inf) * before.macs / 2
    kinds = ("output", "input") if work.op == "conv" else ("input", "output")
    for axis in sorted(range(len(work.widths)), key=lambda axis: kinds[axis] != "output"):
        count = work.widths[axis]
        for block in _BLOCKS:
            more = min(before.widths[axis], -(-count // block) * block)
            wide = work.at(tuple(more if i == axis else w for i, w in enumerate(work.widths)))
            if wide.macs > least and _is_as_fast(wide, work, table):
                return f"its {count} {kinds[axis]} channels take as long as {more} would"
    return ""


def _is_as_fast(wide: Work, work: Work, table: Table) -> bool:
    slow, fast = (table.milliseconds(each, times=_SITTINGS) for each in (wide, work))
    return slow <= _SAME * fast
