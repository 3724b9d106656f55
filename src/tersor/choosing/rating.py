"""The search for the rate that makes the file as small as the limit, or the budget, allows.

A higher rate gives fewer bytes and more error. Rates lie on a scale of four to a factor of
ten. By bisection, on the validation samples and an engine, the highest that keeps the limit is
found; where a budget asks for a size that this one reaches, the lowest that reaches it, since
more error buys nothing then. Steps after the one that is searched, trainings say, are applied
to the rate that was found only; should the limit be missed then, two lower ones are tried.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tersor.choosing.judge import Judge
from tersor.choosing.making import Maker
from tersor.choosing.program import Run
from tersor.export.onnx import to_onnx
from tersor.network.network import Network
from tersor.plan.recipe import Candidate
from tersor.store.model import packed_bytes
from tersor.verify import Verdict

RATES = tuple(float(f"{10 ** (power / 4):.3g}") for power in range(-20, -1))
_TRIES = 6  # as many as bisection needs, or so
_BACK = (0, 1, 3)  # rates lower than the one found, if later steps miss the limit

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Try:
    """One rate that was tried.

    Attributes:
        rate: Of the step that is searched.
        file_bytes: What the file would take.
        verdict: What the judge saw.
        objection: Why it does not keep the limit; None if it does.
    """

    rate: float
    file_bytes: int
    verdict: Verdict
    objection: str | None


@dataclass
class Rating:
    """A search for a rate, and what came of it.

    Attributes:
        candidate: As the recipe has it.
        tries: In the order in which they were judged.
        found: The candidate at the rate that was found; None if none keeps the limit.
        network: What it gives.
    """

    candidate: Candidate
    tries: list[Try] = field(default_factory=list)
    found: Candidate | None = None
    network: Network | None = None

    @property
    def rate(self) -> float | None:
        """The rate that was found."""
        if self.found is None:
            return None
        found = self.found.steps[self.candidate.searched].settings["rate"]
        return float(str(found))


def rate_search(
    candidate: Candidate,
    maker: Maker,
    judge: Judge,
    runner: Callable[[Network], Run],
    most_bytes: float | None,
    on_progress: Progress,
) -> Rating:
    """Find the rate.

    Args:
        candidate: One whose search is "rate".
        maker: Applies its steps.
        judge: On the validation samples.
        runner: Puts a network on an engine, see `Fastest`.
        most_bytes: Of the file, as a budget asks; None for as few as the limit allows.
        on_progress: Called with the fraction done.

    Raises:
        TersorError: As the methods, the export and the engine raise it.
    """
    work = _Work(candidate, maker, judge, runner, on_progress)
    work.run(most_bytes)
    return work.result


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
        self.result, self.maker, self.judge = Rating(candidate), maker, judge
        self.runner, self.told = runner, told
        self.known: dict[int, Try] = {}

    def run(self, most_bytes: float | None) -> None:
        """Find the rate, and make the whole candidate with it."""
        result, candidate = self.result, self.result.candidate
        self.maker.after(
            candidate.steps[: candidate.searched], lambda done: self.told(done / 2)
        )
        highest = self._highest()
        if highest is None:
            return
        if most_bytes is not None and self._try(highest).file_bytes <= most_bytes:
            highest = self._lowest(highest, most_bytes)
        for back in _BACK:
            found = candidate.at_rate(RATES[max(0, highest - back)])
            network = self.maker.after(found.steps)
            if len(found.steps) == candidate.searched + 1 or self._keeps(network):
                result.found, result.network = found, network
                return

    def _highest(self) -> int | None:
        """The index of the highest rate that keeps the limit, by bisection."""
        low, high = -1, len(RATES)
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(middle).objection is None:
                low = middle
            else:
                high = middle
        return low if low >= 0 else None

    def _lowest(self, high: int, most_bytes: float) -> int:
        """The index of the lowest rate whose file is small enough; that of `high` is."""
        low = -1
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(middle).file_bytes <= most_bytes:
                high = middle
            else:
                low = middle
        return high

    def _try(self, index: int) -> Try:
        if index not in self.known:
            candidate = self.result.candidate
            steps = candidate.at_rate(RATES[index]).steps[: candidate.searched + 1]
            network = self.maker.after(steps)
            verdict = self.judge.verdict(self.runner(network))
            size, objection = packed_bytes(to_onnx(network)), self.judge.objection(verdict)
            self.known[index] = Try(RATES[index], size, verdict, objection)
            self.result.tries.append(self.known[index])
            self.told(min(1.0, 0.5 + 0.5 * len(self.known) / _TRIES))
        return self.known[index]

    def _keeps(self, network: Network) -> bool:
        return self.judge.objection(self.judge.verdict(self.runner(network))) is None
