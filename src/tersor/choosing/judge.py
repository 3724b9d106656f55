"""The judge: whether a compressed model is good enough, on the validation samples.

A proportion (top-1, agreement) may drop by `limit_pp` percentage points. Any other metric may
get worse by `limit_pp` per cent of the original's value; where that is zero, because the
original itself is the teacher, the outputs must keep 20 dB of signal to noise.

What was found is an estimate from so many samples. A judge that has to be sure asks the upper
end of its 95 % interval to keep the limit: few samples then let nothing pass.
"""

import math
from dataclasses import dataclass

from tersor.choosing.program import Program, Run
from tersor.data.samples import Samples
from tersor.errors import VerifyError
from tersor.metrics import Metric, UserMetric
from tersor.verify import Agreement, Reference, Score, Verdict, compare, compare_engine
from tersor.verify import rounding_tolerance as tolerance_of

MIN_SQNR_DB = 20.0
_CHECKED = 64

_UNITS = {"bf16": 2.0**-9}  # largest relative error of one rounding, for narrow floats


def few_of(samples: Samples, batch_size: int) -> Samples:
    """The samples on which engine and workshop are compared: whole batches, 64 or so."""
    return samples.take(0, max(batch_size, _CHECKED // batch_size * batch_size))


@dataclass
class Judge:
    """Judges models against one original.

    Attributes:
        original: The untouched model's outputs on the samples.
        samples: The validation samples.
        metric: See `tersor.metrics.resolve`.
        limit_pp: How much the metric may lose.
        batch_size: How many samples run at once.
        sure: Whether the upper end of the 95 % interval must keep the limit, too.
    """

    original: Reference
    samples: Samples
    metric: str | UserMetric | Metric | None
    limit_pp: float
    batch_size: int
    sure: bool = False

    def verdict(self, run: Run) -> Verdict:
        """How far a model is from the original; errors as `verify.compare`."""
        return compare(self.original, run, self.samples, metric=self.metric)

    def objection(self, verdict: Verdict) -> str | None:
        """Why the limit is not kept; None if it is."""
        if verdict.drop_pp is not None:
            worst, more = self._worst(verdict.drop_pp, 1.0, "pp")
            if worst <= self.limit_pp:
                return None
            value = verdict.drop_pp.value
            return f"drop {value:.2f} pp{more} exceeds {self.limit_pp:.2f} pp"
        return self._of_other_metric(verdict)

    def _worst(self, drop: Score, factor: float, unit: str) -> tuple[float, str]:
        """What must keep the limit, and how to say it where that is not the drop itself."""
        if not self.sure:
            return factor * drop.value, ""
        if drop.high is None:
            return math.inf, " on too few samples for an interval"
        return factor * drop.high, f", at 95 % up to {factor * drop.high:.2f} {unit},"

    def _of_other_metric(self, verdict: Verdict) -> str | None:
        scale = abs(verdict.original.value)
        if scale > 0:
            worse = 100 * verdict.drop.value / scale
            worst, more = self._worst(verdict.drop, 100 / scale, "%")
            if worst <= self.limit_pp:
                return None
            return f"{verdict.metric} {worse:.2f} % worse{more} exceeds {self.limit_pp:.2f} %"
        worst_db = min(verdict.sqnr_db.values())
        if worst_db >= MIN_SQNR_DB:
            return None
        return f"signal to noise of {worst_db:.1f} dB is below {MIN_SQNR_DB:.0f} dB"

    def check_engine(self, program: Program, run: Run, precision: str) -> Agreement | None:
        """Compare an engine's outputs with the workshop's on some samples.

        Returns:
            How close they are; None for a program that no workshop network stands behind.

        Raises:
            VerifyError: They differ by more than rounding explains.
        """
        if program.workshop is None:
            return None
        unit = _UNITS.get(precision)
        tolerance = None if unit is None else tolerance_of(2 * program.depth, unit)
        return compare_engine(
            program.workshop,
            run,
            few_of(self.samples, self.batch_size),
            noise=_allowed(program),
            tolerance=tolerance,
            batch_size=self.batch_size,
        )

    def try_engine(self, program: Program, run: Run, precision: str) -> str | None:
        """Why an engine cannot be trusted with a program; None if it can."""
        try:
            self.check_engine(program, run, precision)
        except VerifyError as error:
            return str(error)
        return None


def _allowed(program: Program) -> dict[str, float]:
    """What quantization itself did; as float, the roundings that are gone come on top."""
    factor = 1.0 if program.expand is None else 2.0**0.5
    return {name: factor * rms for name, rms in (program.noise or {}).items()}
