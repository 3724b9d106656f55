"""Original against compressed, and the workshop against an engine, sample by sample.

One pass over the samples, a batch at a time; memory does not grow with their number but for
one score each. Differences are measured on every element of every output:

    sqnr_db = 10 log10(sum of original^2 / sum of (compressed - original)^2)

The drop of the metric comes with a 95 % interval of the *paired* difference: Tango's for
proportions, Student's for means.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.cases import Case, Cases
from tersor.arrays.intervals import (
    paired_mean,
    paired_proportions,
    smallest_difference,
    wilson,
)
from tersor.arrays.noise import Noise, Worst
from tersor.data.samples import Batch, Samples
from tersor.errors import DataError, InputError, ModelError, VerifyError
from tersor.metrics import Metric, UserMetric, is_class_like, resolve

Array = NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
Progress = Callable[[float], None]

_KEEP_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Score:
    """A number with its 95 % interval; None where too few samples give none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comparing two models on samples has shown.

    Attributes:
        samples: How many.
        metric: Name of the metric.
        original: Its value for the original.
        compressed: Its value for the compressed model.
        drop: How much worse the compressed model is; below 0 it is better.
        drop_pp: The same in percentage points, if the metric is a proportion.
        agreement: Share of samples with the same highest class, in the first output; None if
            that does not look like scores of classes.
        sqnr_db: Signal-to-noise ratio by output; inf if nothing differs.
        noise_rms: Root mean square of the difference by output.
        worst: Where the relative difference is largest; None if nothing differs.
        max_abs_error: The largest difference of one element.
        cases: The samples that differ most; see `arrays.cases`.
        resolution: The smallest drop that so many samples tell from none, at 95 %, if they
            differ as these do; None where too few samples give none.
    """

    samples: int
    metric: str
    original: Score
    compressed: Score
    drop: Score
    drop_pp: Score | None
    agreement: float | None
    sqnr_db: dict[str, float]
    noise_rms: dict[str, float]
    worst: Worst | None
    max_abs_error: float
    cases: tuple[Case, ...] = ()
    resolution: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, without the cases: what is not finite becomes None."""
        found: dict[str, Any] = _finite(asdict(replace(self, cases=())))
        del found["cases"]
        return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Reference:
    """A model whose outputs on some samples are kept, so that it runs once for many rivals.

    Outputs are kept up to a bound of memory; beyond it the model runs again.
    """

    def __init__(
        self, run: Run, samples: Samples, *, batch_size: int = 64, limit: int = _KEEP_BYTES
    ) -> None:
        self.run, self.samples, self.batch_size = run, samples, batch_size
        self._free = limit
        self._kept: dict[int, dict[str, Array]] = {}

    def batches(self) -> Iterator[tuple[Batch, dict[str, Array]]]:
        """Every batch and the model's outputs on it.

        Raises:
            DataError: An output is NaN or infinite; the sample is named.
        """
        for batch in self.samples.batches(self.batch_size):
            if batch.start in self._kept:
                yield batch, self._kept[batch.start]
                continue
            outputs = self.run(batch.inputs)
            _check_original(batch, outputs)
            size = sum(a.nbytes for a in outputs.values())
            if size <= self._free:
                self._free -= size
                self._kept[batch.start] = outputs
            yield batch, outputs


def compare(
    original: Run | Reference,
    compressed: Run,
    samples: Samples,
    *,
    metric: str | UserMetric | Metric | None = None,
    batch_size: int = 64,
    on_progress: Progress | None = None,
) -> Verdict:
    """Compare two models on all samples.

    Args:
        original: What to compare with; a `Reference` of the same samples runs once only.
        compressed: The model in question.
        samples: Inputs that fit both; labels are optional.
        metric: See `tersor.metrics.resolve`.
        batch_size: How many samples run at once; a `Reference` brings its own.
        on_progress: Called with the fraction done.

    Raises:
        DataError: The original gives NaN or infinity, or labels do not fit.
        VerifyError: The compressed model gives NaN or infinity.
        ModelError: The outputs of both have different names or shapes.
        InputError: The metric does not exist, or the reference is of other samples.
    """
    reference = original
    if not isinstance(reference, Reference):
        reference = Reference(reference, samples, batch_size=batch_size, limit=0)
    if reference.samples is not samples:
        raise InputError("original", got="a reference", allowed="a reference of these samples")
    tally: _Tally | None = None
    for batch, wanted in reference.batches():
        found = compressed(batch.inputs)
        _check_alike(batch, wanted, found)
        if tally is None:
            tally = _Tally(resolve(metric, wanted, batch.labels))
        tally.add(batch, wanted, found)
        if on_progress is not None:
            on_progress((batch.start + batch.size) / len(samples))
    assert tally is not None  # noqa: S101 - Samples are never empty
    return tally.verdict()


@dataclass
class _Tally:
    """Sums over the batches seen so far."""

    metric: Metric
    errors: Noise = field(default_factory=Noise)
    cases: Cases = field(default_factory=Cases)
    before: list[NDArray[np.float64]] = field(default_factory=list)
    after: list[NDArray[np.float64]] = field(default_factory=list)
    same: int | None = 0

    def add(self, batch: Batch, wanted: dict[str, Array], found: dict[str, Array]) -> None:
        """Take in one batch."""
        self.before.append(self.metric.score(wanted, batch.labels, wanted))
        self.after.append(self.metric.score(found, batch.labels, wanted))
        first = next(iter(wanted))
        scores = (wanted[first], found[first]) if is_class_like(wanted[first]) else None
        if self.same is not None and scores is not None:
            equal = scores[0].argmax(axis=1) == scores[1].argmax(axis=1)
            self.same += int(np.count_nonzero(equal))
        else:
            self.same = None
        ratios = self.errors.add(batch.start, wanted, found)
        self.cases.add(batch.start, ratios, batch.labels, scores)

    def verdict(self) -> Verdict:
        """What the sums show."""
        before, after = np.concatenate(self.before), np.concatenate(self.after)
        n = len(before)
        sign = 1.0 if self.metric.higher_is_better else -1.0
        yes_or_no = self.metric.higher_is_better and all(
            bool(np.isin(scores, (0.0, 1.0)).all()) for scores in (before, after)
        )
        drop = _drop(sign * before, sign * after, proportions=yes_or_no)
        is_share = self.metric.name in {"top1", "top5", "agreement"}
        errors = self.errors
        return Verdict(
            samples=n,
            metric=self.metric.name,
            original=_score(before, proportions=yes_or_no),
            compressed=_score(after, proportions=yes_or_no),
            drop=drop,
            drop_pp=_times(drop, 100.0) if is_share or yes_or_no else None,
            agreement=None if self.same is None else self.same / n,
            sqnr_db={name: errors.sqnr_db(name) for name in errors.signal},
            noise_rms={name: errors.rms(name) for name in errors.signal},
            worst=errors.worst(),
            max_abs_error=errors.largest,
            cases=tuple(self.cases.worst()),
            resolution=_resolution(sign * (before - after), proportions=yes_or_no),
        )


def _score(scores: NDArray[np.float64], *, proportions: bool) -> Score:
    value = float(scores.mean())
    ends = (
        wilson(int(scores.sum()), len(scores)) if proportions else paired_mean(scores)
    ) or (None, None)
    return Score(value, *ends)


def _drop(
    before: NDArray[np.float64], after: NDArray[np.float64], *, proportions: bool
) -> Score:
    lost = before - after
    if not proportions:
        return Score(float(lost.mean()), *(paired_mean(lost) or (None, None)))
    b, c = int((lost > 0).sum()), int((lost < 0).sum())
    return Score((b - c) / len(lost), *paired_proportions(b, c, len(lost)))


def _resolution(lost: NDArray[np.float64], *, proportions: bool) -> float | None:
    if proportions:
        return smallest_difference(int(np.count_nonzero(lost)), len(lost))
    ends = paired_mean(lost)
    return None if ends is None else (ends[1] - ends[0]) / 2


def _times(score: Score, factor: float) -> Score:
    low, high = (None if x is None else x * factor for x in (score.low, score.high))
    return Score(score.value * factor, low, high)


def _check_original(batch: Batch, outputs: Mapping[str, Array]) -> None:
    for name, array in outputs.items():
        bad = _first_bad(array)
        if bad is not None:
            raise DataError(
                f"Sample {batch.start + bad[0]}",
                f"makes the original give {array[bad]} in output {name!r}",
                "Remove the sample, or repair the model.",
            )


def _check_alike(
    batch: Batch, wanted: Mapping[str, Array], found: Mapping[str, Array]
) -> None:
    if set(wanted) != set(found):
        text = f"are {', '.join(sorted(found))}, not {', '.join(sorted(wanted))}"
        raise ModelError("Outputs of the compressed model", text, "Names must stay.")
    for name, array in wanted.items():
        if array.shape != found[name].shape:
            text = f"has shape {found[name].shape} instead of {array.shape}"
            raise ModelError(f"Output {name!r} of the compressed model", text, "It must stay.")
        bad = _first_bad(found[name])
        if bad is not None:
            raise VerifyError(
                f"Output {name!r} of the compressed model for sample {batch.start + bad[0]}",
                got=float(found[name][bad]),
                allowed=float(array[bad]),
                remedy="Its numbers overflow: compress less, or keep the layer float.",
            )


def _first_bad(array: Array) -> tuple[int, ...] | None:
    """Index of the first element that is NaN or infinite."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    return tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])


@dataclass(frozen=True, slots=True)
class Agreement:
    """How close an engine is to the workshop.

    Attributes:
        samples: How many.
        rms: Root mean square of the difference, by output.
        allowed: The bound that each was held to.
        worst: Where the relative difference is largest; None if nothing differs.
        max_abs_error: The largest difference of one element.
    """

    samples: int
    rms: dict[str, float]
    allowed: dict[str, float]
    worst: Worst | None
    max_abs_error: float


def rounding_tolerance(roundings: int = 10_000, unit: float = 2.0**-24) -> float:
    """Relative error that reordered sums may have: roundings * unit, to first order.

    Args:
        roundings: How many roundings one output has behind it, one after the other: summed
            lengths of the products along the longest path, say 20 layers of 500.
        unit: Largest relative error of one rounding; 2**-24 for float32, 2**-9 for bfloat16.
    """
    return roundings * unit


def compare_engine(
    workshop: Run,
    engine: Run,
    samples: Samples,
    *,
    noise: Mapping[str, float] | None = None,
    tolerance: float | None = None,
    batch_size: int = 64,
) -> Agreement:
    """Check that an engine computes what the workshop does.

    The root mean square of the difference of every output may be `tolerance` times that of
    the output. In a quantized model the engine may round a tie the other way, which moves a
    value by one step: there the difference may be as large as what quantization itself did.

    Args:
        workshop: The network as it is.
        engine: The same model on an engine.
        samples: Inputs.
        noise: For a quantized model `Verdict.noise_rms`, compressed against original.
        tolerance: Relative; `rounding_tolerance()` if not given.
        batch_size: How many samples run at once.

    Raises:
        VerifyError: An output differs by more, or is not finite.
        ModelError: Outputs have other names or shapes.
        DataError: The workshop itself gives NaN or infinity.
    """
    errors = Noise()
    for batch, wanted in Reference(
        workshop, samples, batch_size=batch_size, limit=0
    ).batches():
        found = engine(batch.inputs)
        _check_alike(batch, wanted, found)
        errors.add(batch.start, wanted, found)
    relative = rounding_tolerance() if tolerance is None else tolerance
    allowed = {}
    for name, signal in errors.signal.items():
        own = relative * float(np.sqrt(signal / max(1, errors.count[name])))
        allowed[name] = max(own, (noise or {}).get(name, 0.0))
        if errors.rms(name) > allowed[name]:
            index = errors.relative[name][1]
            raise VerifyError(
                f"Output {name!r} on the engine: difference from the workshop (root mean "
                f"square; worst in sample {index})",
                got=errors.rms(name),
                allowed=allowed[name],
                remedy="The engine computes something else: try another engine or precision.",
            )
    worst = errors.worst()
    return Agreement(
        len(samples),
        {name: errors.rms(name) for name in allowed},
        allowed,
        worst,
        errors.largest,
    )
