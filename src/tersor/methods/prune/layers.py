"""Remove whole residual branches or blocks: y = x + f(x) becomes y = x.

What goes is what matters least, by one of two scores:

    output      how far the network's outputs move when a branch is left out, measured on
                samples: the divergence KL(before || after) of classes, the angle of
                embeddings, else the mean square error over the variance; no labels are needed
    distance    1 - mean cosine of x and y: how much the branch changes what it adds to, over
                samples and positions, from one run for all

By "output" branches go one after the other, each time the one that moves the outputs least
beyond what those before it did: as many runs over the samples as there are branches, for each
that goes. A fraction of the multiply-accumulates (MACs) as a target takes what costs least for
what it saves.

What is left needs training: `distil.*` and `train.fine_tune`.

Source of the distance: Men et al., "ShortGPT: layers in large language models are more
redundant than you expect", arXiv:2403.03853, equation (1).
"""

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from tersor.data.samples import Batch, Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.network.branches import Branch, blocks, branches, without
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.network import WHOLE, Network, Note
from tersor.network.running import batch_size_of, each_value, for_running
from tersor.network.workers import over_batches
from tersor.train.objective import resolve

_NAME = "prune.layers"
_BATCH = 16
_TOGETHER = 8  # networks that are tried in one run over the samples

Score = Literal["output", "distance"]
Unit = tuple[Branch, ...]  # goes as a whole
Prices = Callable[
    [Sequence[Unit], Sequence[Unit]], list[float]
]  # of units, if others are gone


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneLayers:
    """Remove residual branches, or whole blocks of them.

    Attributes:
        count: How many to remove; 0 changes nothing.
        macs: Remove as many as bring the multiply-accumulates to this fraction, in (0, 1];
            `count` does not matter then.
        score: What tells which ones matter: "output" or "distance".
        whole: Whether all branches of a block go together, as a transformer's layer does.
        samples: How many samples to look at, at most.
        keep: Names of branches, blocks or layers that stay.
    """

    count: int = 1
    macs: float | None = None
    score: Score = "output"
    whole: bool = False
    samples: int = 128
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError("count", got=self.count, allowed="0 or more")
        if self.macs is not None and not 0 < self.macs <= 1:
            raise InputError("macs", got=self.macs, allowed="in (0, 1], as in 0.5")
        if self.score not in {"output", "distance"}:
            raise InputError("score", got=self.score, allowed="output or distance")
        if self.samples < 1:
            raise InputError("samples", got=self.samples, allowed="at least 1")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`."""
        if (self.count == 0 and self.macs is None) or self.macs == 1:
            note = Note(WHOLE, _NAME, done=False, text="no branch is to go")
            return network.with_notes(note)
        if samples is None:
            allowed = f"given: {_NAME} looks at what branches do to them"
            raise InputError("samples", got=None, allowed=allowed)
        found = branches(network)
        staying = self._staying(found)
        choice = _Choice(network, self._units(found, staying), self.count, self.macs)
        few = samples.take(0, self.samples)
        by_output = self.score == "output"
        prices = (
            _outputs(network, few) if by_output else _distances(network, choice.units, few)
        )
        gone = choice.cheapest(prices)
        notes = [Note(b.name, _NAME, done=False, text=why) for b, why in staying.items()]
        for unit, price in gone.items():
            text = f"removed for {self.score} {price:.3g}: {choice.size(unit)}"
            name = unit[0].block if len(unit) > 1 else unit[0].name
            notes.append(Note(name, _NAME, done=True, text=text))
        result = without(network, [branch for unit in gone for branch in unit])
        return result.with_notes(*notes, *choice.missed(list(gone)))

    def _staying(self, found: Sequence[Branch]) -> dict[Branch, str]:
        """Why branches stay: one that is kept keeps those that it is inside of."""
        names = {branch: {branch.name, branch.block, *branch.layers} for branch in found}
        unknown = sorted(set(self.keep).difference(*names.values()))
        if unknown:
            known = ", ".join(branch.name for branch in found) or "none"
            raise ModelError(unknown[0], "is in no branch of the network", f"It has {known}.")
        kept = [set(b.nodes) for b in found if not names[b].isdisjoint(self.keep)]
        reasons = {
            b: b.reason or ("kept as asked" if any(k <= {*b.nodes} for k in kept) else "")
            for b in found
        }
        return {branch: reason for branch, reason in reasons.items() if reason}

    def _units(self, found: Sequence[Branch], staying: Mapping[Branch, str]) -> list[Unit]:
        """What may go."""
        groups = blocks(found) if self.whole else [(branch,) for branch in found]
        units = [unit for unit in groups if staying.keys().isdisjoint(unit)]
        if not units:
            first = next((f"{b.name}: {why}" for b, why in staying.items()), "it has none")
            problem = f"has no residual branch that can be removed ({first})"
            raise ModelError("The network", problem, "Prune channels instead.")
        return units


@dataclass
class _Choice:
    """Which units go.

    Attributes:
        network: Whose.
        units: In the order of the graph.
        count: How many, unless `left` is given.
        left: The fraction of MACs that is to be left, or None.
    """

    network: Network
    units: list[Unit]
    count: int
    left: float | None

    def __post_init__(self) -> None:
        rows = cost(self.network).layers
        self._macs = {row.layer.name: row.macs for row in rows}
        self._total = max(1, sum(self._macs.values()))

    def cheapest(self, prices: Prices) -> dict[Unit, float]:
        """The units that go, in that order, and what each costs beyond those before it."""
        gone: dict[Unit, float] = {}
        waiting = self.units
        while waiting and (needed := self._needed(list(gone))) > 0:
            costs = dict(zip(waiting, prices(waiting, list(gone)), strict=True))
            values = {unit: self._value(unit, list(gone), needed) for unit in waiting}
            best = min(waiting, key=lambda unit: _rank(costs[unit], values[unit]))
            gone[best] = costs[best]
            nodes = {name for unit in gone for branch in unit for name in branch.nodes}
            waiting = [u for u in waiting if not all(nodes.issuperset(b.nodes) for b in u)]
        return gone

    def _needed(self, gone: Sequence[Unit]) -> float:
        if self.left is None:
            return self.count - len(gone)
        return self._share(gone) - self.left

    def _value(self, unit: Unit, gone: Sequence[Unit], needed: float) -> float:
        """What it brings of what is needed: saving more than that is worth nothing."""
        if self.left is None:
            return 1.0
        saved = self._share(gone) - self._share([*gone, unit])
        return max(1e-12, min(saved, needed))

    def _share(self, gone: Iterable[Unit]) -> float:
        """The fraction of MACs that is left."""
        layers = {name for unit in gone for branch in unit for name in branch.layers}
        return 1 - sum(self._macs[name] for name in layers) / self._total

    def size(self, unit: Unit) -> str:
        """As in "14 % of MACs, 1,774,464 parameters"."""
        parameters = sum(branch.parameters for branch in unit)
        return f"{1 - self._share([unit]):.1%} of MACs, {parameters:,} parameters"

    def missed(self, gone: Sequence[Unit]) -> list[Note]:
        """A note if what was asked for cannot be had."""
        if self._needed(gone) <= 0:
            return []
        asked = f"{self.count} were to go"
        if self.left is not None:
            asked = f"{self.left:.1%} of MACs were to be left"
        text = f"{asked}: without all that can go {self._share(gone):.1%} of MACs are left"
        return [Note(WHOLE, _NAME, done=False, text=text)]


def _rank(price: float, value: float) -> float:
    """What is paid for each part of what is needed; a gain counts for all of it."""
    return price / value if price > 0 else price * value


def _outputs(network: Network, samples: Samples) -> Prices:
    """How much further the outputs move if a unit goes, too."""
    output = network.outputs[0]
    if not output.dtype.startswith("float"):
        remedy = "Use the score distance."
        raise ModelError(output.name, f"is an output of {output.dtype}", remedy)
    running = for_running(network)
    loss = resolve("original", network.copy(), has_labels=False).loss
    known = {frozenset[str](): 0.0}

    def moved(tried: Sequence[Network]) -> list[float]:
        others = [for_running(each) for each in tried]

        def look(batch: Batch) -> tuple[int, list[float]]:
            with torch.inference_mode():
                tensors = running.tensors(batch.inputs)
                wanted = running.module(*tensors)
                if not bool(torch.isfinite(wanted[0]).all()):
                    problem = "is NaN or infinity on a sample"
                    raise ModelError(output.name, problem, "Check weights and samples.")
                least = loss(wanted, None, wanted)  # the entropy, where that is part of it
                found = [loss(o.module(*tensors), None, wanted) - least for o in others]
            return batch.size, [float(each) for each in found]

        return _means(network, samples, look)

    def prices(units: Sequence[Unit], gone: Sequence[Unit]) -> list[float]:
        before = [branch for unit in gone for branch in unit]
        sets = [[*before, *unit] for unit in units]
        new = [s for s in sets if _key(s) not in known]
        for start in range(0, len(new), _TOGETHER):
            part = new[start : start + _TOGETHER]
            values = moved([without(network, each) for each in part])
            known.update(zip(map(_key, part), values, strict=True))
        return [_further(known[_key(before)], known[_key(each)]) for each in sets]

    return prices


def _further(before: float, after: float) -> float:
    return after - before if math.isfinite(after) else math.inf


def _key(gone: Iterable[Branch]) -> frozenset[str]:
    return frozenset(branch.sum for branch in gone)


def _distances(network: Network, units: Sequence[Unit], samples: Samples) -> Prices:
    """How much units change what they add to, whatever else is gone."""
    ends = [(unit[0].skip, unit[-1].sum) for unit in units]
    names = {name for pair in ends for name in pair}
    running = for_running(network, keep=names, overwrite=False)
    axes = _channel_axes(network, names)

    def look(batch: Batch) -> tuple[int, list[float]]:
        found: dict[tuple[str, str], float] = {}
        seen: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            for name, value in each_value(running, running.tensors(batch.inputs), of=names):
                seen[name] = value
                for pair in {pair for pair in ends if pair[1] == name}:
                    found[pair] = _angle(seen[pair[0]], value, axes[name])
                later = {start for start, end in ends if (start, end) not in found}
                seen = {each: value for each, value in seen.items() if each in later}
        return batch.size, [found[pair] for pair in ends]

    means = dict(zip(units, _means(network, samples, look), strict=True))
    return lambda asked, _: [means[unit] for unit in asked]


def _channel_axes(network: Network, names: Container[str]) -> dict[str, int]:
    """Of values the axis that stands in the most weights."""
    trail = channels(network).trail
    counts = Counter(
        leaf for axes in trail.stored.values() for d in axes for leaf in d.leaves()
    )
    found = {}
    for node, axes in trail.axes.items():
        if node.name in names:
            weights = [sum(counts[leaf] for leaf in dim.leaves()) for dim in axes]
            found[node.name] = weights.index(max(weights))
    return found


def _angle(x: torch.Tensor, y: torch.Tensor, axis: int) -> float:
    """1 - the mean cosine of vectors along an axis."""
    return float(1 - functional.cosine_similarity(x.float(), y.float(), dim=axis).mean())


def _means(
    network: Network, samples: Samples, look: Callable[[Batch], tuple[int, list[float]]]
) -> list[float]:
    """Means over samples of what `look` gives for batches; infinity for what is no number.

    Raises:
        DataError: There are fewer samples than in a fixed batch.
    """
    totals: list[float] = []
    count = 0
    for size, found in over_batches(lambda: look, _whole(network, samples), network.device):
        totals = [
            t + size * v for t, v in zip(totals or [0.0] * len(found), found, strict=True)
        ]
        count += size
    return [t / count if math.isfinite(t) else math.inf for t in totals]


def _whole(network: Network, samples: Samples) -> Iterator[Batch]:
    """All batches, but for a part of a fixed one."""
    fixed = network.fixed_batch
    if fixed is not None and len(samples) < fixed:
        problem = f"are {len(samples)}, fewer than the {fixed} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    size = batch_size_of(network, samples, _BATCH)
    return (b for b in samples.batches(size) if fixed in {None, b.size})


METHOD = PruneLayers
EXAMPLE = PruneLayers()
IDENTITY = PruneLayers(count=0)
