"""The file of the winner, what it does when it is run, and the report on it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tersor.choosing.contest import Outcome, Terms
from tersor.choosing.entry import Entry
from tersor.choosing.judge import Judge
from tersor.choosing.making import Maker
from tersor.choosing.mixing import Search
from tersor.choosing.rating import Rating
from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.engines import find, names
from tersor.errors import EngineError
from tersor.machine import describe, isa_flags
from tersor.measure import peak_memory_of
from tersor.network.kind import Kind
from tersor.network.network import Network
from tersor.pipeline import evidence, figures, slimmed, weights
from tersor.pipeline.preparing import Original
from tersor.pipeline.result import Result
from tersor.plan.budget import Budget
from tersor.plan.recipe import Recipe, Step
from tersor.report.document import BudgetResult, Report, normal
from tersor.runtime import Runnable
from tersor.runtime import open as open_model
from tersor.store.model import list_tensors, save_model
from tersor.store.saturation import warning_elsewhere
from tersor.store.sizes import sizes
from tersor.verify import Reference, Verdict, compare

_WORKSHOP_SAMPLES = 1024  # at most so many also run in the workshop


@dataclass(frozen=True)
class Findings:
    """All that is known when the winner stands.

    Attributes:
        original: The untouched model.
        made: The candidates' networks, by name.
        parts: The samples by purpose.
        outcome: The contest.
        judge: Who judged.
        terms: How was raced.
        recipe: The resolved recipe.
        kind: The kind of network, if the recipe asked for it.
        budget: What was to be reached.
        failed: Why a candidate could not be made, by name.
        searches: Those for mixes of integer and float layers, and for rates.
        codec: Of the file.
        maker: Made the winner, and kept what each of its steps gave.
    """

    original: Original
    made: dict[str, Network]
    parts: Split
    outcome: Outcome
    judge: Judge
    terms: Terms
    recipe: Recipe
    kind: Kind | None
    budget: Budget | None
    failed: dict[str, str]
    searches: list[Search | Rating]
    codec: str
    maker: Maker

    @property
    def compressed(self) -> Network:
        """The winner's network."""
        return self.made.get(self.outcome.winner.program.name, self.original.network)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What won; nothing where the original was kept."""
        if self.outcome.winner.is_original:
            return ()
        (candidate,) = self.recipe.candidates
        return candidate.steps

    @property
    def reported(self) -> Samples:
        """The samples that the published figures are of."""
        return self.parts.test or self.parts.validation

    @cached_property
    def reference(self) -> Reference:
        """The original on an engine and these samples."""
        kept = self.judge.original
        if self.reported is kept.samples:
            return kept
        size = self.judge.batch_size
        return Reference(self.original.run, self.reported, batch_size=size)


@dataclass(frozen=True)
class _Published:
    """The file, and what it does."""

    tsr: bytes
    verdict: Verdict
    in_workshop: Verdict
    layers: list[Any]
    stored: dict[str, Any]
    memory: tuple[int | None, int | None]


def publish(findings: Findings, folder: Path, told: Callable[[float], None]) -> Result:
    """Write the winner into `folder`, read it back, run it on all samples, and report.

    Raises:
        VerifyError: The file gives something else than was judged.
    """
    winner = findings.outcome.winner
    path = folder / "model.tsr"
    save_model(path, winner.program.stored, meta_of(winner), codec=findings.codec)
    runnable = open_model(path, threads=winner.threads)
    told(0.1)
    verdict = _verdict(findings, runnable, lambda done: told(0.1 + 0.5 * done))
    published = _Published(
        tsr=path.read_bytes(),
        verdict=verdict,
        in_workshop=_in_workshop(findings),
        layers=figures.layer_rows(
            findings.original.network, findings.compressed, list_tensors(path)
        ),
        stored=dict(sizes(path).rows()),
        memory=_memory(findings, path),
    )
    told(0.9)
    report = _report(findings, published, runnable)
    onnx = winner.program.stored
    return Result(findings.compressed, report, onnx, published.tsr, findings.recipe)


def meta_of(winner: Entry) -> dict[str, object]:
    """What `tersor.open` reads from the file."""
    run = {"engine": winner.engine, "precision": winner.precision}
    if winner.program.expand is not None:
        run["expand"] = winner.program.expand
    return {"tersor": version("tersor"), "run": run}


def _verdict(findings: Findings, runnable: Runnable, told: Callable[[float], None]) -> Verdict:
    """The file on its engine against the original on an engine."""
    reference, metric = findings.reference, findings.judge.metric
    samples = findings.reported
    return compare(reference, runnable.run, samples, metric=metric, on_progress=told)


def _in_workshop(findings: Findings) -> Verdict:
    """The compressed network against the original one, both in PyTorch."""
    size = findings.judge.batch_size
    few = findings.reported.take(0, max(size, _WORKSHOP_SAMPLES // size * size))
    return compare(
        findings.original.network.run,
        findings.compressed.run,
        few,
        metric=findings.judge.metric,
        batch_size=size,
    )


def _memory(findings: Findings, path: Path) -> tuple[int | None, int | None]:
    """Peak memory of opening and running the original and the file, where it can be told."""
    untouched = path.with_name("original.onnx")
    untouched.write_bytes(findings.original.onnx)
    base, feeds = findings.outcome.baseline, findings.terms.feeds
    threads = base.threads
    try:
        before = peak_memory_of(untouched, feeds, engine=base.engine, threads=threads)
        return before, peak_memory_of(path, feeds, threads=threads)
    except EngineError:
        return None, None


def _report(findings: Findings, published: _Published, runnable: Runnable) -> Report:
    outcome, original, judge = findings.outcome, findings.original, findings.judge
    winner, verdict = outcome.winner, published.verdict
    batch = len(next(iter(findings.terms.feeds.values())))
    test = findings.parts.test
    agreement = judge.check_engine(winner.program, runnable.run, winner.precision)
    entries = [outcome.baseline, outcome.best, winner]
    document: dict[str, object] = {
        "version": version("tersor"),
        "model": original.name,
        "original": {
            "file_bytes": len(original.onnx),
            "metric": figures.metric(verdict, verdict.original),
            "latency": figures.latency(outcome.baseline, batch),
            "peak_memory_bytes": published.memory[0],
        },
        "compressed": {
            "file_bytes": len(published.tsr),
            "onnx_bytes": len(winner.program.stored),
            "metric": figures.metric(verdict, verdict.compressed),
            "latency": figures.latency(winner, batch),
            "peak_memory_bytes": published.memory[1],
        },
        "drop_pp": figures.drop(verdict.drop_pp),
        "drop": figures.drop(verdict.drop),
        "compression": len(original.onnx) / len(published.tsr),
        "speedup": outcome.baseline.median_ms / winner.median_ms,
        "speedup_over_best_original": outcome.best.median_ms / winner.median_ms,
        "agreement": verdict.agreement,
        "budget": _budget(findings, published),
        "layers": published.layers,
        "skipped": figures.skipped(findings.compressed.notes),
        "sqnr_db": dict(verdict.sqnr_db),
        "worst": figures.worst(verdict),
        **_evidence(findings, published.tsr),
        "stored": published.stored,
        "data": {
            "calibration": len(findings.parts.calibration),
            "validation": len(findings.parts.validation),
            "test": 0 if test is None else len(test),
            "labels": findings.reported.labels is not None,
            "how": findings.parts.how,
        },
        "candidates": figures.candidates(outcome, findings.terms, batch)
        + figures.not_made(findings.failed, batch),
        "resolution": figures.resolution(outcome, judge.limit_pp),
        "remarks": figures.remarks(findings.made),
        "trainings": figures.trainings(findings.compressed.notes),
        "searches": [figures.search(s) for s in findings.searches if isinstance(s, Search)],
        "ratings": [figures.rating(s) for s in findings.searches if isinstance(s, Rating)],
        "quiet": all(e.timing is not None and e.timing.quiet for e in entries),
        "engines": {name: find(name).version() for name in names()},
        "verify": {
            "engine": {"engine": runnable.engine, **verdict.to_dict()},
            "workshop": published.in_workshop.to_dict(),
            "workshop_to_engine": figures.agreement(agreement, runnable.engine),
            "original_to_engine": figures.agreement(original.agreement, original.engine),
        },
        "machine": describe(),
        "recipe": findings.recipe.to_dict(),
        "portability": warning_elsewhere(winner.program.model, isa_flags()),
        "kind": None if findings.kind is None else asdict(findings.kind),
        "seconds": 0.0,
        "phases": [],
    }
    return normal(document)


def _evidence(findings: Findings, tsr: bytes) -> dict[str, object]:
    """What of the document says why: see `pipeline.evidence`."""
    outcome, samples = findings.outcome, findings.parts.validation
    original, winner = findings.original.network, outcome.winner
    file, steps, maker = findings.original.onnx, findings.steps, findings.maker
    return {
        "stages": weights.stages(file, steps, maker, tsr, findings.codec),
        "weights": weights.views(original, findings.compressed),
        "worst_samples": evidence.worst_samples(winner, samples),
        "operations": evidence.operations(outcome, findings.terms.feeds),
        "path": evidence.path(original, findings.compressed, winner, samples),
        "channels": slimmed.slimmed(original, findings.compressed, _place(findings)),
    }


def _place(findings: Findings) -> slimmed.Place:
    """Where the winner runs; for measuring its layers as long as for a race."""
    winner, terms = findings.outcome.winner, findings.terms
    batch = len(next(iter(terms.feeds.values())))
    return slimmed.Place(*winner.place, winner.threads, batch, terms.seconds)


def _budget(findings: Findings, published: _Published) -> BudgetResult:
    """What was asked for against what was reached."""
    outcome, budget = findings.outcome, findings.budget
    limit = findings.judge.limit_pp
    if budget is None:
        return {"asked": {}, "met": True, "missed": [], "allowed_drop_pp": limit}
    drop_pp = published.verdict.drop_pp
    missed = budget.judge(
        compression=len(findings.original.onnx) / len(published.tsr),
        file_bytes=len(published.tsr),
        speedup=outcome.baseline.median_ms / outcome.winner.median_ms,
        median_ms=outcome.winner.median_ms,
        drop_pp=None if drop_pp is None else drop_pp.value,
    )
    return {
        "asked": dict(budget.asked()),
        "met": not missed,
        "missed": missed,
        "allowed_drop_pp": limit,
    }
