"""The geometry of the charts of weights: bytes by stage, and values before and after."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tersor.report import units, words
from tersor.report.charts import Axis
from tersor.report.document import Report
from tersor.report.plain import plain
from tersor.report.shown_weights import WeightView

_ROUND = re.compile(r"\.0+ ")
_FEW = 2  # stages that need no chart
_MOST = 26  # of them shown
_LABELS = 12.0  # per cent of the width that the labels of heights take
_LOG_FROM = 8.0  # largest / smallest from which the axis of bytes is logarithmic
_HEIGHT = 50  # units of one half of a histogram
MOST_LAYERS = 8  # shown


@dataclass(frozen=True, slots=True)
class Step:
    """The file after one step, as a piece of the area, in per cent from the left and the top.

    Attributes:
        title: All of it in words.
        cells: Its row of the table: file, smaller, weights, all else, bound.
    """

    name: str
    left: float
    width: float
    top: float
    title: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageChart:
    """Bytes by stage."""

    steps: list[Step]
    ticks: list[tuple[float, str]]
    log: bool


def stages(report: Report) -> StageChart | None:
    """The chart of the stages; None where there are too few."""
    found = report.get("stages", [])[:_MOST]
    if len(found) <= _FEW:
        return None
    sizes = [max(1, one["file_bytes"]) for one in found]
    log = max(sizes) / min(sizes) > _LOG_FROM
    axis = Axis(min(sizes) / 2 if log else 0.0, max(sizes) * (2.0 if log else 1.15), log=log)
    width = (100 - _LABELS) / len(found)
    steps = []
    for i, one in enumerate(found):
        size, weights = one["file_bytes"], one["weights_bytes"]
        smaller = words.factor(sizes[0] / sizes[i], "smaller", "larger", "same size")
        rest = None if weights is None else size - weights
        sums = (units.bytes_text(each) for each in (weights, rest, one["bound_bytes"]))
        name = plain(one["name"], 120)
        steps.append(
            Step(
                name=name,
                left=round(_LABELS + i * width, 2),
                width=round(width, 2),
                top=round(100 - axis.at(sizes[i]), 2),
                title=f"{name}: {units.bytes_text(size)}, {smaller}",
                cells=(units.bytes_text(size), smaller if i else units.NOTHING, *sums),
            )
        )
    at = axis.ticks()
    kept = [v for v in at if not log or f"{v:.0e}"[0] == "1"] or at
    labels = (_ROUND.sub(" ", units.bytes_text(value)) for value in kept)
    places = (round(100 - axis.at(value), 2) for value in kept)
    return StageChart(steps, list(zip(places, labels, strict=True)), log)


def stage_words(report: Report) -> str:
    """As in "original: 1.07 MB; coded as it is: 987 kB; ..."; empty where there are few."""
    found = report.get("stages", [])[:_MOST]
    if len(found) <= _FEW:
        return ""
    told = (
        f"{plain(one['name'], 120)}: {units.bytes_text(one['file_bytes'])}" for one in found
    )
    return "; ".join(told)


@dataclass(frozen=True, slots=True)
class Histogram:
    """One layer's values: before above the line, after below it.

    Attributes:
        before, after: Outlines in a box of as many units as there are bins, and 100 high.
        ends: Labels of the left and right end.
        said: What the picture cannot show.
    """

    layer: str
    shape: str
    width: int
    before: Markup
    after: Markup
    ends: tuple[str, str]
    said: str
    pattern: str | None


def histograms(report: Report) -> list[Histogram]:
    """Small pictures of the largest layers that were changed."""
    return [_histogram(view) for view in report.get("weights", [])[:MOST_LAYERS]]


def _histogram(view: WeightView) -> Histogram:
    most = view["most"]
    zeros = units.percent_text(view["zeros_after"], 1)
    before = units.percent_text(view["zeros_before"], 1)
    return Histogram(
        layer=plain(view["layer"], 60),
        shape=units.shape_text(view["shape"]),
        width=max(1, len(view["before"])),
        before=_outline(view["before"], up=True),
        after=_outline(view["after"], up=False),
        ends=(f"{-most:.3g}", f"{most:.3g}"),
        said=f"{zeros} zeros ({before} before), {view['values']:,} different values",
        pattern=view["pattern"],
    )


def _outline(counts: Sequence[int], *, up: bool) -> Markup:
    """The path around bars of unit width, as high as the half allows."""
    highest = max([*counts, 1])
    corners = [f"M0 {_HEIGHT}"]
    for i, count in enumerate(counts):
        length = _HEIGHT * max(0, count) / highest
        corners.append(f"V{_HEIGHT - length if up else _HEIGHT + length:.1f}H{i + 1}")
    return Markup("".join([*corners, f"V{_HEIGHT}Z"]))  # noqa: S704 - numbers only
