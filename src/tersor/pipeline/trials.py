"""What is tried beside the winner, once it stands: for the report only, nothing is chosen.

The steps that won are run again with other seeds, or with one part left out; the winner is
stored by other coders; a dense network of its size is trained anew. Each result is stored, run
and judged as the winner was: by the same coder, in the same form on the same engine, on the
same samples.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tersor.choosing.program import Program, forms
from tersor.codecs import names as codec_names
from tersor.engines import find
from tersor.errors import InputError, TersorError
from tersor.export.onnx import to_onnx
from tersor.network.narrow import narrowed
from tersor.network.network import Network
from tersor.pipeline.control import Anew, Scratch
from tersor.pipeline.options import Options
from tersor.pipeline.publishing import Findings, meta_of
from tersor.plan.recipe import Recipe
from tersor.plan.variants import Variant, ablated, after_cuts, dense, draws, seeded
from tersor.report.document import Report
from tersor.report.tried import Trial
from tersor.store.layout import SEVERAL
from tersor.store.model import packed_bytes
from tersor.verify import compare

Progress = Callable[[float], None]
_KEPT = "the original was kept: nothing of the recipe is left to be varied"
_SAME = "draws nothing at random: every seed gives this file"
_NARROW = 0.5  # at which is looked whether it can be done


def check_wishes(asked: Options, recipe: Recipe) -> None:
    """Refuse what a recipe can have no variants of, before any work.

    Raises:
        InputError: Other seeds of a recipe that draws nothing at random, or a control of one
            that trains nothing.
    """
    if asked.control is not None and not recipe.trains:
        allowed = f"left out: the recipe {recipe.name} trains nothing"
        raise InputError("control", got=asked.control, allowed=allowed)
    if asked.seeds > 1 and not any(draws(each.steps) for each in recipe.candidates):
        allowed = f"1: the recipe {recipe.name} draws nothing at random"
        raise InputError("seeds", got=asked.seeds, allowed=allowed)


def check_network(asked: Options, recipe: Recipe, network: Network) -> None:
    """Refuse a control of a network that cannot be narrowed or drawn anew, before any work.

    Raises:
        ModelError: It names what is in the way.
    """
    if asked.control is not None:
        cuts = all(after_cuts(each.steps) for each in recipe.candidates)
        narrowed(network, 1.0 if cuts else _NARROW)


@dataclass(frozen=True)
class Trials:
    """Tries variants of what won.

    Attributes:
        findings: What won, and how it was judged.
    """

    findings: Findings

    def jobs(self, asked: Options) -> list[Variant]:
        """All that was asked for; nothing where the original was kept."""
        steps = self.findings.steps
        if not steps:
            return []
        found = seeded(steps, asked.seeds)
        if asked.ablate:
            found += [*ablated(steps), *self._coders()]
        if asked.control is not None:
            own = steps if after_cuts(steps) else dense(steps)
            found.append(Variant("control", f"control {asked.control}", own))
        return found

    def _coders(self) -> list[Variant]:
        """The winner by every other coder."""
        own = self.findings.codec
        others = [name for name in (*SEVERAL, *codec_names()) if name != own]
        return [Variant("coder", f"coder {n}", self.findings.steps, codec=n) for n in others]

    def run(self, jobs: Sequence[Variant], report: Report, told: Progress) -> list[Trial]:
        """The winner, and what came of each variant; why there is none to be tried.

        Args:
            jobs: See `jobs`.
            report: Its figures are the winner's.
            told: Called with the fraction that is done.
        """
        winner = _published(report, self.findings.recipe.name)
        if not jobs:
            return [{**winner, "why_not": _SAME if self.findings.steps else _KEPT}]
        found = [winner]
        for index, job in enumerate(jobs):
            found.append(self._tried(job, winner, _part(told, index, len(jobs))))
        return found

    def _tried(self, job: Variant, winner: Trial, told: Progress) -> Trial:
        """One variant, or why there is none."""
        began = time.monotonic()
        trial = _empty(job.kind, job.name)
        try:
            if job.codec is not None:
                trial = {**winner, "kind": job.kind, "name": job.name}
                trial["file_bytes"] = self._stored(job.codec)
            elif job.kind == "control":
                most = winner["file_bytes"] or 0
                network, trial["why_not"] = self._control(job, most, told)
                self._measure(network, trial)
            else:
                self._measure(self.findings.maker.after(job.steps, told), trial)
        except TersorError as error:
            trial["why_not"] = str(error)
        trial["seconds"] = time.monotonic() - began
        return trial

    def _control(self, job: Variant, most: int, told: Progress) -> tuple[Network, str]:
        """A dense network trained anew, and what it is."""
        original, maker = self.findings.original.network, self.findings.maker
        if after_cuts(job.steps):
            return Anew(original, maker, job.steps).find(told)
        return Scratch(original, maker, job.steps, most, self._bytes).find(told)

    def _stored(self, codec: str) -> int:
        """Bytes of the winner's file by another coder."""
        winner = self.findings.outcome.winner
        return packed_bytes(winner.program.stored, meta_of(winner), codec=codec)

    def _bytes(self, network: Network) -> int:
        """Of its file, as the winner's was written."""
        found = self.findings
        meta = meta_of(found.outcome.winner)
        return packed_bytes(to_onnx(network), meta, codec=found.codec)

    def _measure(self, network: Network, trial: Trial) -> None:
        """Bytes and metric, as those of the winner were found."""
        found, winner = self.findings, self.findings.outcome.winner
        onnx = to_onnx(network)
        trial["file_bytes"] = self._bytes(network)
        all_forms = forms(Program(trial["name"], onnx, onnx))
        same = [each for each in all_forms if each.expand == winner.program.expand]
        session = find(winner.engine).prepare(
            (same or all_forms)[0].model, threads=winner.threads, precision=winner.precision
        )
        metric = found.judge.metric
        verdict = compare(found.reference, session.run, found.reported, metric=metric)
        trial["metric_value"] = verdict.compressed.value
        trial["drop"] = verdict.drop.value
        trial["drop_pp"] = None if verdict.drop_pp is None else verdict.drop_pp.value


def _empty(kind: str, name: str) -> Trial:
    return {
        "kind": kind,
        "name": name,
        "file_bytes": None,
        "metric_value": None,
        "drop": None,
        "drop_pp": None,
        "seconds": None,
        "why_not": None,
    }


def _published(report: Report, name: str) -> Trial:
    """The winner's own figures."""
    drop, drop_pp = report.get("drop"), report["drop_pp"]
    return {
        **_empty("winner", name),
        "file_bytes": report["compressed"]["file_bytes"],
        "metric_value": report["compressed"]["metric"]["value"],
        "drop": None if drop is None else drop["value"],
        "drop_pp": None if drop_pp is None else drop_pp["value"],
    }


def _part(told: Progress, index: int, count: int) -> Progress:
    return lambda done: told((index + done) / count)
