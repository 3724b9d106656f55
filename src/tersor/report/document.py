"""The document of `report.json`: all that Tersor knows about one compression.

Everything that is shown, on the terminal and as a page, is computed from this one value of
dicts, lists, strings and numbers. Keys are stable: later versions add, never rename.

Where a number is not known or not finite (the signal-to-noise ratio of an exact copy,
say), the document holds null; NaN and Infinity are never written. Sizes are in bytes, times
in milliseconds or seconds, as the names say; fractions are of 1.
"""

import json
from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast

from tersor.report.observed import Operations, Path, Stored, WorstSample
from tersor.report.schema import check, ordered
from tersor.report.searched import Rating, Search, Training
from tersor.report.shown_channels import Slimmed
from tersor.report.shown_weights import Stage, WeightView
from tersor.report.tried import Trial


class Metric(TypedDict):
    """How well a model does.

    Attributes:
        name: "top1", "top5", "agreement", "mse", "cosine", or the name of the user's function.
        value: A fraction of 1 where the metric counts samples, else in the metric's own unit.
        low, high: 95 % confidence interval of `value`; null if too few samples give none.
        samples: Number of samples: for testing, or for validation if there are none.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    samples: int


class Latency(TypedDict):
    """The time of one run of one batch."""

    engine: str
    precision: str
    batch: int
    threads: int
    median_ms: float
    q1_ms: float
    q3_ms: float


class Original(TypedDict):
    """The untouched model; `latency` is its fastest float32 run over all engines."""

    file_bytes: int
    metric: Metric
    latency: Latency
    peak_memory_bytes: NotRequired[int | None]


class Compressed(TypedDict):
    """The result; `file_bytes` is the size of model.tsr, `onnx_bytes` of model.onnx."""

    file_bytes: int
    onnx_bytes: int
    metric: Metric
    latency: Latency
    peak_memory_bytes: NotRequired[int | None]


class Drop(TypedDict):
    """How much worse the result's metric is; below 0 it is better.

    `low` and `high` bound the difference, at 95 %, on paired samples; null if too few samples
    give no bound.
    """

    value: float
    low: float | None
    high: float | None


class Missed(TypedDict):
    """One part of the budget that was not reached."""

    what: str
    asked: str | float
    got: str | float | None
    why: str


class BudgetResult(TypedDict):
    """What was asked for, and whether it was reached.

    Attributes:
        asked: As the user wrote it, as in {"size": "10x", "drop": "1pp"}.
        met: False if anything of it was missed.
        missed: One entry for each part that was missed.
        allowed_drop_pp: The accuracy limit that candidates had to keep; null for none.
    """

    asked: dict[str, object]
    met: bool
    missed: list[Missed]
    allowed_drop_pp: NotRequired[float | None]


class LayerResult(TypedDict):
    """One layer.

    Attributes:
        shape: Of its weight.
        macs: Multiply-accumulates for one sample.
        bytes_before: Of its weight and bias, in the original's arrays.
        bytes_after: Of the same in model.tsr, scales and headers included.
        what: What was done, as in "int8 per channel"; "float32" if nothing was.
        sqnr_db: Signal-to-noise ratio of its weight against the original; null if exact.
        share_parameters, share_macs: Fractions of the whole network.
        alone_sqnr_db: Signal-to-noise ratio of the worst output if this layer alone is
            changed, as its method measured it; null where it did not.
    """

    name: str
    op: str
    shape: list[int]
    parameters: int
    macs: int | None
    bytes_before: int
    bytes_after: int
    what: str
    sqnr_db: float | None
    share_parameters: NotRequired[float | None]
    share_macs: NotRequired[float | None]
    alone_sqnr_db: NotRequired[float | None]


class Skipped(TypedDict):
    """A layer that a method left as it was."""

    layer: str
    method: str
    reason: str


class Remark(TypedDict):
    """What a method of a candidate says of the network as a whole.

    Attributes:
        done: False if it did nothing, or could not reach what it was to reach.
    """

    candidate: str
    method: str
    done: bool
    text: str


class Worst(TypedDict):
    """The test sample whose output differs most from the original's."""

    index: int
    output: str
    sqnr_db: float | None


class DataUse(TypedDict):
    """How many samples served what.

    Attributes:
        calibration: Looked at by the methods.
        validation: Used to choose between candidates.
        test: Used for the published figures only.
        labels: False: no labels were given, and the original model is the judge.
        how: In words, how the samples were split.
    """

    calibration: int
    validation: int
    test: int
    labels: NotRequired[bool]
    how: str


class Candidate(TypedDict):
    """One model on one engine, as it ran in the race.

    Attributes:
        name: Which model: "original", "int8", "partly int8" and so on.
        median_ms, q1_ms, q3_ms: Of its runs; null if the engine refused the model.
        ratio_to_original: Median of the original's fastest float32 run / this median, at the
            same batch.
        metric_value: On the validation samples; null if not measured.
        drop_pp: The same against the original's, in percentage points; null if not measured,
            or if the metric is no fraction.
        allowed: False if it breaks the accuracy limit.
        chosen: True for the winner.
        why_not: Why it was not chosen; null for the winner.
        kernels: Nodes by the precision of the engine's kernel, from its own profile.
        quiet: False if other processes took processor time during all its runs.
        same_work: True if it asks the same work of the engine as the original, whose time
            it has; it was not raced itself.
    """

    name: str
    engine: str
    precision: str
    batch: int
    median_ms: float | None
    q1_ms: float | None
    q3_ms: float | None
    ratio_to_original: float | None
    metric_value: float | None
    drop_pp: float | None
    allowed: bool
    chosen: bool
    why_not: str | None
    kernels: dict[str, int]
    quiet: bool
    same_work: NotRequired[bool]


class Resolution(TypedDict):
    """How finely the validation samples judge.

    Attributes:
        samples: How many there are.
        loss: The smallest loss that they tell from none, at 95 %, in the metric's own unit.
        loss_pp: The same in percentage points; null if the metric is no fraction.
        limit: The accuracy limit in the metric's own unit; null where it bounds no loss.
        enough: False if the limit is finer than that.
        samples_needed: About how many would do, if they differ as these; null if these do.
    """

    samples: int
    loss: float
    loss_pp: float | None
    limit: float | None
    enough: bool
    samples_needed: int | None


class Kind(TypedDict):
    """The kind of network that the recipe chose its candidates by.

    Attributes:
        name: "transformer", "convolutional", "recurrent", "embedding" or "other".
        why: What speaks for it, in one sentence.
    """

    name: str
    why: str


class Phase(TypedDict):
    """One part of the work, and its time."""

    name: str
    seconds: float


class Report(TypedDict):
    """The whole document.

    Attributes:
        drop_pp: In percentage points, where the metric is a fraction of the samples; null
            for other metrics, and then all their figures are in the metric's own unit.
        drop: The same in the metric's own unit.
        compression: original.file_bytes / compressed.file_bytes.
        speedup: original.latency.median_ms / compressed.latency.median_ms.
        speedup_over_best_original: The same against the untouched model's fastest run at any
            precision.
        agreement: Fraction of these samples on which both models give the same answer;
            null where that means nothing.
        sqnr_db: Signal-to-noise ratio of each output over these samples; null if exact.
        worst_samples: Where the models differ most, at most 12.
        operations: What runs in which precision; null if nothing was asked.
        path: How the error grows with depth; no points where the original won.
        stored: Where the bytes of model.tsr are, by stream and by tensor.
        resolution: What the samples that chose can tell; null if nothing was judged.
        searches: For mixes of integer and float layers, one for each candidate with a search.
        ratings: Searches for rates, one for each candidate with one.
        remarks: Of all candidates that could be made, the winner or not.
        trainings: Of the compressed network, in order.
        stages: The file after each step that won; none where that is before and after only.
        weights: Values of the largest layers that were changed, at most 8.
        channels: What was cut out of the network; null if nothing was.
        trials: Variants of the winner, the winner itself first; none if none were asked for.
        engines: Version of each engine; null if it is not installed.
        verify: What was compared, and how far apart it may be: free keys.
        machine: Processor, cores, memory and so on: free keys.
        recipe: The resolved recipe.
        portability: Why outputs may differ on other processors; null if they do not.
        kind: Which kind of network was seen; null if the recipe did not ask.
        quiet: False if any published time was taken while other processes ran.
        model: Name of the original, as in "resnet20.onnx".
        command: A command line that does the same again.
    """

    version: str
    model: NotRequired[str]
    original: Original
    compressed: Compressed
    drop_pp: Drop | None
    drop: NotRequired[Drop | None]
    compression: float
    speedup: float
    speedup_over_best_original: float
    agreement: float | None
    budget: BudgetResult
    layers: list[LayerResult]
    skipped: list[Skipped]
    sqnr_db: dict[str, float | None]
    worst: Worst | None
    worst_samples: NotRequired[list[WorstSample]]
    operations: NotRequired[Operations | None]
    path: NotRequired[Path]
    stored: NotRequired[Stored]
    data: DataUse
    candidates: list[Candidate]
    resolution: NotRequired[Resolution | None]
    searches: NotRequired[list[Search]]
    ratings: NotRequired[list[Rating]]
    remarks: NotRequired[list[Remark]]
    trainings: NotRequired[list[Training]]
    stages: NotRequired[list[Stage]]
    weights: NotRequired[list[WeightView]]
    channels: NotRequired[Slimmed | None]
    trials: NotRequired[list[Trial]]
    quiet: bool
    engines: dict[str, str | None]
    verify: dict[str, object]
    machine: dict[str, object]
    recipe: dict[str, object]
    portability: NotRequired[str | None]
    kind: NotRequired[Kind | None]
    command: NotRequired[str]
    seconds: float
    phases: list[Phase]


def validate(document: Mapping[str, object]) -> Report:
    """Check that every key is there and of its type; more keys are welcome.

    A number that is not finite counts as null.

    Returns:
        The same document.

    Raises:
        InputError: Names the first key that is missing or of another type.
    """
    check(document, Report)
    return cast(Report, document)


def to_json(document: Mapping[str, object]) -> str:
    """The text of report.json, with the keys in the order of `Report`.

    Raises:
        InputError: See `validate`.
    """
    text = json.dumps(normal(document), indent=2, allow_nan=False)
    return text + "\n"


def normal(document: Mapping[str, object]) -> Report:
    """A valid copy with the keys in order, and null for what is not finite.

    Raises:
        InputError: See `validate`.
    """
    return cast(Report, ordered(validate(document), Report))
