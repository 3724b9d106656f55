"""What became of variants of the winner, in the words that terminal and page share."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tersor.report import units, words
from tersor.report.document import Report
from tersor.report.plain import plain
from tersor.report.tried import Trial

_MOST = 200  # rows shown


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in words.

    Attributes:
        size: Its file against the winner's, as in "1.2x larger".
    """

    name: str
    file: str
    size: str
    metric: str
    loss: str
    seconds: str
    why: str
    chosen: bool


def rows(report: Report) -> list[Row]:
    """All variants, the winner first; none if none were tried."""
    return [_row(report, one) for one in report.get("trials", [])[:_MOST]]


def _row(report: Report, one: Trial) -> Row:
    winner = report["compressed"]["file_bytes"]
    chosen = one["kind"] == "winner"
    ratio = None if not one["file_bytes"] or chosen else winner / one["file_bytes"]
    loss = one["drop_pp"] if words.is_fraction(report) else one["drop"]
    name = f"{one['name']} (the file)" if chosen else one["name"]
    return Row(
        name=plain(name, 120),
        file=units.bytes_text(one["file_bytes"]),
        size=words.factor(ratio, "smaller", "larger", "same size"),
        metric=words.score_text(report, one["metric_value"]),
        loss=units.NOTHING if loss is None else words.difference_text(report, loss),
        seconds=units.seconds_text(one["seconds"]),
        why=plain(one["why_not"] or "", 300),
        chosen=chosen,
    )


def seed_words(report: Report) -> str:
    """Median and spread over seeds; empty if there was one only."""
    made = [
        one
        for one in report.get("trials", [])
        if one["kind"] in {"winner", "seed"} and one["metric_value"] is not None
    ]
    if not any(one["kind"] == "seed" for one in made):
        return ""
    sizes = [float(one["file_bytes"] or 0) for one in made]
    scores = [one["metric_value"] or 0.0 for one in made]
    metric = words.metric_name(report["compressed"]["metric"])
    files = _spread(sizes, "{:,.0f}".format)
    return (
        f"Over {len(made)} seeds, median (least to most): file {files} bytes; "
        f"{metric} {_spread(scores, lambda value: words.score_text(report, value))}. "
        "The file is that of the recipe's own seeds: none was chosen among them."
    )


def _spread(values: list[float], told: Callable[[float], str]) -> str:
    low, high = told(min(values)), told(max(values))
    return f"{told(median(values))} ({low} to {high})"
