"""The search for a mix of integer and float layers that just keeps the limit.

Layers go back to float in the order of the noise that each makes alone, as the method
measured it: the noisiest first. How many are needed is found by bisection, since each
one more makes the outputs no worse: at most log2(layers) + 1 mixes are judged, all on the
validation samples and on an engine.

A mix in question reuses the calibration of the whole (`network.partly`). The one found is
made once more by the method itself, with the setting `keep`, so that the resolved recipe gives
the same again; should that one miss the limit, the next larger mix that kept it is made.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from tersor.choosing.judge import Judge
from tersor.choosing.making import Maker, apply
from tersor.choosing.program import Run
from tersor.network.fold import fold_batch_norm
from tersor.network.layers import layers
from tersor.network.network import Network, Note
from tersor.network.partly import partly
from tersor.plan.recipe import Candidate, Step
from tersor.verify import Verdict

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Try:
    """One mix that was judged.

    Attributes:
        floats: How many of the layers were in float.
        verdict: What the judge saw.
        objection: Why it does not keep the limit; None if it does.
    """

    floats: int
    verdict: Verdict
    objection: str | None


@dataclass
class Search:
    """A search for a mix, and what came of it.

    Attributes:
        candidate: As the recipe has it.
        order: Names of the layers that the method put into integers, the noisiest first.
        tries: In the order in which they were judged.
        found: The candidate that gives the mix; None if none keeps the limit.
        network: The mix.
    """

    candidate: Candidate
    order: tuple[str, ...] = ()
    tries: list[Try] = field(default_factory=list)
    found: Candidate | None = None
    network: Network | None = None

    @property
    def floats(self) -> tuple[str, ...]:
        """Of `order`, the layers that are in float in the mix that was found."""
        return self.order[: self.tries[-1].floats] if self.found is not None else ()


def search(
    candidate: Candidate,
    maker: Maker,
    judge: Judge,
    runner: Callable[[Network], Run],
    on_progress: Progress | None = None,
) -> Search:
    """Find the mix with the fewest layers in float that keeps the limit.

    Args:
        candidate: One with a search.
        maker: Applies its steps.
        judge: On the validation samples.
        runner: Puts a network on an engine, see `Fastest`.
        on_progress: Called with the fraction done.

    Raises:
        TersorError: As the methods, the export and the engine raise it.
    """
    work = _Work(candidate, maker, judge, runner, on_progress or (lambda _: None))
    return work.run()


class _Work:
    """One search."""

    def __init__(
        self,
        candidate: Candidate,
        maker: Maker,
        judge: Judge,
        runner: Callable[[Network], Run],
        told: Progress,
    ) -> None:
        self.steps, self.index = candidate.steps, candidate.searched
        self.maker, self.judge, self.runner, self.told = maker, judge, runner, told
        self.result = Search(candidate)
        self.kept: frozenset[str] = frozenset()
        self.exact: Network | None = None

    def run(self) -> Search:
        """All integers first; bisection if they miss the limit."""
        result, candidate = self.result, self.result.candidate
        whole = self.maker.after(self.steps)
        step = self.steps[self.index]
        result.order, self.kept = _order(whole.notes, step)
        if self._keeps_limit(whole, 0):
            result.found, result.network = Candidate(candidate.name, self.steps), whole
            self.told(1.0)
            return result
        for floats in self._bisected():
            found = candidate.keeping(self._floats(floats))
            network = self.maker.after(found.steps)
            if self._keeps_limit(network, floats):
                result.found, result.network = found, network
                break
        self.told(1.0)
        return result

    def _bisected(self) -> list[int]:
        """Numbers of float layers that kept the limit, the least first."""
        low, high = 0, len(self.result.order)
        good: list[int] = []
        while high - low > 1:
            middle = (low + high) // 2
            if self._keeps_limit(self._mix(middle), middle):
                high = middle
                good.insert(0, middle)
            else:
                low = middle
        return good

    def _mix(self, floats: int) -> Network:
        before = self.maker.after(self.steps[: self.index])
        rounded = self.maker.after(self.steps[: self.index + 1])
        if self.exact is None:
            self.exact = fold_batch_norm(before)
        integer = self.result.order[floats:]
        network = partly(rounded, self.exact, integer, self.maker.samples)
        for step in self.steps[self.index + 1 :]:
            network = apply(step, network, self.maker.samples)
        return network

    def _keeps_limit(self, network: Network, floats: int) -> bool:
        verdict = self.judge.verdict(self.runner(network))
        objection = self.judge.objection(verdict)
        tries = self.result.tries
        tries.append(Try(floats, verdict, objection))
        self.told(len(tries) / (3 + math.log2(1 + len(self.result.order))))
        return objection is None

    def _floats(self, count: int) -> list[str]:
        """All layers to keep, in the order of the network."""
        names: Collection[str] = {*self.kept, *self.result.order[:count]}
        assert self.exact is not None  # noqa: S101 - a mix was made
        return [layer.name for layer in layers(self.exact) if layer.name in names]


def _order(notes: Sequence[Note], step: Step) -> tuple[tuple[str, ...], frozenset[str]]:
    """Layers in integers, the noisiest first; and those that the step itself left in float."""
    own = {note.layer: note for note in notes if note.method == step.method}
    done = [note for note in own.values() if note.done]
    noisiest = sorted(done, key=lambda note: -(note.noise or 0.0))
    asked = step.settings.get("keep", ())
    assert isinstance(asked, tuple)  # noqa: S101 - checked when the step was made
    left = {n.layer for n in own.values() if not n.done and n.noise is not None}
    return tuple(note.layer for note in noisiest), frozenset(left | set(asked))
