"""Cut whole attention heads: queries, keys, values and the columns that read them.

Heads go that matter least, by one of two scores. A gate xi multiplies what a head gives, 1 as
it is and 0 without the head. With the outputs y of the network, n samples, random signs v:

    output    sum over samples of |dy / dxi|^2 over that of |y|^2, the worst output: how far
              the outputs move if the head goes, to first order. E (v . dy/dxi)^2 = |dy/dxi|^2,
              so that one backward pass for each batch tells all heads; no labels are needed
    norm      |O V| of the matrices that make and read its values, over the root of the sum of
              squares in its attention; no samples are needed

The source's score is E |dL / dxi| of a loss L; outputs stand in for it here, as labels may be
missing. Of grouped queries the heads of keys and values go, each with all its queries. One
head of each attention stays: `prune.layers` removes an attention as a whole.

Sources: Michel, Levy, Neubig, "Are sixteen heads really better than one?", arXiv:1905.10650,
equation (2); Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.data.samples import Batch, Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.network.channels import Channels, channels
from tersor.network.heads import Heads, Reader, heads, norms
from tersor.network.network import WHOLE, Network, Note
from tersor.network.running import Runner, for_running
from tersor.network.shapes import batch_size_for
from tersor.network.surgery import cut
from tersor.network.workers import over_batches

_NAME = "prune.heads"
_BATCH = 16
_ELEMENTS = 1 << 24  # of all values of a batch together, which the backward pass needs

Scores = NDArray[np.float64]
Gates = Mapping[
    str, Sequence[tuple[int, Reader]]
]  # by node: the attention's index, its reader


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneHeads:
    """Cut the attention heads that matter least.

    Attributes:
        fraction: Of the heads that go, in [0, 1).
        count: How many go, in place of a fraction: of each attention, or of all together.
        scope: "global": those of the whole network are compared; "layer": those of each
            attention, which all lose as many.
        score: What tells which ones matter: "output" or "norm".
        samples: How many samples to look at, at most; for "output".
        keep: Names of layers or channel groups whose attentions stay whole.
    """

    fraction: float = 0.25
    count: int | None = None
    scope: Literal["global", "layer"] = "global"
    score: Literal["output", "norm"] = "output"
    samples: int = 256
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise InputError("fraction", got=self.fraction, allowed="in [0, 1)")
        if self.count is not None and self.count < 0:
            raise InputError("count", got=self.count, allowed="0 or more")
        if self.scope not in {"global", "layer"}:
            raise InputError("scope", got=self.scope, allowed="global or layer")
        if self.score not in {"output", "norm"}:
            raise InputError("score", got=self.score, allowed="output or norm")
        if self.samples < 1:
            raise InputError("samples", got=self.samples, allowed="at least 1")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs samples for the score "output" only."""
        if self.count == 0 or (self.count is None and self.fraction == 0):
            note = Note(WHOLE, _NAME, done=False, text="no head is to go")
            return network.with_notes(note)
        if self.score == "output" and samples is None:
            allowed = f"given: {_NAME} looks at what heads do to outputs"
            raise InputError("samples", got=None, allowed=allowed)
        known = channels(network)
        found, notes = self._free(network, heads(network, known))
        if self.score == "output" and samples is not None and found:
            scores = _by_output(network, found, samples.take(0, self.samples))
        else:
            found, scores = _by_norm(network, known, found, notes)
        if not found:
            none = "it has none, or its heads share keys and values"
            first = f"{notes[0].layer}: {notes[0].text}" if notes else none
            problem = f"has no attention whose heads can be cut ({first})"
            raise ModelError("The network", problem, "Prune channels or layers instead.")
        keep = self._kept(scores)
        masks = {each.group.name: mask for each, mask in zip(found, keep, strict=True)}
        result = cut(network, {n: m for n, m in masks.items() if not m.all()}, known)
        notes += [_told(name, mask) for name, mask in masks.items()]
        return result.with_notes(*notes, *self._missed(keep))

    def _free(
        self, network: Network, found: Sequence[Heads]
    ) -> tuple[list[Heads], list[Note]]:
        """The attentions that may lose heads, and notes on the others."""
        names = [_names(each) for each in found]
        unknown = sorted(set(self.keep) - set().union(*names))
        if unknown:
            known = ", ".join(each.group.name for each in found) or "none"
            raise ModelError(unknown[0], "is in no attention", f"Its heads are in: {known}.")
        kept = [not own.isdisjoint(self.keep) for own in names]
        notes = [
            Note(each.group.name, _NAME, done=False, text="kept as asked")
            for each, is_kept in zip(found, kept, strict=True)
            if is_kept
        ]
        return [e for e, is_kept in zip(found, kept, strict=True) if not is_kept], notes

    def _kept(self, scores: Sequence[Scores]) -> list[NDArray[np.bool_]]:
        """Which heads stay: of each attention at least the best."""
        keep = [np.ones(len(own), bool) for own in scores]
        if self.scope == "layer":
            for own, mask in zip(scores, keep, strict=True):
                order = np.argsort(own, kind="stable")
                mask[order[: min(self._wanted(len(own)), len(own) - 1)]] = False
            return keep
        places = [(i, j) for i, own in enumerate(scores) for j in range(len(own))]
        left = self._wanted(len(places))
        for i, j in sorted(places, key=lambda place: float(scores[place[0]][place[1]])):
            if left and keep[i].sum() > 1:
                keep[i][j] = False
                left -= 1
        return keep

    def _wanted(self, size: int) -> int:
        return round(self.fraction * size) if self.count is None else self.count

    def _missed(self, keep: Sequence[NDArray[np.bool_]]) -> list[Note]:
        """A note if fewer went than were to go."""
        sizes = [len(mask) for mask in keep]
        each = sizes if self.scope == "layer" else [sum(sizes)]
        wanted = sum(map(self._wanted, each))
        gone = sum(int((~mask).sum()) for mask in keep)
        if gone == wanted:
            return []
        text = f"{wanted} heads were to go, {gone} went: one of each attention stays"
        return [Note(WHOLE, _NAME, done=False, text=text)]


def _names(found: Heads) -> set[str]:
    """What a user may call an attention by."""
    layers = {member.path.removesuffix(".weight") for member in found.group.members}
    return {found.group.name, *layers}


def _told(name: str, mask: NDArray[np.bool_]) -> Note:
    gone = ", ".join(map(str, np.flatnonzero(~mask)))
    if not gone:
        text = f"all {len(mask)} heads stay: others matter less"
        return Note(name, _NAME, done=False, text=text)
    return Note(name, _NAME, done=True, text=f"cut heads {gone} of {len(mask)}")


def _by_norm(
    network: Network, known: Channels, found: Sequence[Heads], notes: list[Note]
) -> tuple[list[Heads], list[Scores]]:
    """The attentions whose heads have a norm, and these; a note for each of the others."""
    left, scores = [], []
    for each in found:
        own = norms(network, known, each)
        if own is None:
            text = "its values cannot be followed to a weight: use the score output"
            notes.append(Note(each.group.name, _NAME, done=False, text=text))
            continue
        left.append(each)
        scores.append(own / max(float(np.linalg.norm(own)), np.finfo(float).tiny))
    return left, scores


def _by_output(network: Network, found: Sequence[Heads], samples: Samples) -> list[Scores]:
    """How far the outputs move for each head, over all samples."""
    gates: dict[str, list[tuple[int, Reader]]] = {}
    for index, each in enumerate(found):
        for reader in {r.source: r for r in each.readers}.values():
            gates.setdefault(reader.source, []).append((index, reader))
    size = network.fixed_batch or batch_size_for(network, _ELEMENTS, _BATCH)
    if network.fixed_batch is None and not all(r.by_sample for h in found for r in h.readers):
        size = 1
    if len(samples) < (network.fixed_batch or 1):
        problem = f"are {len(samples)}, fewer than the {size} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    sizes = [each.group.size for each in found]
    running = for_running(network, keep=gates, packed=False, overwrite=False)
    batches = (b for b in samples.batches(size) if network.fixed_batch in {None, b.size})
    power = np.zeros(len(network.outputs))
    moved = [np.zeros((len(network.outputs), size)) for size in sizes]
    make = partial(_Slopes, running, gates, sizes)
    for own, changes in over_batches(lambda: make().of, batches, network.device):
        power += own
        for total, change in zip(moved, changes, strict=True):
            total += change
    seen = power > 0
    if not (seen.any() and np.isfinite(power).all()):
        raise ModelError("The network", "gives only zeros, NaN or infinity", "Check samples.")
    return [(total[seen] / power[seen, None]).max(0) for total in moved]


class _Slopes(Runner):
    """Runs batches forth and back; on the way back slopes of gates are summed up."""

    def __init__(self, network: Network, gates: Gates, sizes: Sequence[int]) -> None:
        super().__init__(network)
        self._network, self._gates, self._sizes = network, gates, sizes
        self._leaves: list[torch.Tensor] = []
        self._slopes: list[torch.Tensor] = []
        self._batch = 0

    def of(self, batch: Batch) -> tuple[Scores, list[Scores]]:
        """Of each output sum y^2, and by attention (v . dy/dxi)^2, (outputs, heads)."""
        signs = torch.Generator().manual_seed(batch.start)
        self._batch, self._leaves = batch.size, []
        with torch.enable_grad():
            outputs = self.run(*self._network.tensors(batch.inputs))
        power = np.zeros(len(outputs))
        moved = [np.zeros((len(outputs), size)) for size in self._sizes]
        moving = [i for i, y in enumerate(outputs) if y.requires_grad]
        for index in moving:
            y = outputs[index]
            power[index] = float(y.detach().double().square().sum())
            self._slopes = [torch.zeros(batch.size, size).double() for size in self._sizes]
            v = torch.randint(0, 2, y.shape, generator=signs) * 2 - 1
            with torch.enable_grad():
                along = (y * v.to(y)).sum()
            more = index != moving[-1]
            torch.autograd.grad(along, self._leaves, retain_graph=more, allow_unused=True)
            for total, slopes in zip(moved, self._slopes, strict=True):
                total[index] = slopes.square().sum(0).numpy()
        self._leaves, self.env = [], {}
        return power, moved

    def fetch_attr(self, target: str) -> Any:
        """A weight, which needs no slope."""
        found = super().fetch_attr(target)
        return found.detach() if isinstance(found, torch.Tensor) else found

    def run_node(self, n: fx.Node) -> Any:
        """Run it; where heads are read, the backward pass is listened to."""
        result = super().run_node(n)
        if n.name not in self._gates:
            return result
        if not result.requires_grad:
            result = result.detach().requires_grad_()
            self._leaves.append(result)
        result.register_hook(partial(self._hear, n.name, result.detach()))
        return result

    def _hear(self, name: str, value: torch.Tensor, slope: torch.Tensor) -> None:
        """Add value times slope, of each sample, to the gates of the heads."""
        for index, reader in self._gates[name]:
            products = (value * slope).movedim(reader.axis, -1).double()
            rows = self._batch if reader.by_sample else 1
            sums = products.reshape(rows, -1, products.shape[-1]).sum(1).cpu()
            own = torch.from_numpy(np.flatnonzero(reader.heads >= 0))
            heads_ = torch.from_numpy(reader.heads)[own]
            self._slopes[index][:rows].index_add_(1, heads_, sums[:, own])


METHOD = PruneHeads
EXAMPLE = PruneHeads()
IDENTITY = PruneHeads(fraction=0.0)
NETWORK = "encoder"
