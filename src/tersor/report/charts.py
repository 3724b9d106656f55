"""The geometry of the page's charts: where things lie on an axis, in per cent of its width.

Positions in per cent let one SVG fit every screen without stretching its text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tersor.report import evidence, units, words
from tersor.report.document import Candidate, Report
from tersor.report.searched import Training

_FINEST_DB = 100.0  # of no interest above: float32 itself rounds nearly as much
_MOST_DOTS = 150  # points on a line above which dots would touch
_LABELS = 7.0  # per cent of the width that the labels of heights take
_LOG_FROM = 15.0  # slowest / fastest from which the axis of times is logarithmic


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear or logarithmic scale from `low` to `high`, drawn from 0 to 100 per cent."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where `value` lies, in per cent, cut at the ends.

        >>> Axis(0, 4).at(1), Axis(1, 100, log=True).at(10), Axis(0, 4).at(9)
        (25.0, 50.0, 100.0)
        """
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log(max(v, self.low)) for v in (value, low, high))
        return round(min(max((value - low) / (high - low), 0.0), 1.0) * 100, 2)

    def ticks(self) -> list[float]:
        """Round values inside: 1, 2 and 5 times powers of ten where logarithmic.

        >>> Axis(0, 4.4).ticks(), Axis(0.3, 7, log=True).ticks()
        ([0, 1, 2, 3, 4], [0.5, 1.0, 2.0, 5.0])
        """
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            values = [m * 10.0**p for p in powers for m in (1, 2, 5)]
            return [v for v in values if self.low <= v <= self.high]
        step = _step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(i * step, 12) for i in range(first, last + 1)]


def _step(at_least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `at_least`."""
    power = 10.0 ** math.floor(math.log10(at_least))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= at_least * (1 - 1e-9))
    return int(step) if step >= 1 else step


@dataclass(frozen=True, slots=True)
class Box:
    """The quartiles of one candidate.

    Attributes:
        kind: Its style: "chosen", "refused", "original" or "other".
        left, width, middle: Of the box and of the median's line, in per cent.
    """

    candidate: Candidate
    kind: str
    left: float
    width: float
    middle: float


@dataclass(frozen=True, slots=True)
class Race:
    """The chart of latencies at one batch size."""

    batch: int
    boxes: list[Box]
    ticks: list[tuple[float, str]]
    reference: float | None
    log: bool


def races(report: Report) -> list[Race]:
    """One chart for each batch size, of the candidates that ran, the fastest first."""
    shown = evidence.raced(words.candidates_in_order(report))
    ran = [one for one in shown if one["median_ms"] is not None]
    batches = dict.fromkeys(one["batch"] for one in ran)
    return [_race(report, [c for c in ran if c["batch"] == batch]) for batch in batches]


def _race(report: Report, ran: Sequence[Candidate]) -> Race:
    lows = [_quartiles(one)[0] for one in ran]
    highs = [_quartiles(one)[2] for one in ran]
    slowest, fastest = max(highs), max(min(lows), 1e-6)
    log = slowest / fastest > _LOG_FROM
    axis = Axis(fastest / 1.15 if log else 0.0, max(slowest * 1.05, fastest), log=log)
    boxes = []
    for one in ran:
        left, middle, right = (axis.at(ms) for ms in _quartiles(one))
        boxes.append(Box(one, _kind(one), left, round(right - left, 2), middle))
    baseline = report["original"]["latency"]
    same = baseline["batch"] == ran[0]["batch"]
    return Race(
        batch=ran[0]["batch"],
        boxes=boxes,
        ticks=[(axis.at(v), f"{v:g}") for v in axis.ticks()],
        reference=axis.at(baseline["median_ms"]) if same else None,
        log=log,
    )


def _quartiles(one: Candidate) -> tuple[float, float, float]:
    """First quartile, median, third; the median stands in for what is not known."""
    middle = one["median_ms"] or 0.0
    low, high = one["q1_ms"], one["q3_ms"]
    return (middle if low is None else low, middle, middle if high is None else high)


def _kind(one: Candidate) -> str:
    if one["chosen"]:
        return "chosen"
    if not one["allowed"]:
        return "refused"
    return "original" if one["name"] == "original" else "other"


@dataclass(frozen=True, slots=True)
class Part:
    """One file as a bar: its weights, and all that is left."""

    label: str
    total: int
    weights: int | None
    weights_width: float
    rest_width: float


def sizes(report: Report) -> list[Part]:
    """The original file, model.tsr and model.onnx, on one scale."""
    before, after = words.bytes_of(report["layers"])
    old, new = report["original"], report["compressed"]
    files = [
        ("original", old["file_bytes"], before),
        ("model.tsr", new["file_bytes"], after),
        ("model.onnx", new["onnx_bytes"], None),
    ]
    axis = Axis(0, max(1, *(total for _, total, _ in files)))
    parts = []
    for label, total, weights in files:
        known = None if weights is None or weights > total else weights
        inner = axis.at(known or 0)
        parts.append(Part(label, total, known, inner, round(axis.at(total) - inner, 2)))
    return parts


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of the error's path, in per cent of the picture from the left and the top.

    Attributes:
        kind: "layer", "rounded", or "worst" for the few that add most.
        number: 1 for the worst, and so on; 0 for the others.
    """

    x: float
    y: float
    kind: str
    number: int
    title: str


@dataclass(frozen=True, slots=True)
class PathChart:
    """The signal-to-noise ratio over depth.

    Attributes:
        line: Corners of the line, in per cent from the left and the top.
        dots: Those worth drawing, the worst one last.
        ticks: Height and text of the lines of the grid.
    """

    line: list[tuple[float, float]]
    dots: list[Dot]
    ticks: list[tuple[float, str]]


def path(report: Report) -> PathChart | None:
    """The chart of the error's path; None if fewer than two values were compared.

    What is exact, or nearer than float32 rounds, lies on the upper edge.
    """
    points = report["path"]["points"] if "path" in report else []
    known = [p["sqnr_db"] for p in points if p["sqnr_db"] is not None]
    known = [min(db, _FINEST_DB) for db in known]
    if len(points) < 2 or not known:
        return None
    room = 0.08 * (max(known) - min(known)) or 1.0
    axis = Axis(min(known) - room, max(known) + room)
    numbers = {id(p): i for i, p in enumerate(evidence.worst_points(report), start=1)}
    step = (98.5 - _LABELS) / (len(points) - 1)
    dots = []
    for i, point in enumerate(points):
        db = point["sqnr_db"]
        at = (
            round(_LABELS + i * step, 2),
            round(100 - axis.at(axis.high if db is None else db), 2),
        )
        number = numbers.get(id(point), 0)
        title = f"{evidence.point_name(point)}: {units.db_text(db) if db else 'exact'}"
        dots.append(Dot(*at, "worst" if number else point["kind"], number, title))
    line = [(dot.x, dot.y) for dot in dots]
    shown = [dot for dot in dots if dot.number or len(dots) <= _MOST_DOTS]
    shown.sort(key=lambda dot: -dot.number if dot.number else -99)
    ticks = [(round(100 - axis.at(v), 2), f"{v:g}") for v in axis.ticks()]
    return PathChart(line, shown, ticks)


@dataclass(frozen=True, slots=True)
class Curve:
    """A training: the held-out error of its epochs, or the loss where nothing is held out.

    Attributes:
        text: What was trained, in words.
        what: "held-out error" or "loss".
        line: Corners of the line, in per cent from the left and the top.
        best: The lowest of them, as it is drawn, and its value in words.
        ticks: Height and text of the lines of the grid.
        epochs: How many there were.
    """

    text: str
    what: str
    line: list[tuple[float, float]]
    best: tuple[float, float, str]
    ticks: list[tuple[float, str]]
    epochs: int


def curves(report: Report) -> list[Curve]:
    """The charts of all trainings of at least two epochs."""
    found = (
        _curve(*pair)
        for pair in zip(
            report.get("trainings", []), evidence.training_words(report), strict=True
        )
    )
    return [curve for curve in found if curve is not None]


def _curve(training: Training, text: str) -> Curve | None:
    errors = [error for error in training["errors"] if error is not None]
    whole = len(errors) == len(training["losses"])
    values = errors if whole else training["losses"]
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        return None
    low, high = min(values), max(values)
    room = (
        max(0.1 * (high - low), 0.05 * abs(high)) or 0.1
    )  # ties that the loss breaks are flat
    axis = Axis(low - room, high + room)
    step = (98.5 - _LABELS) / (len(values) - 1)
    line = [
        (round(_LABELS + i * step, 2), round(100 - axis.at(value), 2))
        for i, value in enumerate(values)
    ]
    least = values.index(low)
    best = (*line[least], f"epoch {least + 1}: {low:.4g}")
    ticks = [(round(100 - axis.at(v), 2), f"{v:g}") for v in axis.ticks()]
    return Curve(text, "held-out error" if whole else "loss", line, best, ticks, len(values))


@dataclass(frozen=True, slots=True)
class Mark:
    """A line or point with its label, which keeps inside the picture."""

    at: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Loss:
    """The chart of the metric's loss: interval, estimate, limit; `zero` is the original."""

    low: float
    high: float
    value: Mark
    zero: float
    limit: Mark | None
    ticks: list[tuple[float, str]]


def loss(report: Report) -> Loss | None:
    """The chart of the loss; None if its interval is not known."""
    drop = words.difference(report)
    if drop is None or drop["low"] is None or drop["high"] is None:
        return None
    limit = report["budget"].get("allowed_drop_pp") if words.is_fraction(report) else None
    ends = [drop["low"], drop["high"], drop["value"], 0.0, *([] if limit is None else [limit])]
    room = 0.12 * (max(ends) - min(ends)) or 0.1
    axis = Axis(min(ends) - room, max(ends) + room)
    allowed = None
    if limit is not None:
        allowed = _mark(axis.at(limit), f"allowed: {units.pp_text(limit)}")
    return Loss(
        axis.at(drop["low"]),
        axis.at(drop["high"]),
        _mark(axis.at(drop["value"]), words.drop_words(report)),
        axis.at(0.0),
        allowed,
        [(axis.at(v), f"{v:g}") for v in axis.ticks()],
    )


def _mark(at: float, text: str) -> Mark:
    return Mark(at, text, "start" if at < 35 else "end" if at > 65 else "middle")


def share_of(value: float | None, largest: float) -> float:
    """Length of a bar in per cent of the longest.

    >>> share_of(3, 12), share_of(None, 12), share_of(1, 0)
    (25.0, 0.0, 0.0)
    """
    if value is None or not units.known(value) or largest <= 0:
        return 0.0
    return Axis(0, largest).at(value)
