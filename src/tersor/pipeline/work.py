"""Compressing, phase by phase.

read -> methods -> check -> export -> judge and race -> write, read back, run -> report

Every candidate of the recipe is made, exported and raced against the untouched model on
every engine; see `choosing.contest`. What is published is measured on the file itself, as
`tersor.open` runs it. Validation samples choose; test samples only report.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tersor.choosing.contest import Outcome, Terms, hold
from tersor.choosing.entry import places
from tersor.choosing.judge import Judge, few_of
from tersor.choosing.looking import Fastest
from tersor.choosing.making import Maker
from tersor.choosing.mixing import Search, search
from tersor.choosing.program import ORIGINAL, Program, Run, forms
from tersor.choosing.rating import Rating, rate_search
from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.errors import DataError, TersorError
from tersor.export.onnx import to_onnx
from tersor.machine import default_threads
from tersor.metrics import UserMetric
from tersor.network.kind import Kind, kind_of
from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.pipeline import preparing
from tersor.pipeline.options import Options
from tersor.pipeline.preparing import Original
from tersor.pipeline.publishing import Findings, publish
from tersor.pipeline.result import Result
from tersor.pipeline.trials import Trials, check_network, check_wishes
from tersor.plan.budget import Budget
from tersor.plan.recipe import Candidate, Pin, Recipe
from tersor.reading import Loaded, Opened
from tersor.report.document import Report
from tersor.train.surroundings import Surroundings
from tersor.verify import Reference, compare

Metric = str | UserMetric | None
Runner = Callable[[Network], Run]

_NOTHING = {  # by the kind of search
    "sensitivity": "no mix of integer and float layers keeps the limit",
    "rate": "no rate keeps the limit",
}
_WITHOUT_LABELS = 2.0  # some of the disagreements correct the original


@dataclass
class Work:
    """One compression; see `tersor.pipeline.compress`."""

    recipe: Recipe
    budget: Budget | None
    metric: Metric
    options: Options
    kind: Kind | None = None
    phases: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    searches: list[Search | Rating] = field(default_factory=list)
    original_bytes: int = 0

    @contextmanager
    def _phase(self, name: str) -> Iterator[Callable[[float], None]]:
        """A part of the work, timed; gives the function that tells its progress."""
        self.options.tell(name, 0.0)
        start = time.monotonic()
        yield lambda done: self.options.tell(name, done)
        self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - start
        self.options.tell(name, 1.0)

    def run(self, model: Network | Loaded | Opened, data: object) -> Result:
        """Everything, in order."""
        began = time.monotonic()
        check_wishes(self.options, self.recipe)
        places(self.options.engines)  # an unknown engine is told of before any work
        threads = self.options.threads or default_threads()
        with self._phase("read"):
            loaded = preparing.load(model)
            self._look(loaded.network)
            check_network(self.options, self.recipe, loaded.network)
            trains = self.recipe.trains
            parts = preparing.parts_of(data, loaded.network, train=trains)
            original = preparing.original_of(loaded, parts.validation, threads)
            self.original_bytes = len(original.onnx)
            judge, terms = self._judge(original, parts), self._terms(original, parts, threads)
        with self._phase("compress") as told:
            around = Surroundings(
                device=self.options.device, checkpoints=self.options.checkpoints
            )
            maker = Maker(original.network, parts.calibration, parts.training, around)
            runner = Fastest(places(self.options.engines), terms.feeds, threads)
            made = self._make(maker, judge, runner, told)
        with self._phase("judge and race") as told:
            own = Program(ORIGINAL, original.onnx, original.onnx)
            programs = self._programs(original, made, judge)
            outcome = hold(own, programs, judge, terms, told)
        with self._phase("verify the file") as told:
            findings = Findings(
                original=original,
                made=made,
                parts=parts,
                outcome=outcome,
                judge=judge,
                terms=terms,
                recipe=self._resolved(outcome),
                kind=self.kind,
                budget=self.budget,
                failed=self.failed,
                searches=self.searches,
                codec=self.options.codec,
                maker=maker,
            )
            with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
                result = publish(findings, Path(folder), told)
        self._try_variants(Trials(findings), result.report)
        result.report["phases"] = [
            {"name": name, "seconds": taken} for name, taken in self.phases.items()
        ]
        result.report["seconds"] = time.monotonic() - began
        return result

    def _try_variants(self, trials: Trials, report: Report) -> None:
        """What was asked for beside the winner, for the report."""
        if not self.options.tries_variants:
            return
        jobs = trials.jobs(self.options)
        with self._phase(f"try {len(jobs)} variants") as told:
            report["trials"] = trials.run(jobs, report, told)

    def _look(self, network: Network) -> None:
        """Keep of the recipe what is for this kind of network, if it asks."""
        if self.recipe.asks_kind:
            self.kind = kind_of(network)
            self.recipe = self.recipe.fitting(self.kind.name)

    def _make(
        self, maker: Maker, judge: Judge, runner: Runner, told: Callable[[float], None]
    ) -> dict[str, Network]:
        """Every candidate of the recipe, by name; why one could not be made is kept.

        Raises:
            DataError: The samples cannot be used.
            TersorError: None could be made; the first reason.
        """
        made: dict[str, Network] = {}
        errors: list[TersorError] = []
        count = len(self.recipe.candidates)
        for index, candidate in enumerate(self.recipe.candidates):
            part = partial(_part, told, index, count)
            try:
                network = self._one(candidate, maker, judge, runner, part)
                if network is not None:
                    made[candidate.name] = network
            except DataError:  # samples are read as they are needed
                raise
            except TersorError as error:
                errors.append(error)
                self.failed[candidate.name] = str(error)
            finally:
                part(1.0)
        if errors and not made:
            raise errors[0]
        return made

    def _one(
        self,
        candidate: Candidate,
        maker: Maker,
        judge: Judge,
        runner: Runner,
        told: Callable[[float], None],
    ) -> Network | None:
        """What a candidate gives; None, with the reason, if its search finds nothing."""
        if candidate.search is None:
            return maker.after(candidate.steps, told)
        found: Search | Rating
        if candidate.search == "rate":
            found = rate_search(candidate, maker, judge, runner, self._most_bytes, told)
        else:
            found = search(candidate, maker, judge, runner, told)
        self.searches.append(found)
        if found.network is None:
            self.failed[candidate.name] = _NOTHING[candidate.search]
        return found.network

    def _programs(
        self, original: Original, made: dict[str, Network], judge: Judge
    ) -> list[Program]:
        """All forms of all candidates; those of equal bytes once only."""
        few = few_of(judge.samples, judge.batch_size)
        found: dict[bytes, Program] = {}
        for name, network in made.items():
            onnx = to_onnx(network)
            if onnx in found:
                self.failed[name] = f"gives the same model as {found[onnx].name}"
                continue
            noise = compare(
                original.network.run, network.run, few, batch_size=judge.batch_size
            ).noise_rms
            depth = len(layers(network))
            stored = Program(name, onnx, onnx, None, network.run, noise, depth)
            for program in forms(stored):
                found.setdefault(program.model, program)
        return list(found.values())

    @property
    def _most_bytes(self) -> float | None:
        """What the budget allows a file; None if it asks for no size."""
        return None if self.budget is None else self.budget.most_bytes(self.original_bytes)

    def _judge(self, original: Original, parts: Split) -> Judge:
        size = original.batch_size
        reference = Reference(original.run, parts.validation, batch_size=size)
        limit_pp = self._limit_pp(parts.validation)
        sure = self.options.sure
        return Judge(reference, parts.validation, self.metric, limit_pp, size, sure)

    def _limit_pp(self, samples: Samples) -> float:
        """How much the metric may lose."""
        if self.budget is not None and self.budget.drop_pp is not None:
            return self.budget.drop_pp
        factor = 1.0 if samples.labels is not None else _WITHOUT_LABELS
        return factor * self.recipe.max_drop_pp

    def _terms(self, original: Original, parts: Split, threads: int) -> Terms:
        batch = original.network.fixed_batch or self.options.batch
        return Terms(
            feeds=preparing.one_batch(parts.validation, batch),
            threads=threads,
            seconds=self.options.seconds,
            engines=self.options.engines,
            pin=self.recipe.run,
        )

    def _resolved(self, outcome: Outcome) -> Recipe:
        """The recipe that gives the same files again; as it was, if nothing of it won."""
        winner = outcome.winner
        if winner.is_original:
            return self.recipe
        pin = Pin(*winner.place, winner.program.expand)
        found = {s.candidate.name: s.found for s in self.searches if s.found is not None}
        candidates = tuple(found.get(c.name, c) for c in self.recipe.candidates)
        recipe = replace(self.recipe, candidates=candidates)
        return recipe.resolved(winner.program.name, pin)


def _part(told: Callable[[float], None], index: int, count: int, done: float) -> None:
    """Tell of the progress of one of several parts."""
    told((index + done) / count)
