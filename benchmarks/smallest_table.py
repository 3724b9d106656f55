"""What results/smallest.jsonl says, for people."""

import statistics
from collections.abc import Callable

from benchmarks import records
from benchmarks.records import Row
from benchmarks.smallest import NAME, SUBJECTS, goodness

_HEADS = (
    "network",
    "to beat",
    "seeds",
    "bytes",
    "smaller",
    "error",
    "error before",
    "minutes",
)


def smallest() -> str:
    """One line per network: medians over seeds, with the least and the most."""
    lines = []
    for name, subject in SUBJECTS.items():
        rows = [row for row in records.read(NAME) if row["network"] == name]
        if rows:
            lines.append(_cells(rows, subject.title, subject.record))
    return records.table(_HEADS, lines, texts=2)


def _cells(rows: list[Row], title: str, record: str) -> list[str]:
    smaller = statistics.median(row["bytes_float"] / row["bytes"] for row in rows)
    minutes = statistics.median((row["train_seconds"] + row["seconds"]) / 60 for row in rows)
    return [
        title,
        record,
        str(len(rows)),
        _spread([row["bytes"] for row in rows], "{:,.0f}"),
        f"{smaller:.0f}x",
        *(_goodness(rows, which) for which in ("", "_float")),
        f"{minutes:.0f}",
    ]


def _goodness(rows: list[Row], which: str) -> str:
    values, forms = zip(*(goodness(row, which) for row in rows), strict=True)
    return _spread(list(values), forms[0])


def _spread(values: list[float], form: str) -> str:
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


TABLES: dict[str, Callable[[], str]] = {"table smallest": smallest}
